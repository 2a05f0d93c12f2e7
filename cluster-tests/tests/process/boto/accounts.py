"""What cases need that make accounts: the command, and clients with other keys."""

import json
import os
import subprocess

import boto3
import botocore.client

CONFIG = botocore.client.Config(retries={"max_attempts": 3}, s3={"addressing_style": "path"})


def _run(*words):
    return subprocess.run([os.environ["REDOUBT"], *words, "--output", "json"], capture_output=True, text=True, timeout=60)


def redoubt(*words):
    """What the command says; it knows its cluster from its surroundings."""
    done = _run(*words)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stderr}")
    return json.loads(done.stdout)


def code(*words):
    """How the command ends."""
    return _run(*words).returncode


def client(service, endpoint, *keys):
    """A client with access key, secret and perhaps a token."""
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", config=CONFIG, **dict(zip(names, keys)))
