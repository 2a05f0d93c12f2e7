"""Encryption: with keys that customers bring, with those of the server, and the default of a bucket."""

import base64
import hashlib

from world import eq, fails, refused, status, truth

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
    fails(400, "AccessDenied", s3.client.get_object, Bucket=name, Key="k", **_with(OTHER))
    fails(400, "400", s3.client.head_object, Bucket=name, Key="k", **_with(OTHER))


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
    fails(400, "InvalidRequest", s3.client.copy_object, Bucket=name, Key="x", CopySource={"Bucket": name, "Key": "plain"}, **_with(KEY, "CopySource"))


def a_copy_onto_itself_may_encrypt(s3):
    name = s3.bucket("k")
    source = {"Bucket": name, "Key": "k"}
    fails(400, "InvalidRequest", s3.client.copy_object, Bucket=name, Key="k", CopySource=source)
    eq(s3.client.copy_object(Bucket=name, Key="k", CopySource=source, ServerSideEncryption="AES256")["ServerSideEncryption"], "AES256")
    eq(s3.body(name, "k"), b"k")


def a_part_is_copied_from_what_is_encrypted(s3):
    name = s3.bucket()
    data = hashlib.sha256(b"y").digest() * 200_000
    s3.put(name, "k", data, **_with(KEY))
    upload = s3.client.create_multipart_upload(Bucket=name, Key="parts", ServerSideEncryption="AES256")["UploadId"]
    given = {"Bucket": name, "Key": "parts", "UploadId": upload}
    source = {"CopySource": {"Bucket": name, "Key": "k"}, "CopySourceRange": "bytes=70001-5500000", "PartNumber": 2}
    fails(400, "InvalidRequest", s3.client.upload_part_copy, **source, **given)
    etag = s3.client.upload_part_copy(**source, **given, **_with(KEY, "CopySource"))["CopyPartResult"]["ETag"]
    last = s3.client.upload_part(PartNumber=7, Body=b"", **given)["ETag"]
    eq([part["Size"] for part in s3.client.list_parts(**given)["Parts"]], [5_430_000, 0])
    parts = [{"PartNumber": 2, "ETag": etag}, {"PartNumber": 7, "ETag": last}]
    eq(s3.client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **given)["ServerSideEncryption"], "AES256")
    truth(s3.body(name, "parts") == data[70_001:5_500_001], "it came back different")
    got = s3.client.get_object(Bucket=name, Key="parts", PartNumber=1)
    eq((got["ContentLength"], got["PartsCount"], got["ServerSideEncryption"]), (5_430_000, 2, "AES256"))
    eq(s3.body(name, "parts", Range="bytes=-3"), data[5_499_998:5_500_001])
    eq(s3.client.list_objects_v2(Bucket=name, Prefix="parts")["Contents"][0]["Size"], 5_430_000)


def an_upload_that_began_in_the_clear_takes_no_keys(s3):
    name = s3.bucket()
    upload = s3.client.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    fails(400, "InvalidRequest", s3.client.upload_part, Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x", **_with(KEY))


def the_etag_is_an_md5_where_the_server_has_the_key(s3):
    name, md5 = s3.bucket(), hashlib.md5(b"bytes").hexdigest()
    eq(s3.put(name, "server", b"bytes", ServerSideEncryption="AES256")["ETag"], f'"{md5}"')
    etag = s3.put(name, "own", b"bytes", **_with(KEY))["ETag"]
    truth(etag != f'"{md5}"', "it is an MD5 of the bytes")
    eq(s3.client.head_object(Bucket=name, Key="own", **_with(KEY))["ETag"], etag)
    eq(s3.body(name, "own", IfMatch=etag, **_with(KEY)), b"bytes")
    fails(304, "304", s3.client.get_object, Bucket=name, Key="own", IfNoneMatch=etag, **_with(KEY))
    fails(412, "PreconditionFailed", s3.client.put_object, Bucket=name, Key="own", Body=b"x", IfNoneMatch="*", **_with(KEY))


def attributes_are_told_to_who_has_the_key(s3):
    name = s3.bucket()
    s3.put(name, "k", b"bytes", **_with(KEY))
    wanted = {"Bucket": name, "Key": "k", "ObjectAttributes": ["ObjectSize"]}
    fails(400, "InvalidRequest", s3.client.get_object_attributes, **wanted)
    # Here boto does not encode it.
    key, md5 = base64.b64encode(KEY).decode(), base64.b64encode(hashlib.md5(KEY).digest()).decode()
    eq(s3.client.get_object_attributes(**wanted, **_with(key), SSECustomerKeyMD5=md5)["ObjectSize"], 5)


def each_version_has_the_key_that_it_was_put_with(s3):
    name = s3.versioned()
    one = s3.put(name, "k", b"one", **_with(KEY))["VersionId"]
    two = s3.put(name, "k", b"second", **_with(OTHER))["VersionId"]
    s3.put(name, "k", b"x")
    eq(s3.body(name, "k", VersionId=one, **_with(KEY)), b"one")
    eq(s3.body(name, "k", VersionId=two, **_with(OTHER)), b"second")
    fails(400, "AccessDenied", s3.client.get_object, Bucket=name, Key="k", VersionId=two, **_with(KEY))
    eq(s3.body(name, "k"), b"x")
    eq([version["Size"] for version in s3.client.list_object_versions(Bucket=name)["Versions"]], [1, 6, 3])


def tags_of_what_is_encrypted_change_without_the_key(s3):
    name = s3.bucket()
    s3.put(name, "k", b"bytes", **_with(KEY))
    s3.client.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    eq(s3.body(name, "k", **_with(KEY)), b"bytes")


def both_keys_at_once_are_refused(s3):
    name = s3.bucket()
    fails(400, "InvalidArgument", s3.client.put_object, Bucket=name, Key="k", Body=b"x", ServerSideEncryption="AES256", **_with(KEY))


def the_server_encrypts_where_it_is_asked_to(s3):
    name = s3.bucket()
    eq(s3.put(name, "k", b"bytes", ServerSideEncryption="AES256")["ServerSideEncryption"], "AES256")
    got = s3.client.get_object(Bucket=name, Key="k")
    eq((got["Body"].read(), got["ServerSideEncryption"]), (b"bytes", "AES256"))
    eq(s3.client.head_object(Bucket=name, Key="k")["ServerSideEncryption"], "AES256")
    upload = s3.client.create_multipart_upload(Bucket=name, Key="parts", ServerSideEncryption="AES256")
    eq(upload["ServerSideEncryption"], "AES256")


def what_a_query_asks_for_is_done_or_refused(s3):
    name = s3.bucket()
    answer = s3.wire.send("PUT", f"/{name}/k?x-amz-server-side-encryption=AES256", {}, b"x")
    truth(answer.status >= 400 or s3.client.head_object(Bucket=name, Key="k").get("ServerSideEncryption") == "AES256", f"{answer!r}")


def another_algorithm_of_the_server_is_refused(s3):
    answer = s3.wire.send("PUT", f"/{s3.bucket()}/k", {"x-amz-server-side-encryption": "rot13"}, b"x")
    truth(answer.status == 400 and answer.code in ("InvalidArgument", "InvalidEncryptionAlgorithmError"), f"{answer!r}")


def a_head_does_not_say_how_to_encrypt(s3):
    answer = s3.wire.send("GET", f"/{s3.bucket('k')}/k", {"x-amz-server-side-encryption": "AES256"})
    truth(answer.status in (200, 400), f"{answer!r}")


def the_default_of_a_bucket_is_kept_and_told(s3):
    name = s3.bucket()
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}
    absent = "ServerSideEncryptionConfigurationNotFoundError"
    fails(404, absent, s3.client.get_bucket_encryption, Bucket=name)
    s3.client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=rules)
    told = s3.client.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]
    eq(told["Rules"][0]["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"})
    s3.put(name, "k", b"x")
    eq(s3.client.head_object(Bucket=name, Key="k")["ServerSideEncryption"], "AES256")
    eq(s3.client.create_multipart_upload(Bucket=name, Key="parts")["ServerSideEncryption"], "AES256")
    eq(s3.client.copy_object(Bucket=name, Key="copy", CopySource={"Bucket": name, "Key": "k"})["ServerSideEncryption"], "AES256")
    s3.put(name, "own", b"x", **_with(KEY))
    truth("ServerSideEncryption" not in s3.client.head_object(Bucket=name, Key="own", **_with(KEY)), "the customer's key goes first")
    eq(status(s3.client.delete_bucket_encryption(Bucket=name)), 204)
    fails(404, absent, s3.client.get_bucket_encryption, Bucket=name)
    s3.put(name, "k", b"x")
    truth("ServerSideEncryption" not in s3.client.head_object(Bucket=name, Key="k"), "it is the default no more")
    eq(s3.body(name, "copy"), b"x")


def a_default_that_is_none_is_refused(s3):
    name = s3.bucket()
    for rules in ([], [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "rot13"}}]):
        fails(400, "MalformedXML", s3.client.put_bucket_encryption, Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
