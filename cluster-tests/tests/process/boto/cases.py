"""What the cases share: a client of each gateway, buckets, and words for what is expected.

A case is a function whose name is a sentence. `run` runs all of a module, each in a bucket of its own, and says which failed.
"""

import sys
import time
import traceback

import boto3
import botocore.client
import botocore.exceptions


class Refused(Exception):
    """What was to be refused was not, or with other words."""


class Case:
    """A bucket at one gateway, and the same bucket at the others."""

    def __init__(self, clients, name):
        self.clients, self.s3, self.bucket = clients, clients[0], name

    def make(self, **kwargs):
        self.s3.create_bucket(Bucket=self.bucket, **kwargs)

    def versioning(self, status):
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})

    def put(self, key, body=b"", **kwargs):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **kwargs)

    def get(self, key, **kwargs):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **kwargs)["Body"].read()

    def delete(self, key, **kwargs):
        return self.s3.delete_object(Bucket=self.bucket, Key=key, **kwargs)

    def versions(self, **kwargs):
        """Key, version, whether it is the latest, and whether it is a delete marker, of all versions."""
        listed = self.s3.list_object_versions(Bucket=self.bucket, **kwargs)
        entries = [(v, False) for v in listed.get("Versions", [])] + [(m, True) for m in listed.get("DeleteMarkers", [])]
        return [(v["Key"], v["VersionId"], v["IsLatest"], marker) for v, marker in entries]

    def remove_all(self):
        while entries := self.versions():
            objects = [{"Key": key, "VersionId": version} for key, version, _, _ in entries]
            done = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": objects}, BypassGovernanceRetention=True)
            same("errors", done.get("Errors", []), [])
        self.s3.delete_bucket(Bucket=self.bucket)


def same(what, found, wanted):
    if found != wanted:
        raise Refused(f"{what}: {found!r}, not {wanted!r}")


def refused(status, code, call, **kwargs):
    """The answer of a call that has to be refused so."""
    try:
        call(**kwargs)
    except botocore.exceptions.ClientError as error:
        found = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        same("refusal", found, (status, code))
        return error.response
    raise Refused(f"not refused with {status} {code}")


def becomes(what, look, wanted, seconds=30):
    end = time.monotonic() + seconds
    while (found := look()) != wanted:
        if time.monotonic() > end:
            raise Refused(f"{what}: {found!r} after {seconds} s, not {wanted!r}")
        time.sleep(0.2)


def run(cases):
    key, secret, only, *endpoints = sys.argv[1:]
    config = botocore.client.Config(retries={"max_attempts": 3}, s3={"addressing_style": "path"})
    connect = lambda endpoint: boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1", config=config
    )
    clients = [connect(endpoint) for endpoint in endpoints]
    failed = 0
    chosen = [case for case in cases if only in case.__name__]
    for number, case in enumerate(chosen):
        # Each begins at another gateway.
        turned = clients[number % len(clients) :] + clients[: number % len(clients)]
        began = time.monotonic()
        try:
            case(Case(turned, f"case-{number}-{int(time.time()) % 100000}"))
            print(f"ok {time.monotonic() - began:5.1f} s {case.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {case.__name__}\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} cases")
    sys.exit(1 if failed else 0)
