"""Rules by which objects go, as boto3's users set them; a day of the cluster that is tested has two seconds."""

import datetime

from cases import becomes, refused, run, same

NEVER = 1000


def put(c, *rules):
    c.s3.put_bucket_lifecycle_configuration(Bucket=c.bucket, LifecycleConfiguration={"Rules": list(rules)})


def rule(prefix="", id="rule", **what):
    about = {} if "Filter" in what else {"Prefix": prefix}
    return {"ID": id, "Status": "Enabled", **about, **what}


def keys(c):
    return sorted(entry["Key"] for entry in c.s3.list_objects_v2(Bucket=c.bucket).get("Contents", []))


def rules_are_kept_as_they_are_or_refused(c):
    c.make()
    get = lambda s3: s3.get_bucket_lifecycle_configuration(Bucket=c.bucket)["Rules"]
    refused(404, "NoSuchLifecycleConfiguration", get, s3=c.s3)
    midnight = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
    wanted = [
        rule("a/", "one", Expiration={"Days": 1}),
        {**rule("b/", "two", Expiration={"Date": midnight}), "Status": "Disabled"},
        rule(id="three", Filter={"Prefix": "c"}, NoncurrentVersionExpiration={"NoncurrentDays": 2, "NewerNoncurrentVersions": 3}),
        rule(id="four", Filter={"Tag": {"Key": "k", "Value": "v"}}, Expiration={"Days": 9}),
        rule(id="five", Filter={"And": {"Prefix": "d", "Tags": [{"Key": "k", "Value": "v"}]}}, Expiration={"Days": 9}),
        rule(id="six", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 2}),
        rule(id="seven", Expiration={"ExpiredObjectDeleteMarker": True}),
        rule(id="eight", Filter={"ObjectSizeGreaterThan": 500}, Expiration={"Days": 9}),
    ]
    put(c, *wanted)
    for s3 in c.clients:
        same("at every gateway", get(s3), wanted)
    put(c, {k: v for k, v in wanted[0].items() if k != "ID"})
    same("a name is given", len(get(c.s3)[0]["ID"]) > 0, True)
    wrong = lambda code, *rules: refused(400, code, lambda: put(c, *rules))
    wrong("InvalidArgument", wanted[0], wanted[0])
    wrong("InvalidArgument", rule(id="x" * 256, Expiration={"Days": 1}))
    wrong("InvalidArgument", rule(Expiration={"Days": 0}))
    wrong("InvalidArgument", rule(Expiration={"Date": midnight.replace(hour=3)}))
    wrong("MalformedXML", {**wanted[0], "Status": "enabled"})
    wrong("MalformedXML", rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True}))
    wrong("InvalidRequest", rule())
    c.s3.delete_bucket_lifecycle(Bucket=c.bucket)
    refused(404, "NoSuchLifecycleConfiguration", get, s3=c.s3)
    c.remove_all()


def objects_say_when_they_go(c):
    c.make()
    put(c, rule("days1/", "rule1", Expiration={"Days": 1}), rule("never/", "rule2", Expiration={"Days": NEVER}))
    header = lambda answer: answer.get("Expiration")
    start = datetime.datetime.now(datetime.timezone.utc)
    put_says, head = header(c.put("never/k")), c.s3.head_object(Bucket=c.bucket, Key="never/k")
    same("alike", header(head), put_says)
    date = datetime.datetime.strptime(put_says.split('"')[1], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=datetime.timezone.utc)
    same("by which rule, and when", (put_says.split('"')[3], (date - start).days), ("rule2", NEVER))
    same("others say nothing", header(c.put("other")), None)
    c.remove_all()


def objects_go_that_a_rule_is_about(c):
    c.make()
    tag = {"Key": "tom", "Value": "sawyer"}
    put(
        c,
        rule("gone/", "a", Expiration={"Days": 1}),
        rule("kept/", "b", Expiration={"Days": NEVER}),
        rule(id="c", Filter={"Tag": tag}, Expiration={"Days": 1}),
        rule(id="d", Filter={"And": {"Prefix": "size/", "ObjectSizeGreaterThan": 2000}}, Expiration={"Days": 1}),
        rule("past/", "e", Expiration={"Date": datetime.datetime(2015, 1, 1)}),
        {**rule("off/", "f", Expiration={"Days": 1}), "Status": "Disabled"},
    )
    for key in ["gone/1", "gone/2", "kept/1", "off/1", "past/1", "other"]:
        c.put(key, b"x")
    c.put("tagged", b"x", Tagging="tom=sawyer&more=1")
    c.put("tagged-else", b"x", Tagging="tom=finn")
    c.put("size/large", b"x" * 100_000)
    c.put("size/small", b"x" * 2000)
    becomes("what is left", lambda: keys(c), ["kept/1", "off/1", "other", "size/small", "tagged-else"])
    c.remove_all()


def versions_and_their_markers_go(c):
    c.make()
    c.versioning("Enabled")
    for number in range(8):
        c.put("many", str(number))
        c.put("kept", str(number))
    c.put("deleted")
    c.delete("deleted")
    put(
        c,
        rule("many", "a", NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 3}),
        rule("deleted", "b", NoncurrentVersionExpiration={"NoncurrentDays": 1}, Expiration={"ExpiredObjectDeleteMarker": True}),
    )
    becomes("the newest stay", lambda: len(c.versions(Prefix="many")), 4)
    same("the current one too", c.get("many"), b"7")
    becomes("the version goes, then its marker", lambda: c.versions(Prefix="deleted"), [])
    same("others stay", len(c.versions(Prefix="kept")), 8)
    put(c, rule("kept", "c", Expiration={"Days": 1}))
    becomes("an expired object has a marker", lambda: c.versions(Prefix="kept")[-1][3], True)
    same("its versions stay", len(c.versions(Prefix="kept")), 9)
    c.remove_all()


def what_is_locked_stays(c):
    c.make(ObjectLockEnabledForBucket=True)
    held = c.put("k", b"1", ObjectLockLegalHoldStatus="ON")["VersionId"]
    c.put("k", b"2")
    newest = c.put("k", b"3")["VersionId"]
    put(c, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    becomes("the free one goes", lambda: [v for _, v, _, _ in c.versions()], [newest, held])
    c.s3.put_object_legal_hold(Bucket=c.bucket, Key="k", VersionId=held, LegalHold={"Status": "OFF"})
    becomes("once it is let go", lambda: [v for _, v, _, _ in c.versions()], [newest])
    c.remove_all()


def uploads_are_given_up(c):
    c.make()
    put(c, rule("gone/", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}))
    ids = {}
    for key in ["gone/a", "kept/a"]:
        ids[key] = c.s3.create_multipart_upload(Bucket=c.bucket, Key=key)["UploadId"]
        c.s3.upload_part(Bucket=c.bucket, Key=key, UploadId=ids[key], PartNumber=1, Body=b"x" * 100_000)
    uploads = lambda: [u["Key"] for u in c.s3.list_multipart_uploads(Bucket=c.bucket).get("Uploads", [])]
    becomes("one is left", uploads, ["kept/a"])
    c.s3.abort_multipart_upload(Bucket=c.bucket, Key="kept/a", UploadId=ids["kept/a"])
    c.remove_all()


if __name__ == "__main__":
    run(
        [
            rules_are_kept_as_they_are_or_refused,
            objects_say_when_they_go,
            objects_go_that_a_rule_is_about,
            versions_and_their_markers_go,
            what_is_locked_stays,
            uploads_are_given_up,
        ]
    )
