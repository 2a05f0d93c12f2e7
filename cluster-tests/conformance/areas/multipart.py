"""Uploads in parts: begun, sent, listed, completed once, given up."""

import base64
import concurrent.futures
import hashlib

from world import eq, fails, refused, status, truth

MIB = 1 << 20
LEAST = 5 * MIB
GONE = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."


def _data(seed, size):
    return (hashlib.sha256(str(seed).encode()).digest() * (size // 32 + 1))[:size]


def _begin(s3, name, key="k", **settings):
    return s3.client.create_multipart_upload(Bucket=name, Key=key, **settings)["UploadId"]


def _send(s3, name, upload, number, data, key="k", **settings):
    answer = s3.client.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=number, Body=data, **settings)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def _complete(s3, name, upload, parts, key="k", **settings):
    return s3.client.complete_multipart_upload(Bucket=name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **settings)


def _upload(s3, name, pieces, key="k", **settings):
    upload = _begin(s3, name, key, **settings)
    parts = [_send(s3, name, upload, number, piece, key) for number, piece in enumerate(pieces, 1)]
    return _complete(s3, name, upload, parts, key), upload, parts


def parts_become_one_object(s3):
    name, pieces = s3.bucket(), [_data(1, LEAST), _data(2, LEAST + 17), b"end"]
    answer, _, parts = _upload(s3, name, pieces, ContentType="text/x", Metadata={"own": "word"})
    md5s = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    etag = f'"{hashlib.md5(md5s).hexdigest()}-3"'
    eq((answer["ETag"], answer["Bucket"], answer["Key"]), (etag, name, "k"))
    truth(answer["Location"].endswith(f"/{name}/k"), answer["Location"])
    got = s3.client.get_object(Bucket=name, Key="k")
    truth(got["Body"].read() == b"".join(pieces), "the bytes are different")
    eq((got["ETag"], got["ContentType"], got["Metadata"], got["ContentLength"]), (etag, "text/x", {"own": "word"}, sum(map(len, pieces))))


def ranges_cross_parts(s3):
    name, pieces = s3.bucket(), [_data(1, LEAST), _data(2, LEAST), _data(3, 100)]
    _upload(s3, name, pieces)
    whole = b"".join(pieces)
    for first, last in ((LEAST - 2, LEAST + 1), (0, len(whole) - 1), (2 * LEAST - 1, 2 * LEAST + 50), (LEAST, LEAST)):
        truth(s3.body(name, "k", Range=f"bytes={first}-{last}") == whole[first : last + 1], f"{first}-{last}")


def a_part_is_read_by_its_number(s3):
    name, pieces = s3.bucket(), [_data(1, LEAST), b"end"]
    answer, _, _ = _upload(s3, name, pieces)
    for number, piece in enumerate(pieces, 1):
        got = s3.client.get_object(Bucket=name, Key="k", PartNumber=number)
        truth(got["Body"].read() == piece, f"part {number} is different")
        eq((status(got), got["PartsCount"], got["ETag"]), (206, 2, answer["ETag"]))
        head = s3.client.head_object(Bucket=name, Key="k", PartNumber=number)
        eq((head["ContentLength"], head["PartsCount"]), (len(piece), 2))
    fails(416, "InvalidPartNumber", s3.client.get_object, Bucket=name, Key="k", PartNumber=3)
    fails(400, "InvalidArgument", s3.client.get_object, Bucket=name, Key="k", PartNumber=0)
    fails(400, "InvalidRequest", s3.client.get_object, Bucket=name, Key="k", PartNumber=1, Range="bytes=0-1")


def an_object_put_at_once_is_one_part(s3):
    name = s3.bucket("k")
    got = s3.client.get_object(Bucket=name, Key="k", PartNumber=1)
    eq((got["Body"].read(), "PartsCount" in got), (b"k", False))
    fails(416, "InvalidPartNumber", s3.client.get_object, Bucket=name, Key="k", PartNumber=2)


def an_upload_of_one_small_part_is_an_object(s3):
    name = s3.bucket()
    answer, _, _ = _upload(s3, name, [b"small"])
    truth(answer["ETag"].endswith('-1"'), answer["ETag"])
    eq(s3.body(name, "k"), b"small")


def an_upload_of_an_empty_part_is_an_empty_object(s3):
    name = s3.bucket()
    _upload(s3, name, [b""])
    eq(s3.client.head_object(Bucket=name, Key="k")["ContentLength"], 0)


def an_upload_without_parts_is_not_completed(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    fails(400, "MalformedXML", s3.client.complete_multipart_upload, Bucket=name, Key="k", UploadId=upload, MultipartUpload={"Parts": []})
    fails(400, "MalformedXML", s3.client.complete_multipart_upload, Bucket=name, Key="k", UploadId=upload)


def small_parts_before_the_last_are_refused(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    parts = [_send(s3, name, upload, 1, b"small"), _send(s3, name, upload, 2, b"last")]
    message = "Your proposed upload is smaller than the minimum allowed size"
    fails(400, "EntityTooSmall", _complete, s3, name, upload, parts, message=message)
    _complete(s3, name, upload, parts[1:])
    eq(s3.body(name, "k"), b"last")


def parts_have_to_be_named_in_order(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    parts = [_send(s3, name, upload, number, _data(number, LEAST)) for number in (1, 2)]
    message = "The list of parts was not in ascending order. The parts list must be specified in order by part number."
    fails(400, "InvalidPartOrder", _complete, s3, name, upload, parts[::-1], message=message)
    fails(400, "InvalidPartOrder", _complete, s3, name, upload, [parts[0], parts[0]])


def parts_that_are_not_there_are_refused(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    part = _send(s3, name, upload, 1, b"x")
    fails(400, "InvalidPart", _complete, s3, name, upload, [{"PartNumber": 9999, "ETag": part["ETag"]}])
    fails(400, "InvalidPart", _complete, s3, name, upload, [{"PartNumber": 1, "ETag": '"ffffffffffffffffffffffffffffffff"'}])
    fails(400, "InvalidPart", _complete, s3, name, upload, [{"PartNumber": 1, "ETag": ""}])


def etags_of_parts_may_come_without_quotes(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    part = _send(s3, name, upload, 1, b"x")
    _complete(s3, name, upload, [{"PartNumber": 1, "ETag": part["ETag"].strip('"')}])
    eq(s3.body(name, "k"), b"x")


def numbers_of_parts_are_1_to_10000(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    for number in (0, 10001, -1):
        message = "Part number must be an integer between 1 and 10000, inclusive"
        fails(400, "InvalidArgument", _send, s3, name, upload, number, b"x", message=message)
    parts = [_send(s3, name, upload, 10000, b"x")]
    _complete(s3, name, upload, parts)


def numbers_may_have_gaps(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    parts = [_send(s3, name, upload, 7, _data(7, LEAST)), _send(s3, name, upload, 4000, b"end")]
    _complete(s3, name, upload, parts)
    eq(s3.client.head_object(Bucket=name, Key="k")["ContentLength"], LEAST + 3)


def the_last_of_parts_of_the_same_number_counts(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    first, second = _send(s3, name, upload, 1, b"first"), _send(s3, name, upload, 1, b"second")
    fails(400, "InvalidPart", _complete, s3, name, upload, [first])
    _complete(s3, name, upload, [second])
    eq(s3.body(name, "k"), b"second")


def parts_that_are_not_named_are_left_out(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    _send(s3, name, upload, 1, b"left out")
    _complete(s3, name, upload, [_send(s3, name, upload, 2, b"named")])
    eq(s3.body(name, "k"), b"named")


def completing_again_gives_the_same_answer(s3):
    name = s3.bucket()
    answer, upload, parts = _upload(s3, name, [b"x"])
    eq(_complete(s3, name, upload, parts)["ETag"], answer["ETag"])


def what_is_given_up_is_gone(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    part = _send(s3, name, upload, 1, b"x")
    eq(status(s3.client.abort_multipart_upload(Bucket=name, Key="k", UploadId=upload)), 204)
    fails(404, "NoSuchUpload", _send, s3, name, upload, 2, b"x", message=GONE)
    fails(404, "NoSuchUpload", _complete, s3, name, upload, [part])
    fails(404, "NoSuchUpload", s3.client.list_parts, Bucket=name, Key="k", UploadId=upload)
    fails(404, "NoSuchUpload", s3.client.abort_multipart_upload, Bucket=name, Key="k", UploadId=upload)
    eq(s3.client.list_multipart_uploads(Bucket=name).get("Uploads", []), [])


def an_upload_that_never_was_is_none(s3):
    name = s3.bucket()
    for upload in ("56788", "0" * 32, "odd id!"):
        fails(404, "NoSuchUpload", s3.client.abort_multipart_upload, Bucket=name, Key="k", UploadId=upload, message=GONE)
        fails(404, "NoSuchUpload", _send, s3, name, upload, 1, b"x")
        fails(404, "NoSuchUpload", s3.client.list_parts, Bucket=name, Key="k", UploadId=upload)


def an_upload_belongs_to_its_key(s3):
    name = s3.bucket()
    upload = _begin(s3, name, "a")
    fails(404, "NoSuchUpload", _send, s3, name, upload, 1, b"x", key="b")


def an_upload_is_not_seen_before_it_is_complete(s3):
    name = s3.bucket()
    _send(s3, name, _begin(s3, name), 1, b"x")
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")
    eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 0)


def an_upload_replaces_what_was_there(s3):
    name = s3.bucket("k")
    _upload(s3, name, [b"new"])
    eq(s3.body(name, "k"), b"new")


def two_uploads_of_one_key_know_nothing_of_each_other(s3):
    name = s3.bucket()
    first, second = _begin(s3, name), _begin(s3, name)
    parts = [_send(s3, name, first, 1, b"first")], [_send(s3, name, second, 1, b"second")]
    _complete(s3, name, second, parts[1])
    eq(s3.body(name, "k"), b"second")
    _complete(s3, name, first, parts[0])
    eq(s3.body(name, "k"), b"first")


def parts_are_listed_in_pages(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    etags = [_send(s3, name, upload, number, bytes([number]) * number)["ETag"] for number in (1, 2, 3)]
    answer = s3.client.list_parts(Bucket=name, Key="k", UploadId=upload)
    eq([(part["PartNumber"], part["Size"], part["ETag"]) for part in answer["Parts"]], [(n, n, etags[n - 1]) for n in (1, 2, 3)])
    eq((answer["IsTruncated"], answer["MaxParts"], answer["Bucket"], answer["Key"], answer["StorageClass"]), (False, 1000, name, "k", "STANDARD"))
    truth(answer["Owner"]["ID"] and answer["Initiator"]["ID"], "whose is it?")
    answer = s3.client.list_parts(Bucket=name, Key="k", UploadId=upload, MaxParts=2)
    eq(([part["PartNumber"] for part in answer["Parts"]], answer["IsTruncated"], answer["NextPartNumberMarker"]), ([1, 2], True, 2))
    answer = s3.client.list_parts(Bucket=name, Key="k", UploadId=upload, PartNumberMarker=2)
    eq(([part["PartNumber"] for part in answer["Parts"]], answer["IsTruncated"]), ([3], False))


def uploads_are_listed_in_order_and_in_pages(s3):
    name = s3.bucket()
    wanted = sorted((key, _begin(s3, name, key)) for key in ("a", "b", "b", "dir/c"))
    answer = s3.client.list_multipart_uploads(Bucket=name)
    eq(sorted((one["Key"], one["UploadId"]) for one in answer["Uploads"]), wanted)
    eq((answer["MaxUploads"], answer["IsTruncated"]), (1000, False))
    found, marker = [], {}
    while True:
        answer = s3.client.list_multipart_uploads(Bucket=name, MaxUploads=1, **marker)
        found += [(one["Key"], one["UploadId"]) for one in answer["Uploads"]]
        if not answer["IsTruncated"]:
            break
        marker = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}
    eq(sorted(found), wanted)
    answer = s3.client.list_multipart_uploads(Bucket=name, Delimiter="/")
    eq(([one["Key"] for one in answer["Uploads"]], [one["Prefix"] for one in answer["CommonPrefixes"]]), (["a", "b", "b"], ["dir/"]))
    eq([one["Key"] for one in s3.client.list_multipart_uploads(Bucket=name, Prefix="dir")["Uploads"]], ["dir/c"])


def parts_are_copied_from_objects(s3):
    name, data = s3.bucket(), _data(5, LEAST + 10)
    s3.put(name, "source", data)
    upload, source = _begin(s3, name), {"Bucket": name, "Key": "source"}

    def copied(number, **settings):
        answer = s3.client.upload_part_copy(Bucket=name, Key="k", UploadId=upload, PartNumber=number, CopySource=source, **settings)
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    parts = [copied(1), copied(2, CopySourceRange=f"bytes=0-{LEAST - 1}"), copied(3, CopySourceRange="bytes=10-20")]
    _complete(s3, name, upload, parts)
    truth(s3.body(name, "k") == data + data[:LEAST] + data[10:21], "the bytes are different")


def a_copied_part_has_a_range_that_can_be(s3):
    name = s3.bucket()
    s3.put(name, "source", b"01234")
    upload = _begin(s3, name)
    given = {"Bucket": name, "Key": "k", "UploadId": upload, "PartNumber": 1, "CopySource": {"Bucket": name, "Key": "source"}}
    for text in ("bytes=0-21", "bytes=0-5"):
        fails(400, ("InvalidRange", "InvalidArgument"), s3.client.upload_part_copy, CopySourceRange=text, **given)
    for text in ("bytes=hello-world", "0-2", "bytes=0", "bytes=0-", "bytes=2-1", "hello"):
        fails(400, "InvalidArgument", s3.client.upload_part_copy, CopySourceRange=text, **given)
    fails(404, "NoSuchKey", s3.client.upload_part_copy, **{**given, "CopySource": {"Bucket": name, "Key": "absent"}})


def a_copied_part_asks_for_its_source(s3):
    name = s3.bucket("source")
    given = {"Bucket": name, "Key": "k", "UploadId": _begin(s3, name), "PartNumber": 1, "CopySource": {"Bucket": name, "Key": "source"}}
    fails(412, "PreconditionFailed", s3.client.upload_part_copy, CopySourceIfMatch='"x"', **given)
    s3.client.upload_part_copy(CopySourceIfNoneMatch='"x"', **given)


def a_part_has_to_be_what_its_digest_says(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    digest = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    fails(400, "BadDigest", _send, s3, name, upload, 1, b"this", ContentMD5=digest)
    fails(404, "NoSuchUpload", s3.client.list_parts, Bucket=name, Key="k", UploadId="f" * 32)
    eq(s3.client.list_parts(Bucket=name, Key="k", UploadId=upload).get("Parts", []), [])


def the_words_of_an_upload_have_limits(s3):
    fails(400, "MetadataTooLarge", _begin, s3, s3.bucket(), Metadata={"a": "x" * 2100})


def a_completion_that_is_no_xml_is_refused(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    refused(s3.wire.send("POST", f"/{name}/k?uploadId={upload}", body=b"<Complete"), 400, "MalformedXML")


def a_completion_names_the_size_it_expects(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    parts = [_send(s3, name, upload, 1, b"12345")]
    fails(400, "InvalidRequest", _complete, s3, name, upload, parts, MpuObjectSize=6)
    _complete(s3, name, upload, parts, MpuObjectSize=5)


def parts_sent_at_once_are_all_there(s3):
    name = s3.bucket()
    upload = _begin(s3, name)
    pieces = [_data(number, LEAST) for number in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(lambda number: _send(s3, name, upload, number + 1, pieces[number]), range(6)))
    _complete(s3, name, upload, parts)
    truth(s3.body(name, "k") == b"".join(pieces), "the bytes are different")


def attributes_tell_the_parts(s3):
    name = s3.bucket()
    upload = _begin(s3, name, ChecksumAlgorithm="CRC32")
    sent = []
    for number, piece in ((1, _data(1, LEAST)), (2, b"end")):
        answer = s3.client.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32")
        sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
    _complete(s3, name, upload, sent)
    answer = s3.client.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ObjectParts", "ObjectSize", "Checksum"])
    eq((answer["ObjectParts"]["TotalPartsCount"], answer["ObjectSize"]), (2, LEAST + 3))
    eq([(part["PartNumber"], part["Size"]) for part in answer["ObjectParts"]["Parts"]], [(1, LEAST), (2, 3)])
    eq(answer["Checksum"]["ChecksumType"], "COMPOSITE")
    page = s3.client.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=1, PartNumberMarker=1)["ObjectParts"]
    eq(([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]), ([2], False, 2))


def the_library_of_boto_sends_a_large_file_in_parts(s3):
    import io

    from boto3.s3.transfer import TransferConfig

    name, data = s3.bucket(), _data(9, 33 * MIB + 5)
    settings = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)
    s3.client.upload_fileobj(io.BytesIO(data), name, "k", Config=settings)
    back = io.BytesIO()
    s3.client.download_fileobj(name, "k", back, Config=settings)
    truth(back.getvalue() == data, "it came back different")
    s3.client.copy({"Bucket": name, "Key": "k"}, name, "copy", Config=settings)
    truth(s3.body(name, "copy") == data, "the copy is different")
