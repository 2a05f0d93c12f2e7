"""Headers: of requests that lack them or have odd ones, of objects that keep them, and who has signed what."""

import datetime

from world import eq, fails, header, refused, status, truth

SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)


def types_and_the_like_come_back(s3):
    name = s3.bucket()
    given = {
        "CacheControl": "public, max-age=14400",
        "ContentDisposition": 'attachment; filename="ä.txt"'.replace("ä", "a"),
        "ContentEncoding": "gzip",
        "ContentLanguage": "de, en",
        "ContentType": "text/plain; charset=utf-8",
    }
    s3.put(name, "k", b"x", Expires=datetime.datetime(2033, 1, 1, tzinfo=datetime.timezone.utc), **given)
    for answer in (s3.client.head_object(Bucket=name, Key="k"), s3.client.get_object(Bucket=name, Key="k")):
        for field, value in given.items():
            eq(answer[field], value, field)
        eq(header(answer, "expires"), "Sat, 01 Jan 2033 00:00:00 GMT")


def an_object_without_a_type_is_a_stream_of_bytes(s3):
    name = s3.bucket()
    s3.wire.send("PUT", f"/{name}/k", body=b"x")
    eq(s3.wire.send("GET", f"/{name}/k").headers["Content-Type"], "binary/octet-stream")


def an_empty_type_is_none(s3):
    name = s3.bucket()
    eq(s3.wire.send("PUT", f"/{name}/k", {"Content-Type": ""}, b"x").status, 200)


def a_type_that_is_none_is_kept(s3):
    name = s3.bucket()
    for text in ("text/plain", "no type at all", "x"):
        eq(s3.wire.send("PUT", f"/{name}/k", {"Content-Type": text}, b"x").status, 200, text)
        eq(s3.wire.send("HEAD", f"/{name}/k").headers["Content-Type"], text)


def words_of_users_come_back(s3):
    name = s3.bucket()
    words = {"meta1": "mymeta", "with-dash": "a b  c", "empty": "", "number": "1"}
    s3.put(name, "k", b"x", Metadata=words)
    eq(s3.client.head_object(Bucket=name, Key="k")["Metadata"], words)


def words_of_users_are_replaced_with_the_object(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", Metadata={"a": "1"})
    s3.put(name, "k", b"x", Metadata={"b": "2"})
    eq(s3.client.head_object(Bucket=name, Key="k")["Metadata"], {"b": "2"})
    s3.put(name, "k", b"x")
    eq(s3.client.head_object(Bucket=name, Key="k")["Metadata"], {})


def names_of_words_have_small_letters(s3):
    name = s3.bucket()
    s3.wire.send("PUT", f"/{name}/k", {"x-amz-meta-UPPER": "Value"}, b"x")
    eq(s3.client.head_object(Bucket=name, Key="k")["Metadata"], {"upper": "Value"})


def words_that_are_no_ascii_come_back_as_they_were(s3):
    name = s3.bucket()
    word = "Hello World\u00e9"
    # Signed as text, sent as the bytes of it in UTF-8.
    sent = word.encode().decode("latin-1")
    answer = s3.wire.send("PUT", f"/{name}/k", {"x-amz-meta-word": word}, b"x", change=lambda headers: headers.update({"x-amz-meta-word": sent}))
    eq(answer.status, 200, repr(answer))
    found = s3.wire.send("HEAD", f"/{name}/k").headers["x-amz-meta-word"]
    truth(found.encode("latin-1").decode() == word or found.startswith("=?UTF-8?"), repr(found))


def words_of_more_than_two_kib_are_refused(s3):
    name = s3.bucket()
    message = "Your metadata headers exceed the maximum allowed metadata size"
    fails(400, "MetadataTooLarge", s3.client.put_object, Bucket=name, Key="k", Body=b"", Metadata={"a": "x" * 2048}, message=message)
    s3.put(name, "k", b"", Metadata={"a": "x" * 2047})


def a_storage_class_is_told_where_it_is_not_the_usual_one(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", StorageClass="STANDARD")
    truth("StorageClass" not in s3.client.head_object(Bucket=name, Key="k"), "the usual one is not told")
    s3.put(name, "k", b"x", StorageClass="STANDARD_IA")
    eq(s3.client.head_object(Bucket=name, Key="k")["StorageClass"], "STANDARD_IA")
    fails(400, "InvalidStorageClass", s3.client.put_object, Bucket=name, Key="k", Body=b"", StorageClass="COLD",
          message="The storage class you specified is not valid")  # fmt: skip


def headers_of_an_answer_can_be_overridden(s3):
    name = s3.bucket("k")
    answer = s3.client.get_object(
        Bucket=name, Key="k", ResponseContentType="foo/bar", ResponseCacheControl="no-cache", ResponseContentDisposition="bla",
        ResponseContentEncoding="aaa", ResponseContentLanguage="esperanto",
    )  # fmt: skip
    eq((answer["ContentType"], answer["CacheControl"], answer["ContentDisposition"]), ("foo/bar", "no-cache", "bla"))
    eq((answer["ContentEncoding"], answer["ContentLanguage"]), ("aaa", "esperanto"))


def a_put_without_a_length_is_refused(s3):
    answer = s3.wire.send("PUT", f"/{s3.bucket()}/k", skip=["content-length"])
    refused(answer, 411, "MissingContentLength", "You must provide the Content-Length HTTP header.")


def a_length_that_is_none_is_refused(s3):
    name = s3.bucket()
    for text in ("", "-1", "abc"):
        answer = s3.wire.send("PUT", f"/{name}/k", change=lambda headers: headers.update({"Content-Length": text}))
        eq(answer.status, 400, f"{text!r}: {answer!r}")


def a_body_that_is_too_large_is_refused_at_once(s3):
    import http.client

    name = s3.bucket()
    try:
        answer = s3.wire.send("PUT", f"/{name}/k", change=lambda headers: headers.update({"Content-Length": str(5 * (1 << 30) + 1)}))
    except (http.client.HTTPException, OSError, TimeoutError) as error:
        truth(False, f"no answer: {error!r}")
    refused(answer, 400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")


def who_expects_to_be_told_to_go_on_is_told(s3):
    import socket

    name = s3.bucket()
    request = s3.client.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "k"})
    path = request[len(s3.server.endpoint) :]
    address = s3.wire.address
    with socket.create_connection((address.hostname, address.port), timeout=20) as stream:
        head = f"PUT {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        stream.sendall(head.encode())
        eq(stream.recv(100).split(b"\r\n")[0], b"HTTP/1.1 100 Continue")
        stream.sendall(b"12345")
        truth(b" 200 " in stream.recv(1000).split(b"\r\n")[0], "it is taken")
    eq(s3.body(name, "k"), b"12345")


def another_expectation_is_passed_over(s3):
    name = s3.bucket()
    for text in ("200", ""):
        answer = s3.wire.send("PUT", f"/{name}/k", body=b"x", change=lambda headers: headers.update({"Expect": text}))
        truth(answer.status in (200, 417), f"{answer!r}")


def who_signs_nothing_is_nobody(s3):
    name = s3.bucket("k")
    answer = s3.anyone.wire.send("GET", f"/{name}/k")
    refused(answer, 403, "AccessDenied", "Access Denied")
    refused(s3.anyone.wire.send("PUT", f"/{name}/new", body=b"x"), 403, "AccessDenied")
    refused(s3.anyone.wire.send("PUT", f"/{s3.name()}"), 403, "AccessDenied")


def a_signature_that_is_wrong_is_refused(s3):
    name = s3.bucket("k")

    def change(headers):
        headers["Authorization"] = headers["Authorization"][:-4] + "0000"

    refused(s3.wire.send("GET", f"/{name}/k", change=change), 403, "SignatureDoesNotMatch", SIGNATURE)


def a_key_that_nobody_has_is_refused(s3):
    from wire import Wire

    wire = Wire(s3.server.endpoint, s3.server.region, "AKIANOBODYHASTHISKEY", "secret")
    message = "The AWS Access Key Id you provided does not exist in our records."
    refused(wire.send("GET", f"/{s3.bucket()}"), 403, "InvalidAccessKeyId", message)


def an_authorization_that_is_none_is_refused(s3):
    name = s3.bucket()
    for text, codes in (
        ("", ("AccessDenied",)),
        ("AWS4-HMAC-SHA256 nothing", ("AuthorizationHeaderMalformed",)),
        ("Bearer abc", ("InvalidArgument",)),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c", ("AuthorizationHeaderMalformed",)),
    ):
        answer = s3.wire.send("PUT", f"/{name}/k", body=b"x", change=lambda headers: headers.update({"Authorization": text}))
        truth(answer.status in (400, 403) and answer.code in codes, f"{text!r}: {answer!r}")


def _signed_at(s3, path, moment):
    """A request signed at another time."""
    from botocore import auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("GET", s3.server.endpoint + path)
    signer = auth.S3SigV4Auth(s3.wire.credentials, "s3", s3.server.region)
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    signer._inject_signature_to_request(request, signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))
    return s3.wire.send("GET", path, dict(request.headers.items()), sign=False)


def a_date_that_is_far_off_is_refused(s3):
    name = s3.bucket("k")
    now = datetime.datetime.now(datetime.timezone.utc)
    eq(_signed_at(s3, f"/{name}/k", now - datetime.timedelta(minutes=10)).status, 200)
    message = "The difference between the request time and the current time is too large."
    for hours in (-24, -1, 1, 24):
        refused(_signed_at(s3, f"/{name}/k", now + datetime.timedelta(hours=hours)), 403, "RequestTimeTooSkewed", message)


def a_request_without_a_date_is_refused(s3):
    name = s3.bucket("k")
    answer = s3.wire.send("GET", f"/{name}/k", skip=["x-amz-date"])
    refused(answer, 403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")


def a_date_of_http_stands_for_that_of_amazon(s3):
    name = s3.bucket("k")
    answer = s3.wire.send("GET", f"/{name}/k", {"Date": datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")})
    eq(answer.status, 200)


def what_was_signed_cannot_be_changed(s3):
    name = s3.bucket("k")
    answer = s3.wire.send("PUT", f"/{name}/k", {"x-amz-meta-a": "1"}, b"x", change=lambda headers: headers.update({"x-amz-meta-a": "2"}))
    refused(answer, 403, "SignatureDoesNotMatch")


def a_body_of_which_nobody_signed_anything_is_taken_where_that_is_said(s3):
    name = s3.bucket()
    client = s3.main.make(s3={"addressing_style": "path", "payload_signing_enabled": False})
    eq(status(client.put_object(Bucket=name, Key="k", Body=b"x")), 200)


def a_request_without_a_sum_of_its_body_is_refused(s3):
    answer = s3.wire.send("PUT", f"/{s3.bucket()}/k", body=b"x", skip=["x-amz-content-sha256"])
    truth(answer.status in (400, 403), f"{answer!r}")


def signatures_of_version_2_are_refused(s3):
    refused(s3.wire.send("GET", f"/{s3.bucket()}", sign=False, headers={"Authorization": "AWS key:signature"}), 400, "InvalidRequest")


def an_unknown_method_is_refused(s3):
    refused(s3.wire.send("PATCH", f"/{s3.bucket()}/k"), 405, "MethodNotAllowed", "The specified method is not allowed against this resource.")


def an_object_is_not_posted_to(s3):
    answer = s3.wire.send("POST", f"/{s3.bucket()}/k")
    truth(answer.status in (400, 405), f"{answer!r}")


def answers_name_the_server_and_the_time(s3):
    answer = s3.wire.send("GET", f"/{s3.bucket()}")
    truth(answer.headers["Date"] and answer.headers["Server"], f"{answer!r}")


def a_header_with_a_line_break_harms_nobody(s3):
    name = s3.bucket("k")
    answer = s3.wire.send("GET", f"/{name}/k?response-content-type=text%2Fx%0D%0AX-Evil%3A%20yes")
    truth("X-Evil" not in answer.headers and answer.status in (200, 400), f"{answer!r}")


def many_requests_share_a_connection(s3):
    import http.client

    name = s3.bucket("k")
    connection = http.client.HTTPConnection(s3.wire.address.hostname, s3.wire.address.port, timeout=20)
    for path in (f"/{name}/k", f"/{name}/absent", f"/{name}/k"):
        url = s3.client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": path.split("/")[2]})
        connection.request("GET", url[len(s3.server.endpoint) :])
        answer = connection.getresponse()
        answer.read()
        eq(answer.status, 404 if "absent" in path else 200)
        truth(not answer.will_close, "the connection stays")
    connection.close()
