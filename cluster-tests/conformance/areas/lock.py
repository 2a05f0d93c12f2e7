"""Object lock: retention by mode and time, legal holds, defaults of a bucket."""

import datetime

from world import eq, fails, status, truth


def _until(days=1):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)).replace(microsecond=0)


def _locked(s3):
    return s3.bucket(ObjectLockEnabledForBucket=True)


def _rule(mode="GOVERNANCE", **length):
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, **length}}}


def a_bucket_with_lock_keeps_versions(s3):
    name = _locked(s3)
    eq(s3.client.get_bucket_versioning(Bucket=name)["Status"], "Enabled")
    eq(s3.client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"], {"ObjectLockEnabled": "Enabled"})


def versions_of_a_bucket_with_lock_are_not_suspended(s3):
    name = _locked(s3)
    fails(409, "InvalidBucketState", s3.client.put_bucket_versioning, Bucket=name, VersioningConfiguration={"Status": "Suspended"})


def a_bucket_without_lock_has_no_configuration_of_it(s3):
    name = s3.bucket("k")
    fails(404, "ObjectLockConfigurationNotFoundError", s3.client.get_object_lock_configuration, Bucket=name,
          message="Object Lock configuration does not exist for this bucket")  # fmt: skip
    fails(409, "InvalidBucketState", s3.client.put_object_lock_configuration, Bucket=name, ObjectLockConfiguration=_rule(Days=1))


def a_bucket_that_keeps_versions_can_be_given_a_lock(s3):
    name = s3.versioned()
    s3.client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=_rule(Days=1))
    eq(s3.client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"], _rule(Days=1))


def what_has_no_lock_takes_no_retention(s3):
    name = s3.bucket("k")
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": _until()}
    for call, settings in (
        (s3.client.put_object_retention, {"Retention": retention}),
        (s3.client.get_object_retention, {}),
        (s3.client.put_object_legal_hold, {"LegalHold": {"Status": "ON"}}),
        (s3.client.get_object_legal_hold, {}),
    ):
        fails(400, "InvalidRequest", call, Bucket=name, Key="k", **settings)
    fails(400, "InvalidRequest", s3.client.put_object, Bucket=name, Key="k", Body=b"", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=_until())


def a_default_is_kept_and_told(s3):
    name = _locked(s3)
    for rule in (_rule(Days=1), _rule("COMPLIANCE", Years=1)):
        s3.client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule)
        eq(s3.client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"], rule)


def a_default_that_cannot_be_is_refused(s3):
    name = _locked(s3)
    put = s3.client.put_object_lock_configuration
    fails(400, "MalformedXML", put, Bucket=name, ObjectLockConfiguration=_rule(Days=1, Years=1))
    period = ("InvalidRetentionPeriod", "InvalidArgument")
    fails(400, period, put, Bucket=name, ObjectLockConfiguration=_rule(Days=0))
    fails(400, period, put, Bucket=name, ObjectLockConfiguration=_rule(Years=-1))
    fails(400, "MalformedXML", put, Bucket=name, ObjectLockConfiguration=_rule("abc", Years=1))
    fails(400, "MalformedXML", put, Bucket=name, ObjectLockConfiguration={**_rule(Days=1), "ObjectLockEnabled": "Disabled"})


def a_default_locks_what_is_put(s3):
    name = _locked(s3)
    s3.client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=_rule(Days=1))
    version = s3.put(name, "k", b"x")["VersionId"]
    head = s3.client.head_object(Bucket=name, Key="k")
    eq(head["ObjectLockMode"], "GOVERNANCE")
    left = (head["ObjectLockRetainUntilDate"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    truth(86000 < left <= 86500, f"{left} s")
    fails(403, "AccessDenied", s3.client.delete_object, Bucket=name, Key="k", VersionId=version)


def a_put_locks_its_object(s3):
    name, until = _locked(s3), _until()
    answer = s3.put(name, "k", b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="ON")
    head = s3.client.head_object(Bucket=name, Key="k")
    eq((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]), ("GOVERNANCE", until, "ON"))
    s3.client.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "OFF"})
    s3.client.delete_object(Bucket=name, Key="k", VersionId=answer["VersionId"], BypassGovernanceRetention=True)


def a_put_says_both_of_mode_and_time_or_none(s3):
    name = _locked(s3)
    fails(400, "InvalidArgument", s3.client.put_object, Bucket=name, Key="k", Body=b"", ObjectLockMode="GOVERNANCE")
    fails(400, "InvalidArgument", s3.client.put_object, Bucket=name, Key="k", Body=b"", ObjectLockRetainUntilDate=_until())
    fails(400, "InvalidArgument", s3.client.put_object, Bucket=name, Key="k", Body=b"", ObjectLockMode="abc", ObjectLockRetainUntilDate=_until())
    fails(400, "InvalidArgument", s3.client.put_object, Bucket=name, Key="k", Body=b"", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=_until(-1))


def governance_is_lengthened_and_bypassed(s3):
    name = _locked(s3)
    version = s3.put(name, "k", b"x")["VersionId"]
    put = s3.client.put_object_retention
    first, later = _until(2), _until(3)
    eq(status(put(Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": first})), 200)
    eq(s3.client.get_object_retention(Bucket=name, Key="k")["Retention"], {"Mode": "GOVERNANCE", "RetainUntilDate": first})
    put(Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": later})
    fails(403, "AccessDenied", put, Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": first})
    put(Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": first}, BypassGovernanceRetention=True)
    fails(403, "AccessDenied", s3.client.delete_object, Bucket=name, Key="k", VersionId=version)
    eq(status(s3.client.delete_object(Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True)), 204)


def compliance_is_lengthened_only(s3):
    name = _locked(s3)
    version = s3.put(name, "k", b"x")["VersionId"]
    put = s3.client.put_object_retention
    until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=6)).replace(microsecond=0)
    put(Bucket=name, Key="k", Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until})
    sooner = until - datetime.timedelta(seconds=3)
    for bypass in (True, False):
        fails(403, "AccessDenied", s3.client.delete_object, Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=bypass)
        fails(403, "AccessDenied", put, Bucket=name, Key="k", Retention={"Mode": "COMPLIANCE", "RetainUntilDate": sooner}, BypassGovernanceRetention=bypass)
        fails(403, "AccessDenied", put, Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}, BypassGovernanceRetention=bypass)
    import time

    # What is locked by compliance cannot be cleaned up before.
    time.sleep(7)
    eq(status(s3.client.delete_object(Bucket=name, Key="k", VersionId=version)), 204)


def a_retention_that_cannot_be_is_refused(s3):
    name = _locked(s3)
    s3.put(name, "k", b"x")
    put = s3.client.put_object_retention
    fails(400, "MalformedXML", put, Bucket=name, Key="k", Retention={"Mode": "governance", "RetainUntilDate": _until()})
    fails(400, "MalformedXML", put, Bucket=name, Key="k", Retention={"Mode": "abc", "RetainUntilDate": _until()})
    fails(400, "InvalidArgument", put, Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": _until(-1)})


def an_object_without_retention_has_none(s3):
    name = _locked(s3)
    s3.put(name, "k", b"x")
    message = "The specified object does not have a ObjectLock configuration"
    fails(404, "NoSuchObjectLockConfiguration", s3.client.get_object_retention, Bucket=name, Key="k", message=message)
    fails(404, "NoSuchObjectLockConfiguration", s3.client.get_object_legal_hold, Bucket=name, Key="k")


def a_hold_keeps_until_it_is_taken_off(s3):
    name = _locked(s3)
    version = s3.put(name, "k", b"x")["VersionId"]
    eq(status(s3.client.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "ON"})), 200)
    eq(s3.client.get_object_legal_hold(Bucket=name, Key="k")["LegalHold"], {"Status": "ON"})
    fails(403, "AccessDenied", s3.client.delete_object, Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True)
    fails(400, "MalformedXML", s3.client.put_object_legal_hold, Bucket=name, Key="k", LegalHold={"Status": "abc"})
    s3.client.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "OFF"})
    eq(s3.client.get_object_legal_hold(Bucket=name, Key="k")["LegalHold"], {"Status": "OFF"})
    eq(status(s3.client.delete_object(Bucket=name, Key="k", VersionId=version)), 204)


def what_is_locked_takes_new_versions_and_markers(s3):
    name = _locked(s3)
    first = s3.put(name, "k", b"one", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=_until())["VersionId"]
    s3.put(name, "k", b"two")
    eq(s3.client.delete_object(Bucket=name, Key="k")["DeleteMarker"], True)
    eq(s3.body(name, "k", VersionId=first), b"one")


def many_deletes_spare_what_is_locked(s3):
    name = _locked(s3)
    locked = s3.put(name, "a", b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=_until())["VersionId"]
    free = s3.put(name, "b", b"x")["VersionId"]
    objects = {"Objects": [{"Key": "a", "VersionId": locked}, {"Key": "b", "VersionId": free}]}
    answer = s3.client.delete_objects(Bucket=name, Delete=objects)
    eq([one["Key"] for one in answer["Deleted"]], ["b"])
    eq([(one["Key"], one["Code"], one["VersionId"]) for one in answer["Errors"]], [("a", "AccessDenied", locked)])
    answer = s3.client.delete_objects(Bucket=name, Delete={"Objects": objects["Objects"][:1]}, BypassGovernanceRetention=True)
    eq(([one["Key"] for one in answer["Deleted"]], answer.get("Errors", [])), (["a"], []))


def an_upload_and_a_copy_are_locked_as_they_say(s3):
    name, until = _locked(s3), _until()
    words = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    upload = s3.client.create_multipart_upload(Bucket=name, Key="k", **words)["UploadId"]
    part = s3.client.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.client.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    s3.client.copy_object(Bucket=name, Key="copy", CopySource={"Bucket": name, "Key": "k"}, **words)
    for key in ("k", "copy"):
        head = s3.client.head_object(Bucket=name, Key=key)
        eq((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]), ("GOVERNANCE", until, "ON"), key)
    # A copy does not inherit.
    s3.client.copy_object(Bucket=name, Key="free", CopySource={"Bucket": name, "Key": "k"})
    truth("ObjectLockMode" not in s3.client.head_object(Bucket=name, Key="free"), "a copy is locked by itself only")
