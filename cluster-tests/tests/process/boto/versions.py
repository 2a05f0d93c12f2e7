"""Versions of objects, as boto3's users use them."""

from concurrent.futures import ThreadPoolExecutor

from cases import refused, run, same


def a_bucket_says_whether_it_keeps_versions(c):
    c.make()
    status = lambda: [s3.get_bucket_versioning(Bucket=c.bucket).get("Status") for s3 in c.clients]
    same("at first", status(), [None] * len(c.clients))
    for wanted in ["Suspended", "Enabled", "Enabled", "Suspended"]:
        c.versioning(wanted)
        same("at every gateway at once", status(), [wanted] * len(c.clients))
    wrong = {"Status": "Off"}
    refused(400, "MalformedXML", c.s3.put_bucket_versioning, Bucket=c.bucket, VersioningConfiguration=wrong)
    refused(404, "NoSuchBucket", c.s3.get_bucket_versioning, Bucket="absent-" + c.bucket)
    c.remove_all()


def what_is_replaced_stays_as_a_version(c):
    c.make()
    plain = c.put("k", b"plain")
    same("a bucket without versions names none", "VersionId" in plain, False)
    same("nor on HEAD", "VersionId" in c.s3.head_object(Bucket=c.bucket, Key="k"), False)
    c.versioning("Enabled")
    bodies = {"null": b"plain"}
    for number in range(5):
        body = bytes([number]) * (100_000 if number == 3 else 10)
        version = c.put("k", body)["VersionId"]
        bodies[version] = body
        same("HEAD", c.s3.head_object(Bucket=c.bucket, Key="k")["VersionId"], version)
    listed = c.versions()
    same("from the newest on", [v for _, v, _, _ in listed], list(reversed(bodies)))
    same("one is the latest", [latest for _, _, latest, _ in listed], [True] + [False] * 5)
    for s3 in c.clients:
        for version, body in bodies.items():
            same("a version", s3.get_object(Bucket=c.bucket, Key="k", VersionId=version)["Body"].read(), body)
    # The latest goes: the one before is there again. One in between goes: nothing else changes.
    order = list(reversed(bodies))
    c.delete("k", VersionId=order[0])
    same("the one before", c.get("k"), bodies[order[1]])
    gone = c.delete("k", VersionId=order[3])
    same("what was removed is named", (gone.get("VersionId"), gone.get("DeleteMarker")), (order[3], None))
    same("still", c.get("k"), bodies[order[1]])
    refused(404, "NoSuchVersion", c.s3.get_object, Bucket=c.bucket, Key="k", VersionId=order[3])
    refused(400, "InvalidArgument", c.s3.get_object, Bucket=c.bucket, Key="k", VersionId="no-version")
    refused(409, "BucketNotEmpty", c.s3.delete_bucket, Bucket=c.bucket)
    for version in [order[1], order[2], order[4]]:
        c.delete("k", VersionId=version)
    same("the null version is left", (c.get("k"), len(c.versions())), (b"plain", 1))
    c.delete("k", VersionId="null")
    refused(404, "NoSuchKey", c.s3.get_object, Bucket=c.bucket, Key="k")
    same("nothing is listed", c.versions(), [])
    c.delete("k", VersionId="null")
    c.s3.delete_bucket(Bucket=c.bucket)


def what_is_deleted_has_a_marker(c):
    c.make()
    c.versioning("Enabled")
    version = c.put("k", b"one")["VersionId"]
    made = c.delete("k")
    same("a marker is made", made["DeleteMarker"], True)
    answer = refused(404, "NoSuchKey", c.s3.get_object, Bucket=c.bucket, Key="k")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    same("GET says so", (headers["x-amz-delete-marker"], headers["x-amz-version-id"]), ("true", made["VersionId"]))
    answer = refused(405, "MethodNotAllowed", c.s3.get_object, Bucket=c.bucket, Key="k", VersionId=made["VersionId"])
    same("a marker is no object", answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"], "true")
    refused(405, "405", c.s3.head_object, Bucket=c.bucket, Key="k", VersionId=made["VersionId"])
    same("nothing to list", "Contents" in c.s3.list_objects_v2(Bucket=c.bucket), False)
    same("the version is there", c.get("k", VersionId=version), b"one")
    again = c.delete("k")
    other = c.delete("never")
    same("markers pile up", (again["DeleteMarker"], other["DeleteMarker"], len(c.versions())), (True, True, 4))
    for marker in [again, made]:
        removed = c.delete("k", VersionId=marker["VersionId"])
        same("a marker is removed", (removed["DeleteMarker"], removed["VersionId"]), (True, marker["VersionId"]))
    same("and the object is back", (c.get("k"), c.versions(Prefix="k")), (b"one", [("k", version, True, False)]))
    c.remove_all()


def a_suspended_bucket_has_one_null_version(c):
    c.make()
    c.put("k", b"0")
    c.versioning("Enabled")
    kept = c.put("k", b"1")["VersionId"]
    c.versioning("Suspended")
    same("the null version has no name of its own", "VersionId" in c.put("k", b"2"), False)
    same("it took the place of the other", [(v, latest) for _, v, latest, _ in c.versions()], [("null", True), (kept, False)])
    same("it is the current one", (c.get("k"), c.get("k", VersionId="null"), c.get("k", VersionId=kept)), (b"2", b"2", b"1"))
    same("HEAD names it", c.s3.head_object(Bucket=c.bucket, Key="k")["VersionId"], "null")
    c.put("k", b"3")
    marker = c.delete("k")
    same("the marker takes its place", (marker["DeleteMarker"], marker["VersionId"]), (True, "null"))
    same("beside the kept one", sorted(c.versions()), sorted([("k", kept, False, False), ("k", "null", True, True)]))
    c.versioning("Enabled")
    newest = c.put("k", b"4")["VersionId"]
    same("all three", [v for _, v, _, marker in c.versions() if not marker], [newest, kept])
    c.delete("k", VersionId=newest)
    refused(404, "NoSuchKey", c.s3.get_object, Bucket=c.bucket, Key="k")
    c.delete("k", VersionId="null")
    same("the kept one is back", c.get("k"), b"1")
    c.remove_all()


def versions_are_listed_in_pages(c):
    c.make()
    c.versioning("Enabled")
    wanted = []
    for key in ["a/1", "a/2", "b", "c/x", "\u00e9 +%"]:
        made = [c.put(key, b"x" * number)["VersionId"] for number in range(3)]
        wanted += [(key, version) for version in reversed(made)]
    c.delete("b")
    marker = [(key, version) for key, version, _, is_marker in c.versions() if is_marker]
    wanted.insert([key for key, _ in wanted].index("b"), marker[0])
    for size in [1, 2, 5, 1000]:
        found, after = [], {}
        while True:
            page = c.s3.list_object_versions(Bucket=c.bucket, MaxKeys=size, **after)
            entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
            same("no page is too long", len(entries) <= size, True)
            found += [(v["Key"], v["VersionId"]) for v in entries]
            if not page["IsTruncated"]:
                break
            after = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
        same(f"in pages of {size}", sorted(found), sorted(wanted))
        if size == 1:
            same("in order", found, wanted)
    page = c.s3.list_object_versions(Bucket=c.bucket, Delimiter="/")
    same("rolled up", [p["Prefix"] for p in page["CommonPrefixes"]], ["a/", "c/"])
    same("and the others", len(page["Versions"]), 6)
    page = c.s3.list_object_versions(Bucket=c.bucket, Delimiter="/", MaxKeys=1)
    same("a prefix ends a page", (page["NextKeyMarker"], page["IsTruncated"]), ("a/", True))
    page = c.s3.list_object_versions(Bucket=c.bucket, Delimiter="/", MaxKeys=1, KeyMarker="a/")
    same("the next begins after it", page["DeleteMarkers"][0]["Key"], "b")
    same("a prefix", len(c.versions(Prefix="a/")), 6)
    same("after a key", c.versions(KeyMarker="b")[0][0], "c/x")
    same("no keys", c.s3.list_object_versions(Bucket=c.bucket, MaxKeys=0)["IsTruncated"], False)
    refused(400, "InvalidArgument", c.s3.list_object_versions, Bucket=c.bucket, VersionIdMarker=wanted[0][1])
    listed = c.s3.list_object_versions(Bucket=c.bucket, Prefix="a/1")["Versions"][0]
    head = c.s3.head_object(Bucket=c.bucket, Key="a/1")
    same("ETag and size", (listed["ETag"], listed["Size"], listed["LastModified"]), (head["ETag"], 2, head["LastModified"]))
    c.remove_all()


def many_are_deleted_at_once(c):
    c.make()
    c.versioning("Enabled")
    made = [c.put("k", bytes([number]))["VersionId"] for number in range(6)]
    c.put("other")
    objects = [{"Key": "k", "VersionId": version} for version in made[1:]] + [{"Key": "k", "VersionId": "null"}]
    done = c.s3.delete_objects(Bucket=c.bucket, Delete={"Objects": objects})
    same("all are told", len(done["Deleted"]), 6)
    same("one is left", c.get("k"), b"\0")
    done = c.s3.delete_objects(Bucket=c.bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "other"}]})["Deleted"]
    same("markers are made", [(d["Key"], d["DeleteMarker"]) for d in done], [("k", True), ("other", True)])
    marker = done[0]["DeleteMarkerVersionId"]
    again = c.s3.delete_objects(Bucket=c.bucket, Delete={"Objects": [{"Key": "k", "VersionId": marker}]})["Deleted"][0]
    same("and removed", (again["DeleteMarker"], again["VersionId"], again["DeleteMarkerVersionId"]), (True, marker, marker))
    same("it is back", c.get("k"), b"\0")
    c.remove_all()


def versions_are_copied_tagged_and_described(c):
    c.make()
    c.versioning("Enabled")
    first = c.put("k", b"first", Metadata={"n": "1"}, Tagging="a=1")["VersionId"]
    second = c.put("k", b"second", Metadata={"n": "2"})["VersionId"]
    source = {"Bucket": c.bucket, "Key": "k", "VersionId": first}
    copied = c.s3.copy_object(Bucket=c.bucket, Key="copy", CopySource=source)
    same("which was copied", copied["CopySourceVersionId"], first)
    head = c.s3.head_object(Bucket=c.bucket, Key="copy")
    same("with its words", (c.get("copy"), head["Metadata"], head["VersionId"]), (b"first", {"n": "1"}, copied["VersionId"]))
    c.s3.copy_object(Bucket=c.bucket, Key="k", CopySource=source)
    same("an old version is current again", (c.get("k"), len(c.versions(Prefix="k"))), (b"first", 3))
    tags = [{"Key": "b", "Value": "2"}]
    put = c.s3.put_object_tagging(Bucket=c.bucket, Key="k", VersionId=second, Tagging={"TagSet": tags})
    same("tags of a version", put["VersionId"], second)
    found = [c.s3.get_object_tagging(Bucket=c.bucket, Key="k", VersionId=version)["TagSet"] for version in [first, second]]
    same("each its own", found, [[{"Key": "a", "Value": "1"}], tags])
    attributes = c.s3.get_object_attributes(Bucket=c.bucket, Key="k", VersionId=second, ObjectAttributes=["ObjectSize", "ETag"])
    same("attributes of a version", (attributes["ObjectSize"], attributes["VersionId"]), (6, second))
    marker = c.delete("k")["VersionId"]
    refused(404, "NoSuchKey", c.s3.copy_object, Bucket=c.bucket, Key="x", CopySource={"Bucket": c.bucket, "Key": "k"})
    gone = {"Bucket": c.bucket, "Key": "k", "VersionId": marker}
    refused(400, "InvalidRequest", c.s3.copy_object, Bucket=c.bucket, Key="x", CopySource=gone)
    refused(405, "MethodNotAllowed", c.s3.get_object_tagging, Bucket=c.bucket, Key="k", VersionId=marker)
    c.remove_all()


def an_upload_becomes_a_version(c):
    c.make()
    c.versioning("Enabled")
    c.put("k", b"before")
    upload = c.s3.create_multipart_upload(Bucket=c.bucket, Key="k")["UploadId"]
    body = b"p" * (5 * 1024 * 1024)
    parts = []
    for number, part in enumerate([body, b"end"], 1):
        etag = c.s3.upload_part(Bucket=c.bucket, Key="k", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    done = c.s3.complete_multipart_upload(Bucket=c.bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    listed = c.versions()
    same("the version is told", (done["VersionId"], len(listed)), (listed[0][1], 2))
    same("its bytes", c.get("k", VersionId=done["VersionId"]) == body + b"end", True)
    c.put("k", b"after")
    same("they stay", c.get("k", VersionId=done["VersionId"], Range="bytes=5242879-") , b"pend")
    c.remove_all()


def conditions_are_about_the_current_version(c):
    c.make()
    c.versioning("Enabled")
    put = lambda **condition: c.put("k", b"x", **condition)
    etag = put()["ETag"]
    refused(412, "PreconditionFailed", c.put, key="k", IfNoneMatch="*")
    c.delete("k")
    put(IfNoneMatch="*")
    put(IfMatch=etag)
    refused(412, "PreconditionFailed", c.put, key="k", IfMatch='"00000000000000000000000000000000"')
    c.delete("k")
    refused(404, "NoSuchKey", c.put, key="k", IfMatch=etag)
    c.remove_all()


def versions_of_one_name_come_and_go_at_the_same_time(c):
    c.make()
    c.versioning("Enabled")
    with ThreadPoolExecutor(12) as pool:
        at = lambda number: c.clients[number % len(c.clients)]
        put = lambda number: at(number).put_object(Bucket=c.bucket, Key="k", Body=str(number))["VersionId"]
        made = list(pool.map(put, range(24)))
        same("each has its own", len(set(made)), 24)
        gone = lambda number: at(number).delete_object(Bucket=c.bucket, Key="k", VersionId=made[number])
        list(pool.map(gone, range(20)))
        same("those that stay", sorted(v for _, v, _, _ in c.versions()), sorted(made[20:]))
        latest = [v for _, v, latest, _ in c.versions() if latest]
        same("one is current", (len(latest), c.get("k")), (1, str(made.index(latest[0])).encode()))
        list(pool.map(gone, range(20, 24)))
    same("nothing is left", c.versions(), [])
    c.s3.delete_bucket(Bucket=c.bucket)


if __name__ == "__main__":
    run(
        [
            a_bucket_says_whether_it_keeps_versions,
            what_is_replaced_stays_as_a_version,
            what_is_deleted_has_a_marker,
            a_suspended_bucket_has_one_null_version,
            versions_are_listed_in_pages,
            many_are_deleted_at_once,
            versions_are_copied_tagged_and_described,
            an_upload_becomes_a_version,
            conditions_are_about_the_current_version,
            versions_of_one_name_come_and_go_at_the_same_time,
        ]
    )
