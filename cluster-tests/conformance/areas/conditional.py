"""Conditions on what is there: of reads, of writes, of copies, of deletes."""

import concurrent.futures
import datetime

from botocore.exceptions import ClientError

from world import eq, error_of, fails, status

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
FUTURE = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
FAILED = "At least one of the pre-conditions you specified did not hold"
OTHER = '"ABCORZ"'


def _object(s3):
    name = s3.bucket()
    return name, s3.put(name, "k", b"one")["ETag"]


def a_get_asks_for_an_etag(s3):
    name, etag = _object(s3)
    eq(s3.body(name, "k", IfMatch=etag), b"one")
    eq(s3.body(name, "k", IfMatch=etag.strip('"')), b"one")
    eq(s3.body(name, "k", IfMatch="*"), b"one")
    fails(412, "PreconditionFailed", s3.client.get_object, Bucket=name, Key="k", IfMatch=OTHER, message=FAILED)


def a_get_asks_for_another_etag(s3):
    name, etag = _object(s3)
    eq(s3.body(name, "k", IfNoneMatch=OTHER), b"one")
    fails(304, "304", s3.client.get_object, Bucket=name, Key="k", IfNoneMatch=etag)


def what_was_not_modified_comes_without_a_body_and_with_its_etag(s3):
    name, etag = _object(s3)
    answer = s3.wire.send("GET", f"/{name}/k", {"If-None-Match": etag})
    eq((answer.status, answer.body, answer.headers["ETag"]), (304, b"", etag))


def a_get_asks_for_what_was_modified_since(s3):
    name, _ = _object(s3)
    eq(s3.body(name, "k", IfModifiedSince=PAST), b"one")
    modified = s3.client.head_object(Bucket=name, Key="k")["LastModified"]
    fails(304, "304", s3.client.get_object, Bucket=name, Key="k", IfModifiedSince=modified + datetime.timedelta(seconds=1))
    # A time that is still to come is no time to compare with.
    s3.wire.send("GET", f"/{name}/k", {"If-Modified-Since": "no date"})


def a_get_asks_for_what_was_not_modified_since(s3):
    name, _ = _object(s3)
    eq(s3.body(name, "k", IfUnmodifiedSince=FUTURE), b"one")
    fails(412, "PreconditionFailed", s3.client.get_object, Bucket=name, Key="k", IfUnmodifiedSince=PAST, message=FAILED)


def an_etag_goes_before_a_time(s3):
    name, etag = _object(s3)
    eq(s3.body(name, "k", IfMatch=etag, IfUnmodifiedSince=PAST), b"one")
    fails(304, "304", s3.client.get_object, Bucket=name, Key="k", IfNoneMatch=etag, IfModifiedSince=PAST)


def a_head_has_the_same_conditions(s3):
    name, etag = _object(s3)
    eq(status(s3.client.head_object(Bucket=name, Key="k", IfMatch=etag)), 200)
    fails(412, "412", s3.client.head_object, Bucket=name, Key="k", IfMatch=OTHER)
    fails(304, "304", s3.client.head_object, Bucket=name, Key="k", IfNoneMatch=etag)
    fails(412, "412", s3.client.head_object, Bucket=name, Key="k", IfUnmodifiedSince=PAST)


def one_of_several_etags_is_enough(s3):
    name, etag = _object(s3)
    eq(s3.wire.send("GET", f"/{name}/k", {"If-Match": f"{OTHER}, {etag}"}).status, 200)
    eq(s3.wire.send("GET", f"/{name}/k", {"If-None-Match": f"{OTHER}, {etag}"}).status, 304)


def a_put_where_nothing_is(s3):
    name = s3.bucket()
    s3.put(name, "k", b"one", IfNoneMatch="*")
    fails(412, "PreconditionFailed", s3.client.put_object, Bucket=name, Key="k", Body=b"two", IfNoneMatch="*", message=FAILED)
    eq(s3.body(name, "k"), b"one")
    s3.client.delete_object(Bucket=name, Key="k")
    s3.put(name, "k", b"three", IfNoneMatch="*")
    eq(s3.body(name, "k"), b"three")


def a_put_over_what_was_seen(s3):
    name, etag = _object(s3)
    second = s3.put(name, "k", b"two", IfMatch=etag)["ETag"]
    fails(412, "PreconditionFailed", s3.client.put_object, Bucket=name, Key="k", Body=b"three", IfMatch=etag)
    eq(s3.body(name, "k"), b"two")
    s3.put(name, "k", b"three", IfMatch=second)
    s3.put(name, "k", b"four", IfMatch="*")
    fails(404, "NoSuchKey", s3.client.put_object, Bucket=name, Key="absent", Body=b"", IfMatch=etag)
    fails(404, "NoSuchKey", s3.client.put_object, Bucket=name, Key="absent", Body=b"", IfMatch="*")


def a_put_over_anything_but_an_etag(s3):
    name, etag = _object(s3)
    s3.put(name, "k", b"two", IfNoneMatch=OTHER)
    eq(s3.body(name, "k"), b"two")
    etag = s3.client.head_object(Bucket=name, Key="k")["ETag"]
    fails(412, "PreconditionFailed", s3.client.put_object, Bucket=name, Key="k", Body=b"three", IfNoneMatch=etag)
    s3.put(name, "fresh", b"one", IfNoneMatch=OTHER)


def _won(calls):
    """How many of several calls at once were done; the others have to be refused by their condition."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
    won = 0
    for future in futures:
        try:
            future.result()
            won += 1
        except ClientError as error:
            eq(error_of(error)[1] in ("PreconditionFailed", "ConditionalRequestConflict"), True, str(error))
    return won


def of_many_who_put_where_nothing_is_one_does(s3):
    name = s3.bucket()
    eq(_won([lambda: s3.put(name, "k", b"x", IfNoneMatch="*")] * 8), 1)


def of_many_who_put_over_the_same_one_does(s3):
    name, etag = _object(s3)
    eq(_won([lambda number=number: s3.put(name, "k", str(number), IfMatch=etag) for number in range(8)]), 1)


def an_upload_completes_where_nothing_is(s3):
    name = s3.bucket("taken")
    for key, done in (("free", True), ("taken", False)):
        upload = s3.client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
        part = s3.client.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
        settings = {"Bucket": name, "Key": key, "UploadId": upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part}]}}
        if done:
            s3.client.complete_multipart_upload(IfNoneMatch="*", **settings)
            eq(s3.body(name, key), b"part")
        else:
            fails(412, "PreconditionFailed", s3.client.complete_multipart_upload, IfNoneMatch="*", **settings)
            eq(s3.body(name, key), b"taken")
            fails(412, "PreconditionFailed", s3.client.complete_multipart_upload, IfMatch=OTHER, **settings)
            s3.client.complete_multipart_upload(IfMatch=s3.client.head_object(Bucket=name, Key=key)["ETag"], **settings)


def a_copy_asks_for_its_source(s3):
    name, etag = _object(s3)
    given = {"Bucket": name, "Key": "copy", "CopySource": {"Bucket": name, "Key": "k"}}
    s3.client.copy_object(CopySourceIfMatch=etag, **given)
    s3.client.copy_object(CopySourceIfNoneMatch=OTHER, **given)
    s3.client.copy_object(CopySourceIfModifiedSince=PAST, **given)
    s3.client.copy_object(CopySourceIfUnmodifiedSince=FUTURE, **given)
    for conditions in (
        {"CopySourceIfMatch": OTHER},
        {"CopySourceIfNoneMatch": etag},
        {"CopySourceIfModifiedSince": s3.client.head_object(Bucket=name, Key="k")["LastModified"]},
        {"CopySourceIfUnmodifiedSince": PAST},
    ):
        fails(412, "PreconditionFailed", s3.client.copy_object, **conditions, **given)


def a_copy_asks_for_its_target(s3):
    name, etag = _object(s3)
    source = {"Bucket": name, "Key": "k"}
    s3.client.copy_object(Bucket=name, Key="copy", CopySource=source, IfNoneMatch="*")
    fails(412, "PreconditionFailed", s3.client.copy_object, Bucket=name, Key="copy", CopySource=source, IfNoneMatch="*")
    fails(412, "PreconditionFailed", s3.client.copy_object, Bucket=name, Key="copy", CopySource=source, IfMatch=OTHER)
    s3.client.copy_object(Bucket=name, Key="copy", CopySource=source, IfMatch=etag)


def a_delete_asks_for_an_etag(s3):
    name, etag = _object(s3)
    fails(412, "PreconditionFailed", s3.client.delete_object, Bucket=name, Key="k", IfMatch=OTHER)
    eq(s3.body(name, "k"), b"one")
    eq(status(s3.client.delete_object(Bucket=name, Key="k", IfMatch=etag)), 204)
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")


def a_delete_of_anything_that_is_there(s3):
    name, _ = _object(s3)
    eq(status(s3.client.delete_object(Bucket=name, Key="k", IfMatch="*")), 204)


def a_delete_of_what_is_not_there_has_no_etag_to_match(s3):
    fails(404, "NoSuchKey", s3.client.delete_object, Bucket=s3.bucket(), Key="absent", IfMatch="*")


def a_delete_asks_for_a_size_and_a_time(s3):
    name, _ = _object(s3)
    modified = s3.client.head_object(Bucket=name, Key="k")["LastModified"]
    fails(412, "PreconditionFailed", s3.client.delete_object, Bucket=name, Key="k", IfMatchSize=9999)
    fails(412, "PreconditionFailed", s3.client.delete_object, Bucket=name, Key="k", IfMatchLastModifiedTime=PAST)
    eq(status(s3.client.delete_object(Bucket=name, Key="k", IfMatchSize=3, IfMatchLastModifiedTime=modified)), 204)


def deletes_of_many_have_conditions_of_their_own(s3):
    name, etag = _object(s3)
    s3.put(name, "other", b"x")
    objects = [{"Key": "k", "ETag": etag}, {"Key": "other", "ETag": OTHER}]
    answer = s3.client.delete_objects(Bucket=name, Delete={"Objects": objects})
    eq([one["Key"] for one in answer.get("Deleted", [])], ["k"])
    eq([(one["Key"], one["Code"]) for one in answer.get("Errors", [])], [("other", "PreconditionFailed")])
