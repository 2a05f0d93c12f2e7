"""Encryption: with keys that customers bring, with those of the server, and the default of a bucket."""

import base64
import hashlib

from world import eq, fails, refused, truth

KEY = hashlib.sha256(b"one").digest()
OTHER = hashlib.sha256(b"two").digest()


def _with(key, prefix=""):
    """The words of a request with a key; boto encodes it and sums it up."""
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def what_is_put_with_a_key_comes_back_with_it(s3):
    name = s3.bucket()
    for size in (0, 1, 13, 1024, 70_000, 5_000_001):
        data = b"A" * size
        answer = s3.put(name, "k", data, **_with(KEY))
        eq((answer["SSECustomerAlgorithm"], answer["SSECustomerKeyMD5"]), ("AES256", base64.b64encode(hashlib.md5(KEY).digest()).decode()))
        got = s3.client.get_object(Bucket=name, Key="k", **_with(KEY))
        truth(got["Body"].read() == data and got["ContentLength"] == size, f"{size} bytes came back different")
        eq(got["SSECustomerAlgorithm"], "AES256")
    eq(s3.client.list_objects_v2(Bucket=name)["Contents"][0]["Size"], 5_000_001)


def without_the_key_nothing_is_told(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", **_with(KEY))
    fails(400, "InvalidRequest", s3.client.get_object, Bucket=name, Key="k")
    fails(400, "400", s3.client.head_object, Bucket=name, Key="k")


def with_another_key_it_is_refused(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", **_with(KEY))
    fails(403, "AccessDenied", s3.client.get_object, Bucket=name, Key="k", **_with(OTHER))
    fails(403, "403", s3.client.head_object, Bucket=name, Key="k", **_with(OTHER))


def a_key_for_what_has_none_is_refused(s3):
    name = s3.bucket("k")
    fails(400, "InvalidRequest", s3.client.get_object, Bucket=name, Key="k", **_with(KEY))


def ranges_of_what_is_encrypted_are_right(s3):
    name = s3.bucket()
    data = hashlib.sha256(b"x").digest() * 100_000
    s3.put(name, "k", data, **_with(KEY))
    for first, last in ((0, 0), (5, 100), (65535, 65537), (1 << 20, (1 << 20) + 5), (len(data) - 3, len(data) - 1), (0, len(data) - 1)):
        got = s3.client.get_object(Bucket=name, Key="k", Range=f"bytes={first}-{last}", **_with(KEY))
        truth(got["Body"].read() == data[first : last + 1], f"{first}-{last}")
        eq(got["ContentRange"], f"bytes {first}-{last}/{len(data)}")


def words_of_a_key_come_all_or_not_at_all(s3):
    name = s3.bucket()
    key, md5 = base64.b64encode(KEY).decode(), base64.b64encode(hashlib.md5(KEY).digest()).decode()
    algorithm = "x-amz-server-side-encryption-customer-algorithm"
    words = {algorithm: "AES256", "x-amz-server-side-encryption-customer-key": key, "x-amz-server-side-encryption-customer-key-MD5": md5}
    for left_out in words:
        given = {word: value for word, value in words.items() if word != left_out}
        answer = s3.wire.send("PUT", f"/{name}/k", given, b"x")
        truth(answer.status == 400 and answer.code in ("InvalidArgument", "InvalidRequest"), f"without {left_out}: {answer!r}")
    answer = s3.wire.send("PUT", f"/{name}/k", {**words, algorithm: "AES1"}, b"x")
    truth(answer.status == 400 and answer.code in ("InvalidEncryptionAlgorithmError", "InvalidArgument"), f"{answer!r}")
    wrong = base64.b64encode(hashlib.md5(OTHER).digest()).decode()
    answer = s3.wire.send("PUT", f"/{name}/k", {**words, "x-amz-server-side-encryption-customer-key-MD5": wrong}, b"x")
    refused(answer, 400, "InvalidArgument")
    short = {**words, "x-amz-server-side-encryption-customer-key": base64.b64encode(b"short").decode()}
    refused(s3.wire.send("PUT", f"/{name}/k", short, b"x"), 400, "InvalidArgument")


def an_upload_in_parts_is_encrypted(s3):
    name, pieces = s3.bucket(), [b"a" * (5 << 20), b"end"]
    upload = s3.client.create_multipart_upload(Bucket=name, Key="k", **_with(KEY))["UploadId"]
    given = {"Bucket": name, "Key": "k", "UploadId": upload}
    parts = []
    for number, piece in enumerate(pieces, 1):
        parts.append({"PartNumber": number, "ETag": s3.client.upload_part(PartNumber=number, Body=piece, **given, **_with(KEY))["ETag"]})
    fails(400, "InvalidRequest", s3.client.upload_part, PartNumber=3, Body=b"x", **given)
    fails(400, "InvalidRequest", s3.client.upload_part, PartNumber=3, Body=b"x", **given, **_with(OTHER))
    s3.client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **given)
    truth(s3.body(name, "k", **_with(KEY)) == b"".join(pieces), "it came back different")
    edge = len(pieces[0])
    eq(s3.body(name, "k", Range=f"bytes={edge - 2}-{edge + 1}", **_with(KEY)), b"aaen")
    fails(400, "InvalidRequest", s3.client.get_object, Bucket=name, Key="k")


def a_copy_is_encrypted_as_it_says(s3):
    name = s3.bucket()
    s3.put(name, "k", b"bytes", **_with(KEY))
    source = {"Bucket": name, "Key": "k"}
    fails(400, "InvalidRequest", s3.client.copy_object, Bucket=name, Key="x", CopySource=source)
    s3.client.copy_object(Bucket=name, Key="plain", CopySource=source, **_with(KEY, "CopySource"))
    eq(s3.body(name, "plain"), b"bytes")
    s3.client.copy_object(Bucket=name, Key="other", CopySource=source, **_with(KEY, "CopySource"), **_with(OTHER))
    eq(s3.body(name, "other", **_with(OTHER)), b"bytes")


def the_server_encrypts_where_it_is_asked_to(s3):
    name = s3.bucket()
    eq(s3.put(name, "k", b"bytes", ServerSideEncryption="AES256")["ServerSideEncryption"], "AES256")
    got = s3.client.get_object(Bucket=name, Key="k")
    eq((got["Body"].read(), got["ServerSideEncryption"]), (b"bytes", "AES256"))
    eq(s3.client.head_object(Bucket=name, Key="k")["ServerSideEncryption"], "AES256")
    upload = s3.client.create_multipart_upload(Bucket=name, Key="parts", ServerSideEncryption="AES256")
    eq(upload["ServerSideEncryption"], "AES256")


def another_algorithm_of_the_server_is_refused(s3):
    answer = s3.wire.send("PUT", f"/{s3.bucket()}/k", {"x-amz-server-side-encryption": "rot13"}, b"x")
    truth(answer.status == 400 and answer.code in ("InvalidArgument", "InvalidEncryptionAlgorithmError"), f"{answer!r}")


def a_head_does_not_say_how_to_encrypt(s3):
    answer = s3.wire.send("GET", f"/{s3.bucket('k')}/k", {"x-amz-server-side-encryption": "AES256"})
    truth(answer.status in (200, 400), f"{answer!r}")


def the_default_of_a_bucket_is_kept_and_told(s3):
    name = s3.bucket()
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}
    s3.client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=rules)
    told = s3.client.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]
    eq(told["Rules"][0]["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"})
    s3.put(name, "k", b"x")
    eq(s3.client.head_object(Bucket=name, Key="k")["ServerSideEncryption"], "AES256")
    s3.client.delete_bucket_encryption(Bucket=name)
