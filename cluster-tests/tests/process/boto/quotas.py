"""Quotas of accounts and buckets, as operators set them and boto3's users meet them."""

from accounts import client, code, redoubt
from cases import becomes, refused, run, same

KIB = 1024


def at_each_gateway(c, name):
    """A new account and a client of it for each gateway."""
    made = redoubt("s3", "user", "create", name)
    return [client("s3", one.meta.endpoint_url, made["access_key"], made["secret_key"]) for one in c.clients]


def the_buckets_of_an_account_hold_together_what_it_may(c):
    clients = at_each_gateway(c, "ann")
    redoubt("s3", "user", "quota", "ann", "--bytes", "1MiB")
    same("shown", redoubt("s3", "user", "show", "ann")["quota"], {"bytes": 1024 * KIB, "objects": None})
    other = c.bucket + "-other"
    for bucket in (c.bucket, other):
        clients[0].create_bucket(Bucket=bucket)
    clients[0].put_object(Bucket=c.bucket, Key="k", Body=bytes(600 * KIB))
    for one in clients:
        refused(403, "QuotaExceeded", one.put_object, Bucket=other, Key="k", Body=bytes(600 * KIB))
    clients[1].put_object(Bucket=other, Key="k", Body=bytes(400 * KIB))
    refused(403, "QuotaExceeded", clients[1].copy_object, Bucket=other, Key="copy", CopySource=f"{c.bucket}/k")
    clients[1].put_object(Bucket=other, Key="empty", Body=b"")
    clients[2].delete_object(Bucket=c.bucket, Key="k")

    def put():
        try:
            clients[1].put_object(Bucket=other, Key="more", Body=bytes(500 * KIB))
            return True
        except clients[1].exceptions.ClientError as error:
            same("refusal", error.response["Error"]["Code"], "QuotaExceeded")
            return False

    becomes("what was deleted is room again", put, True)
    redoubt("s3", "user", "quota", "ann", "--none")
    clients[1].put_object(Bucket=other, Key="much", Body=bytes(2048 * KIB))


def a_bucket_takes_so_many_objects_and_their_versions(c):
    clients = at_each_gateway(c, "bob")
    clients[0].create_bucket(Bucket=c.bucket)
    clients[0].put_bucket_versioning(Bucket=c.bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        clients[0].put_object(Bucket=c.bucket, Key="k", Body=bytes(10))
    redoubt("s3", "bucket", "quota", c.bucket, "--objects", "2", "--bytes", "6MiB")
    shown = redoubt("s3", "bucket", "show", c.bucket)
    same("shown", (shown["owner"], shown["usage"], shown["quota"]), ("bob", {"bytes": 20, "objects": 2}, {"bytes": 6144 * KIB, "objects": 2}))
    listed = [row["quota"] for row in redoubt("s3", "bucket", "list")["buckets"] if row["bucket"] == c.bucket]
    same("listed", listed, [shown["quota"]])
    for one in clients:
        refused(403, "QuotaExceeded", one.put_object, Bucket=c.bucket, Key="other", Body=b"")
    # A delete marker is no object.
    clients[1].delete_object(Bucket=c.bucket, Key="k")


def parts_count_as_bytes_and_their_object_when_it_is_made(c):
    clients = at_each_gateway(c, "eve")
    clients[0].create_bucket(Bucket=c.bucket)
    redoubt("s3", "bucket", "quota", c.bucket, "--bytes", "6MiB", "--objects", "0")
    upload = {"Bucket": c.bucket, "Key": "k", "UploadId": clients[0].create_multipart_upload(Bucket=c.bucket, Key="k")["UploadId"]}
    part = clients[0].upload_part(**upload, PartNumber=1, Body=bytes(5120 * KIB))
    for one in clients:
        refused(403, "QuotaExceeded", one.upload_part, **upload, PartNumber=2, Body=bytes(2048 * KIB))
    whole = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}}
    refused(403, "QuotaExceeded", clients[1].complete_multipart_upload, **upload, **whole)
    redoubt("s3", "bucket", "quota", c.bucket, "--bytes", "6MiB", "--objects", "1")
    for one in clients:
        one.complete_multipart_upload(**upload, **whole)
    same("holds", redoubt("s3", "bucket", "show", c.bucket)["usage"], {"bytes": 5120 * KIB, "objects": 1})


def what_makes_no_sense_is_a_wrong_use_and_who_is_not_there_is_not_found(c):
    for name in ("", "a b", "a/b", "x" * 129, "redoubt"):
        same(f"create {name!r}", code("s3", "user", "create", name), 2)
    same("a key", code("s3", "user", "create", "kit", "--access-key", "a b", "--secret-key", "s"), 2)
    same("no user was made", code("s3", "user", "show", "kit"), 3)
    for words in (("user", "quota", "nobody", "--objects", "1"), ("bucket", "quota", "no-bucket", "--none"), ("bucket", "show", "no-bucket")):
        same(" ".join(words), code("s3", *words), 3)
    for bounds in ((), ("--bytes", "x"), ("--none", "--objects", "1")):
        same(" ".join(bounds), code("s3", "user", "quota", "nobody", *bounds), 2)


if __name__ == "__main__":
    run(
        [
            the_buckets_of_an_account_hold_together_what_it_may,
            a_bucket_takes_so_many_objects_and_their_versions,
            parts_count_as_bytes_and_their_object_when_it_is_made,
            what_makes_no_sense_is_a_wrong_use_and_who_is_not_there_is_not_found,
        ]
    )
