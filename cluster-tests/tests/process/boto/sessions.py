"""Temporary credentials of accounts: they hold at every gateway, and end with what they came from."""

from accounts import client, redoubt
from cases import refused, run, same


def user(c, name):
    """A new account with a bucket that has an object, and a session of it at each gateway."""
    made = redoubt("s3", "user", "create", name)
    endpoints = [one.meta.endpoint_url for one in c.clients]
    keys = made["access_key"], made["secret_key"]
    own = client("s3", endpoints[0], *keys)
    own.create_bucket(Bucket=c.bucket)
    own.put_object(Bucket=c.bucket, Key="k", Body=b"k")
    told = client("sts", endpoints[0], *keys).assume_role(RoleArn=f"arn:aws:iam::{name}:role/{name}", RoleSessionName="case")
    given = [told["Credentials"][word] for word in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    return keys, [client("s3", endpoint, *given) for endpoint in endpoints]


def reads(sessions, bucket):
    return [session.get_object(Bucket=bucket, Key="k")["Body"].read() for session in sessions]


def a_session_holds_at_every_gateway_and_ends_with_its_key(c):
    (access_key, _), sessions = user(c, "ann")
    same("everywhere", reads(sessions, c.bucket), [b"k"] * len(sessions))
    redoubt("s3", "user", "key", "rotate", "ann")
    for session in sessions:
        refused(403, "InvalidAccessKeyId", session.get_object, Bucket=c.bucket, Key="k")
    # The same name with another secret is another key.
    redoubt("s3", "user", "key", "create", "ann", "--access-key", access_key, "--secret-key", "another-secret")
    for session in sessions:
        refused(403, "InvalidAccessKeyId", session.get_object, Bucket=c.bucket, Key="k")


def a_session_stops_while_its_account_is_disabled_and_ends_with_it(c):
    keys, sessions = user(c, "bob")
    redoubt("s3", "user", "disable", "bob")
    for session in sessions:
        refused(403, "InvalidAccessKeyId", session.get_object, Bucket=c.bucket, Key="k")
    refused(403, "InvalidClientTokenId", client("sts", c.clients[0].meta.endpoint_url, *keys).get_caller_identity)
    redoubt("s3", "user", "enable", "bob")
    same("again", reads(sessions, c.bucket), [b"k"] * len(sessions))
    sessions[0].delete_object(Bucket=c.bucket, Key="k")
    sessions[1].delete_bucket(Bucket=c.bucket)
    redoubt("s3", "user", "delete", "bob")
    for session in sessions:
        refused(403, "InvalidAccessKeyId", session.list_buckets)


if __name__ == "__main__":
    run([a_session_holds_at_every_gateway_and_ends_with_its_key, a_session_stops_while_its_account_is_disabled_and_ends_with_it])
