"""What a case is given: clients of the endpoint for a main user, another one and nobody, buckets that are removed again, and ways to say what
has to come back."""

import itertools
import os
import uuid

import boto3
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError

from wire import Wire

RUN = uuid.uuid4().hex[:8]
NUMBERS = itertools.count(1)


class NotSupported(Exception):
    """The server says that it does not know the function, or cannot be asked."""


class Wrong(AssertionError):
    """The server answered something else."""


class User:
    """Keys, and the clients made with them."""

    def __init__(self, endpoint, region, keys):
        """`keys` are access key, secret and perhaps a session token; `None` for nobody."""
        self.endpoint, self.region, self.keys = endpoint, region, keys
        self.client = self.make()
        self.wire = Wire(endpoint, region, *(keys or ()))

    def make(self, service="s3", **config):
        """A client with other settings."""
        given = dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), self.keys or ()))
        settings = {
            "signature_version": "s3v4" if self.keys else UNSIGNED,
            "s3": {"addressing_style": "path"},
            # As clients do by themselves: a leader of HA that changes at the wrong moment is no wrong answer.
            "retries": {"total_max_attempts": 3, "mode": "standard"},
            "parameter_validation": False,
            "read_timeout": 60,
            "connect_timeout": 10,
            "max_pool_connections": 32,
            **config,
        }
        if service != "s3":
            settings["signature_version"] = "v4"
        session = boto3.session.Session()
        return session.client(service, endpoint_url=self.endpoint, region_name=self.region, config=Config(**settings), **given)


class Server:
    """The endpoint under test and its users."""

    def __init__(self, endpoints, region, main, alt=None, target=None):
        """Where there are several endpoints each user has another one: what one has done, all of them see."""
        self.endpoint, self.region, self.target = endpoints[0], region, target
        self.main = User(endpoints[0], region, main)
        self.alt = User(endpoints[1 % len(endpoints)], region, alt) if alt else None
        self.anyone = User(endpoints[2 % len(endpoints)], region, None)


class Case:
    """One run of one case."""

    def __init__(self, server):
        self.server = server
        self.main, self.client, self.wire = server.main, server.main.client, server.main.wire
        self.anyone = server.anyone
        self.buckets = []

    @property
    def alt(self):
        """Another user."""
        if self.server.alt is None:
            raise NotSupported("there is no second user")
        return self.server.alt

    def name(self):
        """A name that no bucket has yet."""
        name = f"conf-{RUN}-{next(NUMBERS)}"
        self.buckets.append(name)
        return name

    def bucket(self, *keys, **settings):
        """A new bucket, with these objects, each of which holds its own name."""
        name = self.name()
        self.client.create_bucket(Bucket=name, **settings)
        for key in keys:
            self.put(name, key, key)
        return name

    def versioned(self, *keys, **settings):
        """A new bucket that keeps versions."""
        name = self.bucket(*keys, **settings)
        self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def put(self, bucket, key, body=b"", **settings):
        """Puts an object."""
        body = body.encode() if isinstance(body, str) else body
        return self.client.put_object(Bucket=bucket, Key=key, Body=body, **settings)

    def body(self, bucket, key, **settings):
        """The bytes of an object."""
        return self.client.get_object(Bucket=bucket, Key=key, **settings)["Body"].read()

    def clean(self):
        """Removes what the case made."""
        for bucket in self.buckets:
            try:
                empty(self.client, bucket)
                self.client.delete_bucket(Bucket=bucket)
            except ClientError as error:
                if error_of(error)[1] not in ("NoSuchBucket", "404"):
                    print(f"# {bucket} stays: {error}")


def empty(client, bucket):
    """Removes all that is in a bucket."""
    try:
        pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket)
        things = [
            {"Key": thing["Key"], "VersionId": thing["VersionId"]}
            for page in pages
            for thing in page.get("Versions", []) + page.get("DeleteMarkers", [])
        ]
    except ClientError as error:
        if error_of(error)[0] != 501:
            raise
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        things = [{"Key": thing["Key"]} for page in pages for thing in page.get("Contents", [])]
    for thing in things:
        try:
            client.delete_object(Bucket=bucket, **thing)
        except ClientError as error:
            if error_of(error)[1] != "AccessDenied":
                raise
            release(client, bucket, thing)
            client.delete_object(Bucket=bucket, BypassGovernanceRetention=True, **thing)
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def release(client, bucket, thing):
    """Takes the hold off a version."""
    try:
        client.put_object_legal_hold(Bucket=bucket, LegalHold={"Status": "OFF"}, **thing)
    except ClientError:
        pass


def error_of(error):
    """Status and code of what a client raised."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response.get("Error", {}).get("Code")


def status(answer):
    """The HTTP status of a client's answer."""
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def header(answer, name):
    """A header of a client's answer."""
    return answer["ResponseMetadata"]["HTTPHeaders"].get(name)


def eq(found, wanted, what=""):
    """They are the same."""
    if found != wanted:
        raise Wrong(f"{what + ': ' if what else ''}{found!r} instead of {wanted!r}")


def truth(holds, what):
    """It holds."""
    if not holds:
        raise Wrong(what)


def fails(wanted_status, wanted_code, call, *args, message=None, **kwargs):
    """The call is refused with that status and code (one of several where it is a tuple; a HEAD has none: the status stands for it)."""
    try:
        answer = call(*args, **kwargs)
    except ClientError as error:
        found = error_of(error)
        codes = wanted_code if isinstance(wanted_code, tuple) else (wanted_code,)
        if found[0] == 501 and 501 != wanted_status:
            raise NotSupported(str(error)) from error
        if found[0] != wanted_status or found[1] not in codes:
            raise Wrong(f"{found} instead of {(wanted_status, wanted_code)}: {error}") from error
        if message is not None:
            eq(error.response["Error"].get("Message"), message, "message")
        return error.response
    raise Wrong(f"it was done instead of {(wanted_status, wanted_code)}: {str(answer)[:200]}")


def refused(answer, wanted_status, wanted_code, message=None):
    """The same of an answer from the wire."""
    if answer.status == 501 and wanted_status != 501:
        raise NotSupported(repr(answer))
    if (answer.status, answer.code) != (wanted_status, wanted_code):
        raise Wrong(f"{answer!r} instead of {(wanted_status, wanted_code)}")
    if message is not None:
        eq(answer.text("Message"), message, "message")
    return answer


def server_of_environment():
    """The endpoint that the environment names."""
    get = os.environ.get
    alt = (get("S3_ALT_ACCESS_KEY"), get("S3_ALT_SECRET_KEY")) if get("S3_ALT_ACCESS_KEY") else None
    return Server(
        os.environ["S3_ENDPOINT"].split(","),
        get("S3_REGION", "us-east-1"),
        (os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"]),
        alt,
        get("S3_TARGET"),
    )
