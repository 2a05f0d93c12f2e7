"""Requests as bytes on a socket: signed by botocore's signer, sent with exactly the headers that a case wants, read back whole.

A client library mends what a case wants broken (it adds lengths, dates, hosts), so such cases go through here.
"""

import hashlib
import http.client
import json
from urllib.parse import urlsplit
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TIMEOUT_S = 60


class Answer:
    """What came back."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def xml(self):
        """The body as XML without namespaces."""
        root = ElementTree.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.split("}")[-1]
        return root

    def text(self, path):
        """The text of an element of the body, `None` where it is not there or the body is no XML."""
        try:
            found = self.xml().find(path)
        except ElementTree.ParseError:
            return None
        return None if found is None else (found.text or "")

    @property
    def code(self):
        """The error code in the body."""
        return self.text("Code")

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


class Wire:
    """An endpoint and the keys of one user; without keys, of nobody."""

    def __init__(self, endpoint, region, access_key=None, secret_key=None, token=None):
        self.endpoint, self.region = endpoint, region
        self.credentials = Credentials(access_key, secret_key, token) if access_key else None
        self.address = urlsplit(endpoint)

    def _signed(self, method, path, headers, body, presign, expires):
        request = AWSRequest(method=method, url=self.endpoint + path, data=body, headers=headers)
        request.context["payload_signing_enabled"] = True
        if presign:
            S3SigV4QueryAuth(self.credentials, "s3", self.region, expires=expires).add_auth(request)
        else:
            S3SigV4Auth(self.credentials, "s3", self.region).add_auth(request)
        target = urlsplit(request.url)
        return target.path + ("?" + target.query if target.query else ""), dict(request.headers.items())

    def send(self, method, path, headers=None, body=b"", change=None, presign=False, expires=300, skip=(), sign=True):
        """One request. `change` sees the headers after they were signed; those in `skip` are not sent at all."""
        headers = dict(headers or {})
        if self.credentials and sign:
            path, headers = self._signed(method, path, headers, body, presign, expires)
        if change:
            change(headers)
        names = {name.lower() for name in headers}
        skip = {name.lower() for name in skip}
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=TIMEOUT_S)
        try:
            connection.putrequest(method, path, skip_host=bool({"host"} & (names | skip)), skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in skip:
                    connection.putheader(name, value)
            if not {"content-length", "transfer-encoding"} & (names | skip) and (body or method in ("PUT", "POST")):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


def md5_base64(data):
    """The MD5 of bytes as `Content-MD5` has it."""
    import base64

    return base64.b64encode(hashlib.md5(data).digest()).decode()


def policy(*statements):
    """A bucket policy in JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
