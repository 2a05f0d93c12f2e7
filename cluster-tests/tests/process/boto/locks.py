"""Object lock, as boto3's users use it."""

import datetime
import time

from cases import refused, run, same


def later(seconds):
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=seconds)


def setting(mode="COMPLIANCE", **period):
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, **(period or {"Days": 1})}}}


def a_bucket_has_a_default_that_can_be(c):
    c.make(ObjectLockEnabledForBucket=True)
    same("it keeps versions", c.s3.get_bucket_versioning(Bucket=c.bucket)["Status"], "Enabled")
    put = lambda wanted: c.s3.put_object_lock_configuration(Bucket=c.bucket, ObjectLockConfiguration=wanted)
    get = lambda s3: s3.get_object_lock_configuration(Bucket=c.bucket)["ObjectLockConfiguration"]
    same("at first", get(c.s3), {"ObjectLockEnabled": "Enabled"})
    for wanted in [setting(), setting("GOVERNANCE", Years=1)]:
        put(wanted)
        same("at every gateway", [get(s3) for s3 in c.clients], [wanted] * len(c.clients))
    wrong = lambda code, **what: refused(400, code, put, **what)
    wrong("MalformedXML", wanted=setting(Days=1, Years=1))
    wrong("InvalidRetentionPeriod", wanted=setting(Days=0))
    wrong("InvalidRetentionPeriod", wanted=setting("GOVERNANCE", Years=-1))
    wrong("MalformedXML", wanted=setting("abc"))
    wrong("MalformedXML", wanted=setting("governance"))
    wrong("MalformedXML", wanted={**setting(), "ObjectLockEnabled": "Disabled"})
    refused(409, "InvalidBucketState", lambda: c.versioning("Suspended"))
    c.s3.delete_bucket(Bucket=c.bucket)


def a_bucket_without_lock_refuses_all_of_it(c):
    c.make()
    c.put("k")
    configuration = {"Bucket": c.bucket, "ObjectLockConfiguration": setting()}
    refused(409, "InvalidBucketState", c.s3.put_object_lock_configuration, **configuration)
    refused(404, "ObjectLockConfigurationNotFoundError", c.s3.get_object_lock_configuration, Bucket=c.bucket)
    key = {"Bucket": c.bucket, "Key": "k"}
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": later(60)}
    refused(400, "InvalidRequest", c.s3.put_object_retention, **key, Retention=retention)
    refused(400, "InvalidRequest", c.s3.get_object_retention, **key)
    refused(400, "InvalidRequest", c.s3.put_object_legal_hold, **key, LegalHold={"Status": "ON"})
    refused(400, "InvalidRequest", c.s3.get_object_legal_hold, **key)
    refused(400, "InvalidRequest", c.put, key="k", ObjectLockLegalHoldStatus="ON")
    c.versioning("Suspended")
    refused(409, "InvalidBucketState", c.s3.put_object_lock_configuration, **configuration)
    c.versioning("Enabled")
    c.s3.put_object_lock_configuration(**configuration)
    c.remove_all()


def a_version_is_kept_until_its_time(c):
    c.make(ObjectLockEnabledForBucket=True)
    version = c.put("k", b"1")["VersionId"]
    key = {"Bucket": c.bucket, "Key": "k", "VersionId": version}
    refused(404, "NoSuchObjectLockConfiguration", c.s3.get_object_retention, **key)
    retain = lambda mode, until, **more: c.s3.put_object_retention(**key, Retention={"Mode": mode, "RetainUntilDate": until}, **more)
    refused(400, "MalformedXML", retain, mode="governance", until=later(60))
    refused(400, "InvalidArgument", retain, mode="GOVERNANCE", until=later(-60))
    until = later(100)
    retain("GOVERNANCE", until)
    same("it is told", c.s3.get_object_retention(**key)["Retention"], {"Mode": "GOVERNANCE", "RetainUntilDate": until})
    head = c.s3.head_object(Bucket=c.bucket, Key="k")
    same("by HEAD too", (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]), ("GOVERNANCE", until))
    retain("GOVERNANCE", later(200))
    refused(403, "AccessDenied", retain, mode="GOVERNANCE", until=later(100))
    refused(403, "AccessDenied", retain, mode="COMPLIANCE", until=later(300))
    retain("GOVERNANCE", later(100), BypassGovernanceRetention=True)
    refused(403, "AccessDenied", c.delete, key="k", VersionId=version)
    marker = c.delete("k")
    same("a marker hides it", marker["DeleteMarker"], True)
    refused(403, "AccessDenied", c.delete, key="k", VersionId=version)
    same("and goes", c.delete("k", VersionId=marker["VersionId"])["DeleteMarker"], True)
    free = c.put("k", b"2")["VersionId"]
    both = {"Objects": [{"Key": "k", "VersionId": version}, {"Key": "k", "VersionId": free}]}
    done = c.s3.delete_objects(Bucket=c.bucket, Delete=both)
    same("one goes", [d["VersionId"] for d in done["Deleted"]], [free])
    same("one stays", [(e["VersionId"], e["Code"]) for e in done["Errors"]], [(version, "AccessDenied")])
    c.delete("k", VersionId=version, BypassGovernanceRetention=True)
    c.remove_all()


def nobody_gets_around_compliance(c):
    c.make(ObjectLockEnabledForBucket=True)
    until = later(4)
    version = c.put("k", b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)["VersionId"]
    key = {"Bucket": c.bucket, "Key": "k", "VersionId": version}
    other = {"Mode": "GOVERNANCE", "RetainUntilDate": later(100)}
    refused(403, "AccessDenied", c.s3.put_object_retention, **key, Retention=other, BypassGovernanceRetention=True)
    refused(403, "AccessDenied", c.delete, key="k", VersionId=version, BypassGovernanceRetention=True)
    time.sleep(max(0, (until - later(0)).total_seconds()) + 1.1)
    c.delete("k", VersionId=version)
    c.remove_all()


def what_is_held_stays_until_it_is_let_go(c):
    c.make(ObjectLockEnabledForBucket=True)
    version = c.put("k", b"1", ObjectLockLegalHoldStatus="ON")["VersionId"]
    key = {"Bucket": c.bucket, "Key": "k", "VersionId": version}
    same("it is told", c.s3.get_object_legal_hold(**key)["LegalHold"], {"Status": "ON"})
    refused(403, "AccessDenied", c.delete, key="k", VersionId=version, BypassGovernanceRetention=True)
    refused(400, "MalformedXML", c.s3.put_object_legal_hold, **key, LegalHold={"Status": "abc"})
    c.s3.put_object_legal_hold(**key, LegalHold={"Status": "OFF"})
    same("HEAD tells it", c.s3.head_object(Bucket=c.bucket, Key="k")["ObjectLockLegalHoldStatus"], "OFF")
    c.delete("k", VersionId=version)
    c.remove_all()


def a_default_is_that_of_each_new_version(c):
    c.make(ObjectLockEnabledForBucket=True)
    c.s3.put_object_lock_configuration(Bucket=c.bucket, ObjectLockConfiguration=setting("GOVERNANCE", Days=1))
    c.put("k", b"1")
    lock = lambda key: c.s3.get_object_retention(Bucket=c.bucket, Key=key)["Retention"]
    left = lock("k")["RetainUntilDate"] - later(0)
    same("a day", (lock("k")["Mode"], 86_300 < left.total_seconds() <= 86_402), ("GOVERNANCE", True))
    until = later(1000)
    c.put("own", b"1", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    same("its own word", lock("own"), {"Mode": "GOVERNANCE", "RetainUntilDate": until})
    c.s3.copy_object(Bucket=c.bucket, Key="copy", CopySource={"Bucket": c.bucket, "Key": "own"})
    same("a copy has that of its bucket", lock("copy")["RetainUntilDate"] > until, True)
    upload = c.s3.create_multipart_upload(Bucket=c.bucket, Key="parts")["UploadId"]
    part = c.s3.upload_part(Bucket=c.bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    version = c.s3.complete_multipart_upload(Bucket=c.bucket, Key="parts", UploadId=upload, MultipartUpload=parts)["VersionId"]
    same("one of parts too", lock("parts")["Mode"], "GOVERNANCE")
    refused(403, "AccessDenied", c.delete, key="parts", VersionId=version)
    refused(400, "InvalidArgument", c.put, key="k", ObjectLockMode="GOVERNANCE")
    refused(400, "InvalidArgument", c.put, key="k", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=later(-5))
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    c.s3.put_object_tagging(Bucket=c.bucket, Key="own", Tagging=tags)
    same("tags leave it alone", lock("own")["RetainUntilDate"], until)
    c.remove_all()


if __name__ == "__main__":
    run(
        [
            a_bucket_has_a_default_that_can_be,
            a_bucket_without_lock_refuses_all_of_it,
            a_version_is_kept_until_its_time,
            nobody_gets_around_compliance,
            what_is_held_stays_until_it_is_let_go,
            a_default_is_that_of_each_new_version,
        ]
    )
