"""Digests and checksums: of whole bodies, in headers and trailers, of parts and of what they become."""

import base64
import hashlib
import zlib

from wire import md5_base64
from world import eq, fails, refused, status, truth

LEAST = 5 << 20
DATA = b"bytes to sum"
ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
RIGHT = {
    "CRC32": base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode(),
    "SHA1": base64.b64encode(hashlib.sha1(DATA).digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(DATA).digest()).decode(),
}
WRONG = {"CRC32": "AAAAAA==", "CRC32C": "AAAAAA==", "CRC64NVME": "AAAAAAAAAAA=", "SHA1": "A" * 27 + "=", "SHA256": "A" * 43 + "="}


def _crc(data, polynomial, width):
    """A CRC, bit by bit, reflected, of all ones, inverted at the end."""
    crc = mask = (1 << width) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return base64.b64encode((crc ^ mask).to_bytes(width // 8, "big")).decode()


RIGHT["CRC32C"] = _crc(DATA, 0x82F63B78, 32)
RIGHT["CRC64NVME"] = _crc(DATA, 0x9A6C9329AC4BC9B5, 64)


def a_checksum_is_checked_kept_and_told(s3):
    name = s3.bucket()
    for one in ALGORITHMS:
        field = f"Checksum{one}"
        answer = s3.put(name, one, DATA, **{field: RIGHT[one]})
        eq((answer[field], answer["ChecksumType"]), (RIGHT[one], "FULL_OBJECT"), one)
        got = s3.client.get_object(Bucket=name, Key=one, ChecksumMode="ENABLED")
        eq((got[field], got["ChecksumType"], got["Body"].read()), (RIGHT[one], "FULL_OBJECT", DATA), one)
        eq(s3.client.head_object(Bucket=name, Key=one, ChecksumMode="ENABLED")[field], RIGHT[one], one)
        told = s3.client.get_object_attributes(Bucket=name, Key=one, ObjectAttributes=["Checksum"])["Checksum"]
        eq((told[field], told["ChecksumType"]), (RIGHT[one], "FULL_OBJECT"), one)


def a_checksum_is_told_where_it_is_asked_for_only(s3):
    name = s3.bucket()
    s3.put(name, "k", DATA, ChecksumSHA256=RIGHT["SHA256"])
    truth("x-amz-checksum-sha256" not in s3.wire.send("GET", f"/{name}/k").headers, "nobody asked for it")


def a_checksum_that_is_wrong_is_refused_and_nothing_is_written(s3):
    name = s3.bucket()
    for one in ALGORITHMS:
        message = f"The {one} you specified did not match the calculated checksum."
        fails(400, "BadDigest", s3.client.put_object, Bucket=name, Key="k", Body=DATA, message=message, **{f"Checksum{one}": WRONG[one]})
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")


def a_checksum_that_is_none_is_refused(s3):
    name = s3.bucket()
    for value in ("bad", "AAAA", "****"):
        answer = s3.wire.send("PUT", f"/{name}/k", {"x-amz-checksum-sha256": value}, DATA)
        refused(answer, 400, "InvalidRequest", "Value for x-amz-checksum-sha256 header is invalid.")


def two_checksums_at_once_are_refused(s3):
    headers = {"x-amz-checksum-sha256": RIGHT["SHA256"], "x-amz-checksum-crc32": RIGHT["CRC32"]}
    answer = s3.wire.send("PUT", f"/{s3.bucket()}/k", headers, DATA)
    refused(answer, 400, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")


def an_unknown_algorithm_is_refused(s3):
    answer = s3.wire.send("PUT", f"/{s3.bucket()}/k", {"x-amz-sdk-checksum-algorithm": "MD4"}, DATA)
    refused(answer, 400, "InvalidRequest")


def a_checksum_that_comes_after_the_body_is_checked(s3):
    name = s3.bucket()
    for one in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        for sums, wanted in ((RIGHT, 200), (WRONG, 400)):
            body = b"%x\r\n%s\r\n0\r\nx-amz-checksum-%s:%s\r\n\r\n" % (len(DATA), DATA, one.lower().encode(), sums[one].encode())
            headers = {
                "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                "x-amz-trailer": f"x-amz-checksum-{one.lower()}",
                "x-amz-decoded-content-length": str(len(DATA)),
                "Content-Encoding": "aws-chunked",
            }
            answer = _streamed(s3, f"/{name}/{one}", headers, body)
            eq(answer.status, wanted, f"{one}: {answer!r}")
            if wanted == 400:
                eq(answer.code, "BadDigest")
        eq(s3.body(name, one), DATA)


def _streamed(s3, path, headers, body):
    """A body in chunks that nobody signed: what is signed instead is the word that says so."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest

    class Unsigned(S3SigV4Auth):
        def payload(self, request):
            return headers["x-amz-content-sha256"]

        def _should_sha256_sign_payload(self, request):
            return False

    request = AWSRequest("PUT", s3.server.endpoint + path, data=body, headers=dict(headers))
    signer = Unsigned(s3.wire.credentials, "s3", s3.server.region)
    signer.add_auth(request)
    return s3.wire.send("PUT", path, dict(request.headers.items()), body, sign=False)


def the_encoding_of_chunks_is_not_kept(s3):
    name = s3.bucket()
    body = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(DATA), DATA, RIGHT["CRC32"].encode())
    for encoding, kept in (("aws-chunked", None), ("gzip,aws-chunked", "gzip"), ("aws-chunked,gzip", "gzip")):
        headers = {
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-trailer": "x-amz-checksum-crc32",
            "x-amz-decoded-content-length": str(len(DATA)),
            "Content-Encoding": encoding,
        }
        eq(_streamed(s3, f"/{name}/k", headers, body).status, 200)
        eq(s3.wire.send("HEAD", f"/{name}/k").headers["Content-Encoding"], kept, encoding)


def chunks_that_hold_less_than_was_said_are_refused(s3):
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(DATA) + 1),
        "Content-Encoding": "aws-chunked",
    }
    name = s3.bucket()
    body = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(DATA), DATA, RIGHT["CRC32"].encode())
    refused(_streamed(s3, f"/{name}/k", headers, body), 400, "IncompleteBody")
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")


def a_content_md5_is_checked(s3):
    name = s3.bucket()
    eq(status(s3.put(name, "k", DATA, ContentMD5=md5_base64(DATA))), 200)
    message = "The Content-MD5 you specified did not match what we received."
    fails(400, "BadDigest", s3.client.put_object, Bucket=name, Key="x", Body=DATA, ContentMD5=md5_base64(b"other"), message=message)
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="x")


def a_content_md5_that_is_none_is_refused(s3):
    name = s3.bucket()
    for value in ("", "YWJyYWNhZGFicmE=", "AWS HAHAHA", "rL0Y20xC+Fzt72VPzMSk2A=="[:-3]):
        answer = s3.wire.send("PUT", f"/{name}/k", body=DATA, change=lambda headers: headers.update({"Content-MD5": value}))
        truth(answer.status == 400 and answer.code == "InvalidDigest", f"{value!r}: {answer!r}")


def a_sum_of_the_body_in_its_signature_is_checked(s3):
    name = s3.bucket()
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("PUT", f"{s3.server.endpoint}/{name}/x", data=b"said")
    S3SigV4Auth(s3.wire.credentials, "s3", s3.server.region).add_auth(request)
    answer = s3.wire.send("PUT", f"/{name}/x", dict(request.headers.items()), b"sent", sign=False)
    truth(answer.status == 400 and answer.code in ("XAmzContentSHA256Mismatch", "BadDigest"), f"{answer!r}")


def a_copy_keeps_the_checksum_of_its_source_or_gets_another(s3):
    name = s3.bucket()
    s3.put(name, "k", DATA, ChecksumSHA256=RIGHT["SHA256"])
    source = {"Bucket": name, "Key": "k"}
    eq(s3.client.copy_object(Bucket=name, Key="same", CopySource=source)["CopyObjectResult"]["ChecksumSHA256"], RIGHT["SHA256"])
    answer = s3.client.copy_object(Bucket=name, Key="other", CopySource=source, ChecksumAlgorithm="CRC32")
    eq(answer["CopyObjectResult"]["ChecksumCRC32"], RIGHT["CRC32"])


def _parts(s3, name, algorithm, kind, pieces):
    """Sends an upload: the answer to its completion, and the sums of its parts."""
    begun = s3.client.create_multipart_upload(Bucket=name, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)
    eq((begun["ChecksumAlgorithm"], begun["ChecksumType"]), (algorithm, kind))
    parts, field = [], f"Checksum{algorithm}"
    for number, piece in enumerate(pieces, 1):
        answer = s3.client.upload_part(
            Bucket=name, Key="k", UploadId=begun["UploadId"], PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"], field: answer[field]})
    given = {"Bucket": name, "Key": "k", "UploadId": begun["UploadId"], "MultipartUpload": {"Parts": parts}, "ChecksumType": kind}
    return s3.client.complete_multipart_upload(**given), [part[field] for part in parts]


def the_checksum_of_parts_is_made_of_theirs(s3):
    name, pieces = s3.bucket(), [b"a" * LEAST, b"end"]
    for algorithm, function in (("SHA256", hashlib.sha256), ("SHA1", hashlib.sha1)):
        answer, sums = _parts(s3, name, algorithm, "COMPOSITE", pieces)
        eq(sums, [base64.b64encode(function(piece).digest()).decode() for piece in pieces])
        whole = base64.b64encode(function(b"".join(map(base64.b64decode, sums))).digest()).decode() + "-2"
        eq((answer[f"Checksum{algorithm}"], answer["ChecksumType"]), (whole, "COMPOSITE"))
        head = s3.client.head_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
        eq((head[f"Checksum{algorithm}"], head["ChecksumType"]), (whole, "COMPOSITE"))


def the_checksum_of_parts_may_be_that_of_the_whole(s3):
    name, pieces = s3.bucket(), [b"a" * LEAST, b"end"]
    answer, _ = _parts(s3, name, "CRC32", "FULL_OBJECT", pieces)
    whole = base64.b64encode(zlib.crc32(b"".join(pieces)).to_bytes(4, "big")).decode()
    eq((answer["ChecksumCRC32"], answer["ChecksumType"]), (whole, "FULL_OBJECT"))
    head = s3.client.head_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
    eq((head["ChecksumCRC32"], head["ChecksumType"]), (whole, "FULL_OBJECT"))


def not_every_checksum_is_made_in_every_way(s3):
    name = s3.bucket()
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        fails(400, "InvalidRequest", s3.client.create_multipart_upload, Bucket=name, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)


def a_part_with_another_checksum_than_its_upload_is_refused(s3):
    name = s3.bucket()
    upload = s3.client.create_multipart_upload(Bucket=name, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    given = {"Bucket": name, "Key": "k", "UploadId": upload, "PartNumber": 1, "Body": DATA}
    fails(400, "InvalidRequest", s3.client.upload_part, ChecksumCRC32C=RIGHT["CRC32C"], **given)
    fails(400, "BadDigest", s3.client.upload_part, ChecksumSHA256=WRONG["SHA256"], **given)


def a_completion_with_a_wrong_checksum_is_refused(s3):
    name = s3.bucket()
    upload = s3.client.create_multipart_upload(Bucket=name, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    part = s3.client.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=DATA, ChecksumAlgorithm="SHA256")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": WRONG["SHA256"]}]
    fails(400, "InvalidPart", s3.client.complete_multipart_upload, Bucket=name, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})


def _signed_chunks(s3, path, pieces, is_right=True, cut=None):
    """A PUT of these pieces, each a chunk with its signature; of its body at most so many bytes are sent."""
    import hmac

    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest

    class Chunked(S3SigV4Auth):
        def payload(self, request):
            return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

        def _should_sha256_sign_payload(self, request):
            return False

    headers = {
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "x-amz-decoded-content-length": str(sum(map(len, pieces))),
        "Content-Encoding": "aws-chunked",
    }
    signer = Chunked(s3.wire.credentials, "s3", s3.server.region)
    request = AWSRequest("PUT", s3.server.endpoint + path, headers=headers)
    signer.add_auth(request)
    signed = dict(request.headers.items())
    before, stamp = signed["Authorization"].rsplit("=", 1)[1], signed["X-Amz-Date"]
    scope = f"{stamp[:8]}/{s3.server.region}/s3/aws4_request"
    key = f"AWS4{s3.wire.credentials.secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    body = b""
    for piece in [*pieces, b""]:
        text = "\n".join(
            ["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, before, hashlib.sha256(b"").hexdigest(), hashlib.sha256(piece).hexdigest()]
        )
        before = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        told = before if is_right or piece else "0" * 64
        body += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(piece), told.encode(), piece)
    return s3.wire.send("PUT", path, signed, body[:cut], sign=False)


def bodies_signed_chunk_by_chunk_come_through(s3):
    name, data = s3.bucket(), b"x" * 70_000
    pieces = [data[:65536], data[65536:]]
    answer = _signed_chunks(s3, f"/{name}/k", pieces)
    eq(answer.status, 200, repr(answer))
    truth(s3.body(name, "k") == data, "it came back different")
    refused(_signed_chunks(s3, f"/{name}/x", pieces, is_right=False), 403, "SignatureDoesNotMatch")
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="x")


def a_signed_chunk_is_large_up_to_a_bound(s3):
    name, data = s3.bucket(), b"y" * (3 << 20)
    eq(_signed_chunks(s3, f"/{name}/k", [data]).status, 200)
    truth(s3.body(name, "k") == data, "it came back different")
    # It is refused by its size alone: nobody has to send it.
    refused(_signed_chunks(s3, f"/{name}/x", [b"y" * ((16 << 20) + 1)], cut=1000), 400, "EntityTooLarge")
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="x")


def an_unsigned_body_may_come_as_one_chunk(s3):
    name, data = s3.bucket(), bytes(range(256)) * (5 << 12)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(data)),
        "Content-Encoding": "aws-chunked",
    }
    body = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(data), data, crc)
    eq(_streamed(s3, f"/{name}/k", headers, body).status, 200)
    truth(s3.body(name, "k") == data, "it came back different")
