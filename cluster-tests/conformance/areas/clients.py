"""Programs that S3 users have, doing what they are used for: the AWS CLI, and restic with a backup and a restore."""

import filecmp
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from world import NotSupported, eq, truth

COMMAND_S = 120


def _run(s3, *words, **more):
    """Runs a program with the main user's keys and nothing of its surroundings."""
    access, secret = s3.main.keys[:2]
    keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": s3.server.region, "AWS_CONFIG_FILE": "/dev/null"}
    surroundings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, env={**surroundings, **keys, **more})
    truth(done.returncode == 0, f"{' '.join(words[:4])}: {done.stderr[-600:]}")
    return done.stdout


def _aws(s3, *words):
    program = pathlib.Path(sys.executable).with_name("aws")
    if not program.exists():
        raise NotSupported("the AWS CLI is not installed beside this Python")
    return _run(s3, str(program), "--endpoint-url", s3.server.endpoint, *words)


def _tree(root):
    """Files of many sizes, under names that have to be encoded."""
    for name, size in (("empty", 0), ("one", 1), ("deep/er/est/inline", 30_000), ("deep/large", 9_000_017), ("a b/c+d/\u00e9 %&=.txt", 77), ("\U0001f600", 5)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size])


def _same(one, other):
    """Two trees hold the same."""
    names = {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()}
    eq({str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()}, names, "names")
    _, different, errors = filecmp.cmpfiles(one, other, sorted(names), shallow=False)
    eq((different, errors), ([], []), "different files")


def the_aws_cli_syncs_a_tree_there_and_back(s3):
    name = s3.bucket()
    with tempfile.TemporaryDirectory() as directory:
        here, back = pathlib.Path(directory) / "here", pathlib.Path(directory) / "back"
        _tree(here)
        _aws(s3, "s3", "sync", str(here), f"s3://{name}/tree")
        truth("deep/large" in _aws(s3, "s3", "ls", "--recursive", f"s3://{name}/"), "it is listed")
        _aws(s3, "s3", "sync", f"s3://{name}/tree", str(back))
        _same(here, back)
        eq(_aws(s3, "s3", "sync", str(here), f"s3://{name}/tree"), "", "a second sync has nothing to do")
        (here / "one").unlink()
        _aws(s3, "s3", "sync", "--delete", str(here), f"s3://{name}/tree")
        truth("one" not in [one["Key"] for one in s3.client.list_objects_v2(Bucket=name)["Contents"]], "it is gone there too")
        _aws(s3, "s3", "cp", f"s3://{name}/tree/deep/large", f"s3://{name}/copy")
        _aws(s3, "s3", "mv", f"s3://{name}/copy", f"s3://{name}/moved")
        _aws(s3, "s3", "rm", "--recursive", f"s3://{name}/")
        eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 0)


def restic_backs_up_and_restores(s3):
    if not shutil.which("restic"):
        raise NotSupported("restic is not installed")
    name = s3.bucket()
    with tempfile.TemporaryDirectory() as directory:
        here, back = pathlib.Path(directory) / "here", pathlib.Path(directory) / "back"
        _tree(here)

        def restic(*words):
            store = ("-r", f"s3:{s3.server.endpoint}/{name}/store", "--no-cache")
            return _run(s3, "restic", *store, *words, RESTIC_PASSWORD="a password")

        restic("init")
        restic("backup", str(here))
        (here / "one").write_bytes(b"changed")
        restic("backup", str(here))
        restic("check", "--read-data")
        restic("restore", "latest", "--target", str(back))
        _same(here, back / here.relative_to("/"))
        restic("forget", "--keep-last", "1", "--prune")
        restic("check")
