"""Uploads by a form: what a browser sends with a policy that somebody signed."""

import base64
import datetime
import hashlib
import hmac
import json

from world import eq, fails, refused, truth

BOUNDARY = "----form-boundary"


def _form(fields, file=b"file bytes", filename="name.txt"):
    """The body of a form."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields]
    if file is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _signed(s3, name, conditions=None, expires_s=600, **fields):
    """The fields of a form with a policy: what is given is in the policy where nothing else is."""
    now = datetime.datetime.now(datetime.timezone.utc)
    access, secret = s3.main.keys[:2]
    scope = f"{now:%Y%m%d}/{s3.server.region}/s3/aws4_request"
    auth = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": f"{access}/{scope}", "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}"}
    if conditions is None:
        conditions = [{"bucket": name}, ["starts-with", "$key", ""]]
        conditions += [{field: value} for field, value in fields.items() if field != "key"]
    conditions = conditions + [{field: value} for field, value in auth.items()]
    text = {"expiration": f"{now + datetime.timedelta(seconds=expires_s):%Y-%m-%dT%H:%M:%SZ}", "conditions": conditions}
    policy = base64.b64encode(json.dumps(text).encode()).decode()
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, policy.encode(), hashlib.sha256).hexdigest()
    return [*fields.items(), *auth.items(), ("policy", policy), ("x-amz-signature", signature)]


def _post(s3, name, fields, **file):
    return s3.anyone.wire.send("POST", f"/{name}", {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, _form(fields, **file))


def a_form_with_a_signed_policy_is_a_put(s3):
    name = s3.bucket()
    answer = _post(s3, name, _signed(s3, name, key="k", **{"Content-Type": "text/x", "x-amz-meta-own": "word"}))
    eq((answer.status, answer.body), (204, b""))
    truth(answer.headers["ETag"], "it says the ETag")
    got = s3.client.get_object(Bucket=name, Key="k")
    eq((got["Body"].read(), got["ContentType"], got["Metadata"]), (b"file bytes", "text/x", {"own": "word"}))


def sums_in_a_form_are_checked_like_those_of_a_put(s3):
    import zlib

    name = s3.bucket()
    right = base64.b64encode(zlib.crc32(b"file bytes").to_bytes(4, "big")).decode()
    eq(_post(s3, name, _signed(s3, name, key="k", **{"x-amz-checksum-crc32": right})).status, 204)
    refused(_post(s3, name, _signed(s3, name, key="x", **{"x-amz-checksum-crc32": "AAAAAA=="})), 400, "BadDigest")
    refused(_post(s3, name, _signed(s3, name, key="x", **{"x-amz-checksum-crc32": "none"})), 400, "InvalidRequest")
    two = {"x-amz-checksum-crc32": right, "x-amz-checksum-crc32c": "AAAAAA=="}
    refused(_post(s3, name, _signed(s3, name, key="x", **two)), 400, "InvalidRequest")
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="x")


def a_form_says_how_its_file_is_encrypted(s3):
    name = s3.bucket()
    eq(_post(s3, name, _signed(s3, name, key="k", **{"x-amz-server-side-encryption": "AES256"})).status, 204)
    eq(s3.client.head_object(Bucket=name, Key="k")["ServerSideEncryption"], "AES256")
    key = hashlib.sha256(b"one").digest()
    encoded, md5 = base64.b64encode(key).decode(), base64.b64encode(hashlib.md5(key).digest()).decode()
    word = "x-amz-server-side-encryption-customer"
    given = {f"{word}-algorithm": "AES256", f"{word}-key": encoded, f"{word}-key-MD5": md5}
    eq(_post(s3, name, _signed(s3, name, key="own", **given)).status, 204)
    eq(s3.body(name, "own", SSECustomerAlgorithm="AES256", SSECustomerKey=key), b"file bytes")
    refused(_post(s3, name, _signed(s3, name, key="x", **{f"{word}-algorithm": "AES256"})), 400, "InvalidArgument")


def a_form_says_how_it_wants_to_be_answered(s3):
    name = s3.bucket()
    for wanted, given in (("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)):
        answer = _post(s3, name, _signed(s3, name, key="k", success_action_status=wanted))
        eq(answer.status, given, wanted)
        if given == 201:
            eq((answer.text("Key"), answer.text("Bucket"), answer.xml().tag), ("k", name, "PostResponse"))


def a_form_leads_on(s3):
    name = s3.bucket()
    answer = _post(s3, name, _signed(s3, name, key="k", success_action_redirect="http://localhost/done"))
    etag = s3.client.head_object(Bucket=name, Key="k")["ETag"].strip('"')
    eq(answer.status, 303)
    location = answer.headers["Location"]
    eq(location, f"http://localhost/done?bucket={name}&key=k&etag=%22{etag}%22")


def the_name_of_the_file_becomes_the_key(s3):
    name = s3.bucket()
    eq(_post(s3, name, _signed(s3, name, key="dir/${filename}"), filename="foo.txt").status, 204)
    eq(s3.body(name, "dir/foo.txt"), b"file bytes")


def names_of_fields_have_any_letters(s3):
    name = s3.bucket()
    fields = [(field.upper() if field in ("policy", "x-amz-signature") else field, value) for field, value in _signed(s3, name, key="k")]
    eq(_post(s3, name, fields).status, 204)


def a_policy_that_has_expired_is_refused(s3):
    name = s3.bucket()
    answer = _post(s3, name, _signed(s3, name, expires_s=-60, key="k"))
    eq((answer.status, answer.code), (403, "AccessDenied"))
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")


def a_signature_that_is_wrong_is_refused(s3):
    name = s3.bucket()
    fields = [(field, "0" * 64 if field == "x-amz-signature" else value) for field, value in _signed(s3, name, key="k")]
    answer = _post(s3, name, fields)
    eq((answer.status, answer.code), (403, "SignatureDoesNotMatch"))


def a_policy_without_a_signature_is_refused(s3):
    name = s3.bucket()
    answer = _post(s3, name, [field for field in _signed(s3, name, key="k") if field[0] != "x-amz-signature"])
    truth(answer.status in (400, 403), f"{answer!r}")


def what_the_policy_does_not_say_is_refused(s3):
    name = s3.bucket()
    answer = _post(s3, name, [*_signed(s3, name, key="k"), ("x-amz-meta-other", "x")])
    eq((answer.status, answer.code), (403, "AccessDenied"))
    # But for fields that say so themselves.
    eq(_post(s3, name, [*_signed(s3, name, key="k"), ("x-ignore-this", "x")]).status, 204)


def what_the_policy_says_otherwise_is_refused(s3):
    name = s3.bucket()
    for conditions, key in (
        ([{"bucket": "another"}, ["starts-with", "$key", ""]], "k"),
        ([{"bucket": name}, ["starts-with", "$key", "foo"]], "bar"),
        ([{"bucket": name}, ["eq", "$key", "foo"]], "bar"),
        ([{"bucket": name}], "k"),
        ([["starts-with", "$key", ""]], "k"),
    ):
        answer = _post(s3, name, _signed(s3, name, conditions, key=key))
        eq((answer.status, answer.code), (403, "AccessDenied"), f"{conditions}")


def a_policy_bounds_the_length(s3):
    name = s3.bucket()
    conditions = [{"bucket": name}, ["starts-with", "$key", ""]]
    for low, high, status, code in ((0, 100, 204, None), (100, 1000, 400, "EntityTooSmall"), (0, 5, 400, "EntityTooLarge")):
        answer = _post(s3, name, _signed(s3, name, [*conditions, ["content-length-range", low, high]], key="k"))
        eq((answer.status, answer.code), (status, code), f"{low} to {high}")


def a_policy_that_is_none_is_refused(s3):
    name = s3.bucket()
    for text in (b"no json", b"{}", b'{"expiration": "2100-01-01T00:00:00Z"}'):
        fields = [(field, base64.b64encode(text).decode() if field == "policy" else value) for field, value in _signed(s3, name, key="k")]
        answer = _post(s3, name, fields)
        truth(answer.status in (400, 403), f"{text}: {answer!r}")


def a_form_without_a_file_or_a_key_is_refused(s3):
    name = s3.bucket()
    answer = _post(s3, name, _signed(s3, name, key="k"), file=None)
    eq((answer.status, answer.code), (400, "InvalidArgument"))
    answer = _post(s3, name, _signed(s3, name))
    eq((answer.status, answer.code), (400, "InvalidArgument"))


def a_form_of_nobody_needs_an_open_bucket(s3):
    name = s3.bucket()
    eq(_post(s3, name, [("key", "k")]).status, 403)
    s3.client.put_bucket_acl(Bucket=name, ACL="public-read-write")
    eq(_post(s3, name, [("key", "k")]).status, 204)
    eq(s3.body(name, "k"), b"file bytes")


def a_form_opens_its_object(s3):
    name = s3.bucket()
    eq(_post(s3, name, _signed(s3, name, key="k", acl="public-read")).status, 204)
    eq(s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read(), b"file bytes")


def a_form_brings_tags(s3):
    name = s3.bucket()
    xml = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    eq(_post(s3, name, _signed(s3, name, key="k", tagging=xml)).status, 204)
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], [{"Key": "a", "Value": "1"}])


def a_large_file_comes_through(s3):
    name, data = s3.bucket(), hashlib.sha256(b"form").digest() * 300_000
    eq(_post(s3, name, _signed(s3, name, key="k"), file=data).status, 204)
    truth(s3.body(name, "k") == data, "it came back different")


def the_forms_of_boto_work(s3):
    name = s3.bucket()
    made = s3.client.generate_presigned_post(name, "k", Fields={"acl": "private"}, Conditions=[{"acl": "private"}, ["content-length-range", 1, 100]])
    eq(_post(s3, name, list(made["fields"].items())).status, 204)
    eq(s3.body(name, "k"), b"file bytes")
