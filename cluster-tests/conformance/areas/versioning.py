"""Versions: kept, read, listed, removed; markers of deletes; what suspending does."""

import concurrent.futures

from world import eq, fails, header, status, truth


def _versions(s3, name, **settings):
    answer = s3.client.list_object_versions(Bucket=name, **settings)
    return [(one["Key"], one["VersionId"], one["IsLatest"]) for one in answer.get("Versions", [])]


def _markers(s3, name):
    return [(one["Key"], one["VersionId"], one["IsLatest"]) for one in s3.client.list_object_versions(Bucket=name).get("DeleteMarkers", [])]


def _put(s3, name, *bodies, key="k"):
    return [s3.put(name, key, body)["VersionId"] for body in bodies]


def _suspend(s3, name):
    s3.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})


def a_new_bucket_keeps_no_versions(s3):
    name = s3.bucket()
    truth("Status" not in s3.client.get_bucket_versioning(Bucket=name), "it says a status")
    truth("VersionId" not in s3.put(name, "k"), "it says a version")


def keeping_versions_is_begun_and_suspended(s3):
    name = s3.versioned()
    eq(s3.client.get_bucket_versioning(Bucket=name)["Status"], "Enabled")
    _suspend(s3, name)
    eq(s3.client.get_bucket_versioning(Bucket=name)["Status"], "Suspended")


def another_status_is_refused(s3):
    name = s3.bucket()
    fails(400, ("MalformedXML", "IllegalVersioningConfigurationException"), s3.client.put_bucket_versioning, Bucket=name,
          VersioningConfiguration={"Status": "Perhaps"})  # fmt: skip


def every_put_is_a_version(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two", b"three")
    eq(len(set(ids)), 3)
    eq([s3.body(name, "k", VersionId=one) for one in ids], [b"one", b"two", b"three"])
    answer = s3.client.get_object(Bucket=name, Key="k")
    eq((answer["Body"].read(), answer["VersionId"]), (b"three", ids[2]))
    eq(s3.client.head_object(Bucket=name, Key="k", VersionId=ids[0])["VersionId"], ids[0])
    eq(_versions(s3, name), [("k", ids[2], True), ("k", ids[1], False), ("k", ids[0], False)])


def a_version_is_removed_for_good(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two", b"three")
    answer = s3.client.delete_object(Bucket=name, Key="k", VersionId=ids[1])
    eq((status(answer), answer["VersionId"], "DeleteMarker" in answer), (204, ids[1], False))
    fails(404, "NoSuchVersion", s3.client.get_object, Bucket=name, Key="k", VersionId=ids[1], message="The specified version does not exist.")
    eq(s3.body(name, "k"), b"three")
    s3.client.delete_object(Bucket=name, Key="k", VersionId=ids[2])
    eq(s3.body(name, "k"), b"one")
    eq(_versions(s3, name), [("k", ids[0], True)])
    s3.client.delete_object(Bucket=name, Key="k", VersionId=ids[0])
    fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")


def a_delete_leaves_a_marker(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one")
    answer = s3.client.delete_object(Bucket=name, Key="k")
    marker = answer["VersionId"]
    eq((status(answer), answer["DeleteMarker"]), (204, True))
    error = fails(404, "NoSuchKey", s3.client.get_object, Bucket=name, Key="k")
    eq(error["ResponseMetadata"]["HTTPHeaders"].get("x-amz-delete-marker"), "true")
    fails(404, "404", s3.client.head_object, Bucket=name, Key="k")
    eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 0)
    eq((_markers(s3, name), _versions(s3, name)), ([("k", marker, True)], [("k", ids[0], False)]))
    eq(s3.body(name, "k", VersionId=ids[0]), b"one")


def a_marker_has_no_bytes(s3):
    name = s3.versioned()
    _put(s3, name, b"one")
    marker = s3.client.delete_object(Bucket=name, Key="k")["VersionId"]
    error = fails(405, "MethodNotAllowed", s3.client.get_object, Bucket=name, Key="k", VersionId=marker,
                  message="The specified method is not allowed against this resource.")  # fmt: skip
    eq(error["ResponseMetadata"]["HTTPHeaders"].get("x-amz-delete-marker"), "true")
    fails(405, "405", s3.client.head_object, Bucket=name, Key="k", VersionId=marker)


def who_may_not_list_is_not_told_of_a_marker(s3):
    from wire import policy

    name = s3.versioned("k")
    marker = s3.client.delete_object(Bucket=name, Key="k")["VersionId"]
    read = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": f"arn:aws:s3:::{name}/*"}
    s3.client.put_bucket_policy(Bucket=name, Policy=policy(read))
    for path in (f"/{name}/k", f"/{name}/k?versionId={marker}", f"/{name}/none"):
        for method in ("GET", "HEAD"):
            answer = s3.anyone.wire.send(method, path)
            eq((answer.status, answer.headers["x-amz-delete-marker"], answer.headers["Allow"]), (403, None, None), f"{method} {path}")
    both = {**read, "Action": "s3:*", "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]}
    s3.client.put_bucket_policy(Bucket=name, Policy=policy(both))
    eq(s3.anyone.wire.send("GET", f"/{name}/k?versionId={marker}").status, 405)


def removing_the_marker_brings_the_object_back(s3):
    name = s3.versioned()
    _put(s3, name, b"one")
    marker = s3.client.delete_object(Bucket=name, Key="k")["VersionId"]
    answer = s3.client.delete_object(Bucket=name, Key="k", VersionId=marker)
    eq((answer["DeleteMarker"], answer["VersionId"]), (True, marker))
    eq(s3.body(name, "k"), b"one")


def a_delete_of_what_is_not_there_leaves_a_marker_too(s3):
    name = s3.versioned()
    answer = s3.client.delete_object(Bucket=name, Key="absent")
    eq((status(answer), answer["DeleteMarker"]), (204, True))
    eq(len(_markers(s3, name)), 1)


def a_version_that_is_not_there_is_deleted_already(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two")
    s3.client.delete_object(Bucket=name, Key="k", VersionId=ids[0])
    eq(status(s3.client.delete_object(Bucket=name, Key="k", VersionId=ids[0])), 204)
    eq(s3.body(name, "k"), b"two")


def a_version_that_is_none_is_refused(s3):
    name = s3.versioned()
    _put(s3, name, b"one")
    for text in ("no version!", "x"):
        fails(400, "InvalidArgument", s3.client.get_object, Bucket=name, Key="k", VersionId=text, message="Invalid version id specified")


def what_was_there_before_is_the_version_null(s3):
    name = s3.bucket("k")
    s3.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    new = s3.put(name, "k", b"new")["VersionId"]
    eq(_versions(s3, name), [("k", new, True), ("k", "null", False)])
    eq(s3.body(name, "k", VersionId="null"), b"k")
    s3.client.delete_object(Bucket=name, Key="k", VersionId=new)
    eq(s3.body(name, "k"), b"k")
    s3.client.delete_object(Bucket=name, Key="k", VersionId="null")
    eq(_versions(s3, name), [])


def a_suspended_bucket_writes_the_version_null(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two")
    _suspend(s3, name)
    answer = s3.put(name, "k", b"null one")
    truth(answer.get("VersionId") in (None, "null"), answer.get("VersionId"))
    s3.put(name, "k", b"null two")
    eq(_versions(s3, name), [("k", "null", True), ("k", ids[1], False), ("k", ids[0], False)])
    eq((s3.body(name, "k"), s3.body(name, "k", VersionId=ids[0])), (b"null two", b"one"))


def a_delete_in_a_suspended_bucket_puts_a_marker_in_place_of_null(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one")
    _suspend(s3, name)
    s3.put(name, "k", b"null")
    answer = s3.client.delete_object(Bucket=name, Key="k")
    eq((answer["DeleteMarker"], answer["VersionId"]), (True, "null"))
    eq((_versions(s3, name), _markers(s3, name)), ([("k", ids[0], False)], [("k", "null", True)]))
    s3.client.delete_object(Bucket=name, Key="k", VersionId="null")
    eq(s3.body(name, "k"), b"one")


def versions_are_kept_again_after_a_suspension(s3):
    name = s3.versioned()
    first = _put(s3, name, b"one")
    _suspend(s3, name)
    s3.put(name, "k", b"null")
    s3.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    last = _put(s3, name, b"last")
    eq([one[1] for one in _versions(s3, name)], last + ["null"] + first)


def many_versions_are_deleted_in_one_request(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two", b"three")
    gone = {"Objects": [{"Key": "k", "VersionId": one} for one in ids[:2]]}
    answer = s3.client.delete_objects(Bucket=name, Delete=gone)
    eq(sorted(one["VersionId"] for one in answer["Deleted"]), sorted(ids[:2]))
    eq(_versions(s3, name), [("k", ids[2], True)])
    answer = s3.client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k"}]})
    entry = answer["Deleted"][0]
    eq((entry["Key"], entry["DeleteMarker"], entry["DeleteMarkerVersionId"]), ("k", True, _markers(s3, name)[0][1]))
    answer = s3.client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k", "VersionId": entry["DeleteMarkerVersionId"]}]})
    eq((answer["Deleted"][0]["DeleteMarker"], s3.body(name, "k")), (True, b"three"))


def versions_are_listed_in_pages(s3):
    name = s3.versioned()
    wanted = [("a", one) for one in _put(s3, name, b"1", b"2", b"3", key="a")[::-1]]
    wanted += [("b", one) for one in _put(s3, name, b"1", b"2", key="b")[::-1]]
    found, marker = [], {}
    while True:
        answer = s3.client.list_object_versions(Bucket=name, MaxKeys=2, **marker)
        eq(answer["MaxKeys"], 2)
        found += [(one["Key"], one["VersionId"]) for one in answer["Versions"]]
        if not answer["IsTruncated"]:
            break
        marker = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}
    eq(found, wanted)
    eq([one[0] for one in _versions(s3, name, KeyMarker="a")], ["b", "b"])


def versions_are_listed_by_prefix_and_rolled_up(s3):
    name = s3.versioned("a/1", "a/2", "b")
    answer = s3.client.list_object_versions(Bucket=name, Delimiter="/")
    eq(([one["Key"] for one in answer["Versions"]], [one["Prefix"] for one in answer["CommonPrefixes"]]), (["b"], ["a/"]))
    eq([one[0] for one in _versions(s3, name, Prefix="a/")], ["a/1", "a/2"])


def an_entry_of_versions_tells_what_the_head_tells(s3):
    name = s3.versioned("k")
    entry = s3.client.list_object_versions(Bucket=name)["Versions"][0]
    head = s3.client.head_object(Bucket=name, Key="k")
    eq((entry["ETag"], entry["Size"], entry["StorageClass"]), (head["ETag"], 1, "STANDARD"))
    truth(entry["Owner"]["ID"], "it has an owner")


def a_bucket_without_versions_lists_its_objects_as_null(s3):
    name = s3.bucket("a", "b")
    eq(_versions(s3, name), [("a", "null", True), ("b", "null", True)])


def a_bucket_with_versions_or_markers_is_not_empty(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one")
    marker = s3.client.delete_object(Bucket=name, Key="k")["VersionId"]
    fails(409, "BucketNotEmpty", s3.client.delete_bucket, Bucket=name)
    s3.client.delete_object(Bucket=name, Key="k", VersionId=ids[0])
    fails(409, "BucketNotEmpty", s3.client.delete_bucket, Bucket=name)
    s3.client.delete_object(Bucket=name, Key="k", VersionId=marker)
    eq(status(s3.client.delete_bucket(Bucket=name)), 204)


def an_older_version_is_copied(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two")
    source = {"Bucket": name, "Key": "k", "VersionId": ids[0]}
    answer = s3.client.copy_object(Bucket=name, Key="copy", CopySource=source)
    eq((s3.body(name, "copy"), answer["CopySourceVersionId"]), (b"one", ids[0]))
    truth(answer["VersionId"], "the copy has a version")
    # Onto itself it is the newest one again.
    s3.client.copy_object(Bucket=name, Key="k", CopySource=source)
    eq((s3.body(name, "k"), len([one for one in _versions(s3, name) if one[0] == "k"])), (b"one", 3))


def a_marker_is_not_copied(s3):
    name = s3.versioned("k")
    s3.client.delete_object(Bucket=name, Key="k")
    fails(404, "NoSuchKey", s3.client.copy_object, Bucket=name, Key="x", CopySource={"Bucket": name, "Key": "k"})


def a_part_is_copied_from_an_older_version(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two")
    upload = s3.client.create_multipart_upload(Bucket=name, Key="x")["UploadId"]
    answer = s3.client.upload_part_copy(Bucket=name, Key="x", UploadId=upload, PartNumber=1, CopySource={"Bucket": name, "Key": "k", "VersionId": ids[0]})
    eq(answer["CopySourceVersionId"], ids[0])
    part = {"PartNumber": 1, "ETag": answer["CopyPartResult"]["ETag"]}
    done = s3.client.complete_multipart_upload(Bucket=name, Key="x", UploadId=upload, MultipartUpload={"Parts": [part]})
    eq((s3.body(name, "x"), s3.client.head_object(Bucket=name, Key="x")["VersionId"]), (b"one", done["VersionId"]))


def tags_belong_to_a_version(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"two")
    tags = {"TagSet": [{"Key": "a", "Value": "1"}]}
    answer = s3.client.put_object_tagging(Bucket=name, Key="k", VersionId=ids[0], Tagging=tags)
    eq(answer["VersionId"], ids[0])
    eq(s3.client.get_object_tagging(Bucket=name, Key="k", VersionId=ids[0])["TagSet"], tags["TagSet"])
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], [])
    s3.client.delete_object_tagging(Bucket=name, Key="k", VersionId=ids[0])
    eq(s3.client.get_object_tagging(Bucket=name, Key="k", VersionId=ids[0])["TagSet"], [])


def attributes_of_a_version_are_told(s3):
    name = s3.versioned()
    ids = _put(s3, name, b"one", b"three")
    eq(s3.client.get_object_attributes(Bucket=name, Key="k", VersionId=ids[0], ObjectAttributes=["ObjectSize"])["ObjectSize"], 3)


def puts_at_once_are_versions_each(s3):
    name = s3.versioned()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        ids = list(pool.map(lambda number: s3.put(name, "k", str(number))["VersionId"], range(10)))
    eq(sorted(one[1] for one in _versions(s3, name)), sorted(ids))
    eq([one[2] for one in _versions(s3, name)], [True] + [False] * 9)


def a_condition_is_about_the_newest_version(s3):
    name = s3.versioned()
    first = s3.put(name, "k", b"one")["ETag"]
    s3.put(name, "k", b"two")
    fails(412, "PreconditionFailed", s3.client.put_object, Bucket=name, Key="k", Body=b"x", IfMatch=first)
    fails(412, "PreconditionFailed", s3.client.put_object, Bucket=name, Key="k", Body=b"x", IfNoneMatch="*")
    s3.client.delete_object(Bucket=name, Key="k")
    s3.put(name, "k", b"three", IfNoneMatch="*")
    eq(s3.body(name, "k"), b"three")


def deletes_of_versions_answer_with_headers(s3):
    name = s3.versioned("k")
    answer = s3.client.delete_object(Bucket=name, Key="k")
    eq(header(answer, "x-amz-delete-marker"), "true")
    truth(header(answer, "x-amz-version-id"), "it says its version")
