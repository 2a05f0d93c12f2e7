"""Objects: put, get, head, delete, many at once, ranges, copies, names."""

import concurrent.futures
import hashlib

from world import eq, fails, header, refused, status, truth

NO_KEY = "The specified key does not exist."
ODD_NAMES = ["a b", "a+b", "a%b", "a%20b", "a%2Fb", "ä", "\u65e5\u672c", "\U0001f600", "a&b", "a=b", "a?b", "a#b", "a'b", 'a"b', "a<b>", "a;b", "a:b", "a@b", "a$b", "a,b", "a!b", "a*b", "a(b)", "a|b", "a^b", "a`b", "a{b}", "a[b]", "a~b", "a\\b", ".", "..", "/", "//", "a//b", "/a", "a/", "a/../b", "./a", " ", " a ", "a\tb", "_", "-"]  # fmt: skip


def what_is_put_comes_back(s3):
    name = s3.bucket()
    answer = s3.put(name, "k", b"bytes \x00\xff")
    eq((status(answer), answer["ETag"]), (200, f'"{hashlib.md5(b"bytes " + bytes([0, 255])).hexdigest()}"'))
    answer = s3.client.get_object(Bucket=name, Key="k")
    eq((answer["Body"].read(), answer["ContentLength"]), (b"bytes \x00\xff", 8))


def an_empty_object_is_an_object(s3):
    name = s3.bucket()
    eq(s3.put(name, "k")["ETag"], '"d41d8cd98f00b204e9800998ecf8427e"')
    answer = s3.client.head_object(Bucket=name, Key="k")
    eq((answer["ContentLength"], answer["ETag"]), (0, '"d41d8cd98f00b204e9800998ecf8427e"'))
    eq(s3.body(name, "k"), b"")


def a_put_replaces_what_was_there(s3):
    name = s3.bucket("k")
    s3.put(name, "k", b"second")
    eq(s3.body(name, "k"), b"second")


def large_and_small_objects_come_back_whole(s3):
    name = s3.bucket()
    for size in (1, 4095, 4096, 16384, 16385, 65536, 65537, 1 << 20, (4 << 20) + 1, 9_000_017):
        data = (hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1))[:size]
        s3.put(name, "k", data)
        truth(s3.body(name, "k") == data, f"{size} bytes came back different")


def odd_names_are_names_like_others(s3):
    name = s3.bucket()
    for key in ODD_NAMES:
        s3.put(name, key, key)
    for key in ODD_NAMES:
        eq(s3.body(name, key), key.encode(), key)
    listed = [one["Key"] for one in s3.client.list_objects_v2(Bucket=name)["Contents"]]
    eq(sorted(listed), sorted(ODD_NAMES))
    eq(listed, sorted(ODD_NAMES, key=str.encode))


def names_with_characters_that_xml_cannot_hold_are_listed_encoded(s3):
    name = s3.bucket()
    keys = ["a\x01b", "a\nb", "a\rb", "\x7f"]
    for key in keys:
        s3.put(name, key, b"")
    eq(sorted(one["Key"] for one in s3.client.list_objects_v2(Bucket=name)["Contents"]), sorted(keys))


def a_name_of_1024_bytes_is_taken_and_one_more_refused(s3):
    name = s3.bucket()
    for key in ("k" * 1024, "ä" * 512):
        s3.put(name, key, b"v")
        eq(s3.body(name, key), b"v")
    for key in ("k" * 1025, "ä" * 512 + "k"):
        fails(400, "KeyTooLongError", s3.client.put_object, Bucket=name, Key=key, message="Your key is too long")


def a_missing_object_is_called_by_its_name(s3):
    name = s3.bucket()
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="absent", message=NO_KEY)
    fails(404, "404", s3.client.head_object, Bucket=name, Key="absent")
    answer = refused(s3.wire.send("GET", f"/{name}/absent"), 404, "NoSuchKey", NO_KEY)
    eq(answer.text("Key"), "absent", "Key")


def errors_of_a_head_have_no_body(s3):
    answer = s3.wire.send("HEAD", f"/{s3.bucket()}/absent")
    eq((answer.status, answer.body), (404, b""))


def what_is_deleted_is_gone(s3):
    name = s3.bucket("k")
    eq(status(s3.client.delete_object(Bucket=name, Key="k")), 204)
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")


def what_is_not_there_is_deleted_already(s3):
    eq(status(s3.client.delete_object(Bucket=s3.bucket(), Key="absent")), 204)


def many_are_deleted_in_one_request(s3):
    name = s3.bucket("a", "b", "c")
    gone = {"Objects": [{"Key": "a"}, {"Key": "b"}, {"Key": "absent"}]}
    answer = s3.client.delete_objects(Bucket=name, Delete=gone)
    eq(sorted(one["Key"] for one in answer["Deleted"]), ["a", "absent", "b"])
    eq(answer.get("Errors", []), [])
    eq([one["Key"] for one in s3.client.list_objects_v2(Bucket=name)["Contents"]], ["c"])


def a_quiet_request_tells_errors_only(s3):
    name = s3.bucket("a")
    answer = s3.client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "a"}], "Quiet": True})
    truth(not answer.get("Deleted"), "it told what was deleted")
    truth("Contents" not in s3.client.list_objects_v2(Bucket=name), "it is still there")


def a_thousand_are_deleted_in_one_request_and_no_more(s3):
    name = s3.bucket("k0", "k999")
    objects = [{"Key": f"k{number}"} for number in range(1001)]
    fails(400, "MalformedXML", s3.client.delete_objects, Bucket=name, Delete={"Objects": objects})
    eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 2)
    eq(len(s3.client.delete_objects(Bucket=name, Delete={"Objects": objects[:1000]})["Deleted"]), 1000)
    eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 0)


def odd_names_are_deleted_many_at_once(s3):
    keys = ["a b", "a+b", "a%20b", "<&>", "\U0001f600", "'\""]
    name = s3.bucket(*keys)
    answer = s3.client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in keys]})
    eq(sorted(one["Key"] for one in answer["Deleted"]), sorted(keys))
    eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 0)


def a_request_for_many_without_a_digest_is_refused(s3):
    name = s3.bucket("a")
    body = b"<Delete><Object><Key>a</Key></Object></Delete>"
    answer = s3.wire.send("POST", f"/{name}?delete", body=body)
    refused(answer, 400, "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    eq(s3.body(name, "a"), b"a")


def a_request_for_many_that_is_no_xml_is_refused(s3):
    from wire import md5_base64

    body = b"<Delete><Object><Key>a</K"
    refused(s3.wire.send("POST", f"/{s3.bucket()}?delete", {"Content-MD5": md5_base64(body)}, body), 400, "MalformedXML")


RANGES = [
    ("bytes=4-7", b"4567", "bytes 4-7/10"),
    ("bytes=4-", b"456789", "bytes 4-9/10"),
    ("bytes=-3", b"789", "bytes 7-9/10"),
    ("bytes=-30", b"0123456789", "bytes 0-9/10"),
    ("bytes=8-100", b"89", "bytes 8-9/10"),
    ("bytes=0-0", b"0", "bytes 0-0/10"),
    ("bytes=9-9", b"9", "bytes 9-9/10"),
]


def ranges_are_parts_of_the_object(s3):
    name = s3.bucket()
    s3.put(name, "k", b"0123456789")
    for text, data, told in RANGES:
        answer = s3.client.get_object(Bucket=name, Key="k", Range=text)
        eq((status(answer), answer["Body"].read(), answer["ContentRange"], answer["ContentLength"]), (206, data, told, len(data)), text)
        answer = s3.client.head_object(Bucket=name, Key="k", Range=text)
        eq((status(answer), answer["ContentRange"], answer["ContentLength"]), (206, told, len(data)), text)


def ranges_that_cannot_be_are_refused(s3):
    name = s3.bucket()
    s3.put(name, "k", b"0123456789")
    for text in ("bytes=10-", "bytes=40-50", "bytes=-0"):
        error = fails(416, "InvalidRange", s3.client.get_object, Bucket=name, Key="k", Range=text, message="The requested range is not satisfiable")
        eq(error["ResponseMetadata"]["HTTPHeaders"].get("content-range", "bytes */10"), "bytes */10")
    s3.put(name, "empty", b"")
    fails(416, "InvalidRange", s3.client.get_object, Bucket=name, Key="empty", Range="bytes=0-4")


def ranges_that_are_no_ranges_are_passed_over(s3):
    name = s3.bucket()
    s3.put(name, "k", b"0123456789")
    for text in ("bytes=7-4", "bytes=x-y", "items=0-1", "4-7", "bytes=", "bytes=0-1,3-4"):
        answer = s3.wire.send("GET", f"/{name}/k", {"Range": text})
        eq((answer.status, answer.body), (200, b"0123456789"), text)


def ranges_of_large_objects_are_right_at_the_edges(s3):
    name = s3.bucket()
    data = hashlib.sha256(b"large").digest() * 200_000
    s3.put(name, "k", data)
    for first, last in ((0, 0), (1 << 20, (1 << 20) + 1), ((1 << 20) - 1, 1 << 20), (4194303, 4194305), (len(data) - 1, len(data) - 1), (5, 6000000)):
        truth(s3.body(name, "k", Range=f"bytes={first}-{last}") == data[first : last + 1], f"{first}-{last}")


def a_copy_is_like_its_source(s3):
    name, other = s3.bucket(), s3.bucket()
    put = s3.put(name, "a b+c", b"bytes", ContentType="text/x", Metadata={"own": "word"})
    answer = s3.client.copy_object(Bucket=other, Key="copy", CopySource={"Bucket": name, "Key": "a b+c"})
    eq(answer["CopyObjectResult"]["ETag"], put["ETag"])
    got = s3.client.get_object(Bucket=other, Key="copy")
    eq((got["Body"].read(), got["ContentType"], got["Metadata"]), (b"bytes", "text/x", {"own": "word"}))


def a_copy_can_get_other_words(s3):
    name = s3.bucket()
    s3.put(name, "k", b"bytes", ContentType="text/x", Metadata={"own": "word"})
    source = {"Bucket": name, "Key": "k"}
    s3.client.copy_object(Bucket=name, Key="copy", CopySource=source, MetadataDirective="REPLACE", Metadata={"new": "1"}, ContentType="text/y")
    got = s3.client.head_object(Bucket=name, Key="copy")
    eq((got["ContentType"], got["Metadata"]), ("text/y", {"new": "1"}))
    # Words that come without the directive are passed over.
    s3.client.copy_object(Bucket=name, Key="copy2", CopySource=source, Metadata={"new": "1"})
    eq(s3.client.head_object(Bucket=name, Key="copy2")["Metadata"], {"own": "word"})


def an_unknown_directive_of_a_copy_is_refused(s3):
    name = s3.bucket("k")
    source = {"Bucket": name, "Key": "k"}
    fails(400, "InvalidArgument", s3.client.copy_object, Bucket=name, Key="x", CopySource=source, MetadataDirective="KEEP")
    fails(400, "InvalidArgument", s3.client.copy_object, Bucket=name, Key="x", CopySource=source, TaggingDirective="KEEP")


def a_copy_onto_itself_has_to_change_something(s3):
    name = s3.bucket("k")
    source = {"Bucket": name, "Key": "k"}
    fails(400, "InvalidRequest", s3.client.copy_object, Bucket=name, Key="k", CopySource=source)
    s3.client.copy_object(Bucket=name, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"a": "b"})
    got = s3.client.get_object(Bucket=name, Key="k")
    eq((got["Body"].read(), got["Metadata"]), (b"k", {"a": "b"}))


def a_copy_of_what_is_not_there_is_refused(s3):
    name = s3.bucket()
    fails(404, "NoSuchKey", s3.client.copy_object, Bucket=name, Key="x", CopySource={"Bucket": name, "Key": "absent"})
    fails(404, "NoSuchBucket", s3.client.copy_object, Bucket=name, Key="x", CopySource={"Bucket": s3.name(), "Key": "k"})
    fails(404, "NoSuchBucket", s3.client.copy_object, Bucket=s3.name(), Key="x", CopySource={"Bucket": name, "Key": "k"})


def a_copy_of_an_empty_object_is_empty(s3):
    name = s3.bucket()
    s3.put(name, "k", b"")
    s3.client.copy_object(Bucket=name, Key="x", CopySource={"Bucket": name, "Key": "k"})
    eq(s3.client.head_object(Bucket=name, Key="x")["ContentLength"], 0)


def a_large_copy_is_whole(s3):
    name = s3.bucket()
    data = hashlib.sha256(b"x").digest() * 500_000
    s3.put(name, "k", data)
    s3.client.copy_object(Bucket=name, Key="x", CopySource={"Bucket": name, "Key": "k"})
    truth(s3.body(name, "x") == data, "it is different")


def a_source_of_a_copy_may_begin_with_a_slash_and_be_encoded(s3):
    name = s3.bucket("a b", "ä")
    for text in (f"/{name}/a%20b", f"{name}/a%20b", f"{name}/%C3%A4"):
        eq(s3.wire.send("PUT", f"/{name}/copy", {"x-amz-copy-source": text}).status, 200, text)


def a_source_of_a_copy_that_names_no_object_is_refused(s3):
    name = s3.bucket()
    refused(s3.wire.send("PUT", f"/{name}/copy", {"x-amz-copy-source": "x"}), 400, "InvalidArgument")


def another_user_copies_nothing_out_of_a_private_bucket(s3):
    name, other = s3.bucket("k"), s3.name()
    s3.alt.client.create_bucket(Bucket=other)
    try:
        fails(403, "AccessDenied", s3.alt.client.copy_object, Bucket=other, Key="x", CopySource={"Bucket": name, "Key": "k"})
    finally:
        s3.alt.client.delete_bucket(Bucket=other)
        s3.buckets.remove(other)


def of_two_who_put_at_once_one_wins_whole(s3):
    name = s3.bucket()
    values = [bytes([65 + number]) * 300_000 for number in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda value: s3.put(name, "k", value), values))
    truth(s3.body(name, "k") in values, "it is a mixture")


def who_reads_while_others_write_sees_one_of_them_whole(s3):
    name = s3.bucket()
    values = [b"a" * 1_500_000, b"b" * 1_500_000]
    s3.put(name, "k", values[0])
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        writes = [pool.submit(s3.put, name, "k", values[number % 2]) for number in range(6)]
        for _ in range(6):
            truth(s3.body(name, "k") in values, "it is a mixture")
        [write.result() for write in writes]


def attributes_tell_what_is_asked_for(s3):
    name = s3.bucket("k")
    answer = s3.client.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ETag", "ObjectSize", "StorageClass"])
    eq((answer["ETag"], answer["ObjectSize"], answer["StorageClass"]), (hashlib.md5(b"k").hexdigest(), 1, "STANDARD"))
    answer = s3.client.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ObjectSize"])
    truth("ETag" not in answer and "StorageClass" not in answer, "more than was asked for")
    fails(400, "InvalidArgument", s3.client.get_object_attributes, Bucket=name, Key="k", ObjectAttributes=["Colour"])
    fails(404, "NoSuchKey", s3.client.get_object_attributes, Bucket=name, Key="absent", ObjectAttributes=["ETag"])


def presigned_addresses_work_until_they_expire(s3):
    name = s3.bucket("k")
    import time

    wire = s3.wire
    eq((wire.send("GET", f"/{name}/k", presign=True).status, wire.send("GET", f"/{name}/k", presign=True).body), (200, b"k"))
    eq(wire.send("PUT", f"/{name}/new", presign=True).status, 200)
    request = s3.client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"}, ExpiresIn=1)
    time.sleep(2.5)
    path = request[len(s3.server.endpoint) :]
    refused(wire.send("GET", path, sign=False), 403, "AccessDenied", "Request has expired")


def a_presigned_address_lives_for_a_week_at_most(s3):
    name = s3.bucket("k")
    refused(s3.wire.send("GET", f"/{name}/k", presign=True, expires=604801), 403, "AuthorizationQueryParametersError")
    refused(s3.wire.send("GET", f"/{name}/k", presign=True, expires=-7), 403, "AuthorizationQueryParametersError")


def a_presigned_address_overrides_headers_of_the_answer(s3):
    name = s3.bucket("k")
    params = {"ResponseContentType": "text/x", "ResponseContentDisposition": "attachment; filename=a b", "ResponseCacheControl": "no-cache",
              "ResponseContentEncoding": "gzip", "ResponseContentLanguage": "de", "ResponseExpires": "Thu, 01 Dec 2033 16:00:00 GMT"}  # fmt: skip
    request = s3.client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k", **params})
    answer = s3.wire.send("GET", request[len(s3.server.endpoint) :], sign=False)
    eq(answer.status, 200)
    for name, value in (("Content-Type", "text/x"), ("Content-Disposition", "attachment; filename=a b"), ("Cache-Control", "no-cache"),
                        ("Content-Encoding", "gzip"), ("Content-Language", "de"), ("Expires", "Thu, 01 Dec 2033 16:00:00 GMT")):  # fmt: skip
        eq(answer.headers[name], value, name)


def nobody_overrides_headers_of_an_answer(s3):
    name = s3.bucket("k")
    answer = s3.anyone.wire.send("GET", f"/{name}/k?response-content-type=text/x")
    truth(answer.status in (400, 403), f"{answer!r}")


def an_object_says_when_it_was_written(s3):
    name = s3.bucket("k")
    answer = s3.client.head_object(Bucket=name, Key="k")
    listed = s3.client.list_objects_v2(Bucket=name)["Contents"][0]
    eq(answer["LastModified"], listed["LastModified"].replace(microsecond=0))
    truth(header(answer, "last-modified").endswith("GMT"), "in the form of HTTP")
    eq(header(answer, "accept-ranges"), "bytes")
