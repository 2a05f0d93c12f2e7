"""A cluster of three nodes on this machine, started for the run and stopped after it."""

import contextlib
import json
import pathlib
import subprocess
import tempfile

from world import Server

COMMAND_S = 180


@contextlib.contextmanager
def cluster(redoubt):
    """The server of a cluster that `redoubt dev up` starts: each user goes through a node of its own."""
    with tempfile.TemporaryDirectory(prefix="s3-conformance-") as directory:
        place = str(pathlib.Path(directory) / "cluster")

        def command(*words):
            done = subprocess.run([redoubt, *words, "--output", "json"], capture_output=True, text=True, timeout=COMMAND_S)
            if done.returncode:
                raise RuntimeError(f"{' '.join(words)}: {done.stderr or done.stdout}")
            return json.loads(done.stdout) if done.stdout.strip() else None

        try:
            up = command("dev", "up", "--dir", place)
            s3 = up["s3"]
            # Nobody listens there: what is told is not looked at.
            target = command("--dir", up["dir"], "s3", "target", "create", "conformance", "--url", "http://127.0.0.1:9/")["arn"]
            endpoints, keys = [node["s3"] for node in up["nodes"]], (s3["access_key"], s3["secret_key"])
            yield Server(endpoints, s3["region"], keys, _second(command, up), target)
        finally:
            command("dev", "down", "--dir", place)


def _second(command, up):
    """The keys of another user, where users can be made."""
    try:
        user = command("--dir", up["dir"], "s3", "user", "create", "conformance")
    except (RuntimeError, ValueError) as error:
        print(f"# no second user: {error}")
        return None
    return user["access_key"], user["secret_key"]
