"""Events of buckets, as webhooks are told of them: a real server of HTTP, which is away, refuses and hangs when it is told to."""

import http.server
import json
import threading
import time
import urllib.request

from accounts import code, redoubt
from cases import becomes, refused, run, same

PART = 5 * 1024 * 1024
ALL = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


class Webhook(http.server.ThreadingHTTPServer):
    """Keeps what it is told, in order; it is at its address, but nobody listens there before `start`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Told, bind_and_activate=False)
        self.server_bind()
        self.lock, self.told, self.tokens, self.refuses, self.hangs = threading.Lock(), [], set(), 0, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/events"

    def start(self):
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def take(self, token, message):
        """The status of the answer."""
        with self.lock:
            self.tokens.add(token)
            if self.refuses > 0:
                self.refuses -= 1
                return 503
            self.told.extend(message["Records"])
            return 200

    def of(self, bucket):
        """What it was told of a bucket, each once: in the order in which it heard of it first."""
        with self.lock:
            records = [record for record in self.told if record["s3"]["bucket"]["name"] == bucket]
        once = {(one["s3"]["object"]["key"], one["s3"]["object"]["sequencer"]): one for one in reversed(records)}
        return list(reversed(once.values()))

    def names(self, bucket):
        """Event and key of all that, in the order of the changes of each key."""
        return [(one["eventName"], one["s3"]["object"]["key"]) for one in self.of(bucket)]


class Told(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        if self.server.hangs.is_set():
            time.sleep(15)
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.take(self.headers["Authorization"], message))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def target(name, webhook, *more):
    return redoubt("s3", "target", "create", name, "--url", webhook.url, *more)["arn"]


def tells(c, *rules):
    queues = [{"QueueArn": arn, "Events": events, **more} for arn, events, more in rules]
    c.s3.put_bucket_notification_configuration(Bucket=c.bucket, NotificationConfiguration={"QueueConfigurations": queues})


def becomes_told(webhook, bucket, wanted):
    """In whatever order different keys come."""
    becomes("told", lambda: sorted(webhook.names(bucket)), sorted(wanted))


def in_a_form(c, key):
    form = c.s3.generate_presigned_post(c.bucket, key)
    fields = [*form["fields"].items(), ("file", "in a form")]
    body = "".join(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields) + "--x--\r\n"
    asked = urllib.request.Request(form["url"], body.encode(), {"Content-Type": "multipart/form-data; boundary=x"})
    same("status of a form", urllib.request.urlopen(asked, timeout=30).status, 204)


def in_parts(c, key):
    upload = c.s3.create_multipart_upload(Bucket=c.bucket, Key=key)["UploadId"]
    part = c.s3.upload_part(Bucket=c.bucket, Key=key, UploadId=upload, PartNumber=1, Body=bytes(PART))
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    return c.s3.complete_multipart_upload(Bucket=c.bucket, Key=key, UploadId=upload, MultipartUpload=parts)


def a_webhook_is_told_of_every_change_in_its_own_words(c):
    webhook = Webhook().start()
    arn = target("words", webhook, "--token", "secret of words")
    same("again", code("s3", "target", "create", "words", "--url", webhook.url), 4)
    c.make()
    tells(c, (arn, ALL, {"Id": "all"}))
    same("kept", c.clients[1].get_bucket_notification_configuration(Bucket=c.bucket)["QueueConfigurations"][0]["Id"], "all")
    put = c.put("a b", b"12345")
    c.s3.copy_object(Bucket=c.bucket, Key="copy", CopySource=f"{c.bucket}/a b")
    in_a_form(c, "form")
    whole = in_parts(c, "parts")
    c.s3.delete_objects(Bucket=c.bucket, Delete={"Objects": [{"Key": "copy"}, {"Key": "never"}]})
    refused(404, "NoSuchKey", c.s3.copy_object, Bucket=c.bucket, Key="k", CopySource=f"{c.bucket}/none")
    wanted = [("Put", "a+b"), ("Copy", "copy"), ("Post", "form"), ("CompleteMultipartUpload", "parts")]
    wanted = [(f"ObjectCreated:{name}", key) for name, key in wanted] + [("ObjectRemoved:Delete", "copy")]
    becomes_told(webhook, c.bucket, wanted)
    of = {(one["eventName"], one["s3"]["object"]["key"]): one["s3"]["object"] for one in webhook.of(c.bucket)}
    first, parts = of["ObjectCreated:Put", "a+b"], of["ObjectCreated:CompleteMultipartUpload", "parts"]
    same("object", (first["size"], first["eTag"], "versionId" in first), (5, put["ETag"].strip('"'), False))
    same("object of parts", (parts["size"], parts["eTag"]), (PART, whole["ETag"].strip('"')))
    same("tokens", webhook.tokens, {"secret of words"})

    c.versioning("Enabled")
    second, marker = c.put("a b", b"6")["VersionId"], c.delete("a b")["VersionId"]
    c.delete("a b", VersionId=marker)
    c.delete("a b", VersionId=second)
    created, marked, deleted = "ObjectCreated:Put", "ObjectRemoved:DeleteMarkerCreated", "ObjectRemoved:Delete"
    versions = [(created, second), (marked, marker), (deleted, marker), (deleted, second)]
    told = lambda: [(one["eventName"], one["s3"]["object"].get("versionId")) for one in webhook.of(c.bucket) if one["s3"]["object"]["key"] == "a+b"]
    becomes("versions, in their order", told, [(created, None), *versions])


def only_what_a_rule_is_about_is_told(c):
    here, there = Webhook().start(), Webhook().start()
    jpg = {"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}}}
    c.make()
    tells(c, (target("here", here), ["s3:ObjectCreated:*"], jpg), (target("there", there), ["s3:ObjectRemoved:*"], {}))
    for key in ("in/1.jpg", "in/1.png", "out/1.jpg"):
        c.put(key, b"x")
        c.delete(key)
    becomes_told(there, c.bucket, [("ObjectRemoved:Delete", key) for key in ("in/1.jpg", "in/1.png", "out/1.jpg")])
    becomes_told(here, c.bucket, [("ObjectCreated:Put", "in/1.jpg")])
    c.s3.put_bucket_notification_configuration(Bucket=c.bucket, NotificationConfiguration={})
    c.put("in/2.jpg", b"x")
    same("nothing more", here.names(c.bucket), [("ObjectCreated:Put", "in/1.jpg")])


def a_webhook_that_hangs_holds_nobody_else_up(c):
    hangs, works = Webhook().start(), Webhook().start()
    hangs.hangs.set()
    c.make()
    tells(c, (target("hangs", hangs), ALL, {}), (target("works", works), ALL, {}))
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        c.put(key, b"x")
    began = time.monotonic()
    becomes_told(works, c.bucket, [("ObjectCreated:Put", key) for key in keys])
    same("at once", time.monotonic() - began < 9, True)
    redoubt("s3", "target", "delete", "hangs")
    same("gone", [one["target"] for one in redoubt("s3", "target", "list")["targets"] if one["target"] == "hangs"], [])
    queue = {"QueueArn": "arn:minio:sqs:us-east-1:hangs:webhook", "Events": ALL}
    put = c.s3.put_bucket_notification_configuration
    refused(400, "InvalidArgument", put, Bucket=c.bucket, NotificationConfiguration={"QueueConfigurations": [queue]})


def what_a_rule_takes_away_is_told(c):
    webhook = Webhook().start()
    c.make()
    tells(c, (target("rules", webhook), ["s3:LifecycleExpiration:*", "s3:ObjectRemoved:*"], {}))
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 1}}
    c.s3.put_bucket_lifecycle_configuration(Bucket=c.bucket, LifecycleConfiguration={"Rules": [rule]})
    c.put("old/k", b"x")
    c.put("k", b"x")
    becomes_told(webhook, c.bucket, [("LifecycleExpiration:Delete", "old/k")])


def what_was_deleted_with_its_bucket_is_told_still(c):
    webhook = Webhook()
    c.make()
    tells(c, (target("late", webhook), ALL, {}))
    c.put("k", b"x")
    c.delete("k")
    c.s3.delete_bucket(Bucket=c.bucket)
    webhook.start()
    becomes("told", lambda: webhook.names(c.bucket), [("ObjectCreated:Put", "k"), ("ObjectRemoved:Delete", "k")], 60)


def nothing_is_lost_while_the_webhook_and_a_node_are_away(c):
    webhook = Webhook()
    c.make()
    tells(c, (target("away", webhook), ALL, {}))
    acknowledged = {f"key {number}": [] for number in range(12)}

    def write(client, keys):
        for turn in range(8):
            for key in keys:
                etag = client.put_object(Bucket=c.bucket, Key=key, Body=f"{key} {turn}".encode())["ETag"]
                acknowledged[key].append(etag.strip('"'))

    status = redoubt("dev", "status")["nodes"]
    dead = next(node["name"] for node in status if node["s3"].rstrip("/") == c.clients[2].meta.endpoint_url.rstrip("/"))
    keys = list(acknowledged)
    writers = [threading.Thread(target=write, args=(c.clients[number % 2], keys[number::4])) for number in range(4)]
    for writer in writers:
        writer.start()
    redoubt("dev", "kill", dead)
    for writer in writers:
        writer.join()
    same("acknowledged", sorted(len(etags) for etags in acknowledged.values()), [8] * 12)
    webhook.refuses = 3
    webhook.start()
    redoubt("dev", "start", dead)
    told = lambda: {key: [] for key in keys} | _etags(webhook.of(c.bucket))
    becomes("every acknowledged change, in order", told, acknowledged, 90)


def _etags(records):
    """The ETags of each key, in the order in which they were told first; what was put twice by a client that asked again counts once."""
    found = {}
    for one in records:
        etags = found.setdefault(one["s3"]["object"]["key"].replace("+", " "), [])
        if one["s3"]["object"]["eTag"] not in etags:
            etags.append(one["s3"]["object"]["eTag"])
    return found


run(
    [
        a_webhook_is_told_of_every_change_in_its_own_words,
        only_what_a_rule_is_about_is_told,
        a_webhook_that_hangs_holds_nobody_else_up,
        what_a_rule_takes_away_is_told,
        what_was_deleted_with_its_bucket_is_told_still,
        nothing_is_lost_while_the_webhook_and_a_node_are_away,
    ]
)
