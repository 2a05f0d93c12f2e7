"""Bucket policies: kept, told, refused, and what they allow and deny to whom."""

import base64
import datetime
import hashlib
import json

from wire import policy
from world import eq, fails, refused, status, truth


def _allow(name, actions, principal="*", objects=True, effect="Allow", **more):
    resources = [f"arn:aws:s3:::{name}"] + ([f"arn:aws:s3:::{name}/*"] if objects else [])
    return {"Effect": effect, "Principal": principal, "Action": actions, "Resource": resources, **more}


def _set(s3, name, *statements):
    return s3.client.put_bucket_policy(Bucket=name, Policy=policy(*statements))


def a_policy_is_kept_told_and_taken_away(s3):
    name = s3.bucket()
    fails(404, "NoSuchBucketPolicy", s3.client.get_bucket_policy, Bucket=name, message="The bucket policy does not exist")
    text = policy(_allow(name, "s3:GetObject"))
    eq(status(s3.client.put_bucket_policy(Bucket=name, Policy=text)), 204)
    eq(json.loads(s3.client.get_bucket_policy(Bucket=name)["Policy"]), json.loads(text))
    eq(status(s3.client.delete_bucket_policy(Bucket=name)), 204)
    fails(404, "NoSuchBucketPolicy", s3.client.get_bucket_policy, Bucket=name)


def a_policy_that_is_none_is_refused(s3):
    name = s3.bucket()
    for text in (
        "no json",
        "{}",
        policy({"Effect": "Perhaps", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}),
        policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}),
        policy({"Effect": "Allow", "Principal": "*", "Resource": f"arn:aws:s3:::{name}/*"}),
        policy({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}),
    ):
        fails(400, "MalformedPolicy", s3.client.put_bucket_policy, Bucket=name, Policy=text)


def a_policy_about_another_bucket_is_refused(s3):
    name = s3.bucket()
    fails(400, "MalformedPolicy", _set, s3, name, _allow("another-bucket", "s3:GetObject"))


def anybody_is_let_in_to_read(s3):
    name = s3.bucket("k")
    _set(s3, name, _allow(name, ["s3:GetObject", "s3:ListBucket"]))
    eq(s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")
    eq(s3.anyone.client.list_objects_v2(Bucket=name)["KeyCount"], 1)
    fails(403, "AccessDenied", s3.anyone.client.put_object, Bucket=name, Key="x", Body=b"")
    fails(403, "AccessDenied", s3.anyone.client.delete_object, Bucket=name, Key="k")


def who_may_not_list_is_not_told_what_is_missing(s3):
    name = s3.bucket("k")
    _set(s3, name, _allow(name, "s3:GetObject"))
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="absent")
    _set(s3, name, _allow(name, ["s3:GetObject", "s3:ListBucket"]))
    fails(404, "NoSuchKey", s3.anyone.client.get_object, Bucket=name, Key="absent")


def whatever_is_asked_who_may_not_list_is_not_told_what_is_missing(s3):
    name, target = s3.bucket(ObjectLockEnabledForBucket=True), s3.bucket()
    _set(s3, target, _allow(target, "s3:PutObject"))
    user, source = s3.alt.client, {"Bucket": name, "Key": "absent"}
    upload = user.create_multipart_upload(Bucket=target, Key="parts")["UploadId"]
    for actions, answer in ((["s3:*Object*"], (403, "AccessDenied")), (["s3:*Object*", "s3:ListBucket"], (404, "NoSuchKey"))):
        _set(s3, name, _allow(name, actions))
        for call, settings in (
            (user.get_object_attributes, {"ObjectAttributes": ["ETag"]}),
            (user.get_object_tagging, {}),
            (user.put_object_tagging, {"Tagging": {"TagSet": []}}),
            (user.delete_object_tagging, {}),
            (user.get_object_acl, {}),
            (user.put_object_acl, {"ACL": "private"}),
            (user.get_object_retention, {}),
            (user.get_object_legal_hold, {}),
            (user.put_object_legal_hold, {"LegalHold": {"Status": "ON"}}),
        ):
            fails(*answer, call, **source, **settings)
        fails(*answer, user.copy_object, Bucket=target, Key="x", CopySource=source)
        fails(*answer, user.upload_part_copy, Bucket=target, Key="parts", UploadId=upload, PartNumber=1, CopySource=source)


def a_copy_that_keeps_tags_reads_and_writes_them(s3):
    name, target = s3.bucket("untagged"), s3.bucket()
    s3.put(name, "tagged", b"x", Tagging="a=1")
    tagged, untagged = {"Bucket": name, "Key": "tagged"}, {"Bucket": name, "Key": "untagged"}
    _set(s3, name, _allow(name, "s3:GetObject"))
    _set(s3, target, _allow(target, "s3:PutObject"), _allow(target, "s3:PutObjectTagging", effect="Deny"))
    fails(403, "AccessDenied", s3.client.copy_object, Bucket=target, Key="x", CopySource=tagged)
    s3.client.copy_object(Bucket=target, Key="x", CopySource=untagged)
    s3.client.copy_object(Bucket=target, Key="x", CopySource=tagged, TaggingDirective="REPLACE")
    _set(s3, target, _allow(target, "s3:PutObject"))
    fails(403, "AccessDenied", s3.alt.client.copy_object, Bucket=target, Key="x", CopySource=tagged)
    s3.alt.client.copy_object(Bucket=target, Key="x", CopySource=untagged)
    _set(s3, name, _allow(name, ["s3:GetObject", "s3:GetObjectTagging"]))
    s3.alt.client.copy_object(Bucket=target, Key="x", CopySource=tagged)


def another_user_is_let_in(s3):
    name = s3.bucket("k")
    other = s3.alt.client
    fails(403, "AccessDenied", other.list_objects_v2, Bucket=name)
    _set(s3, name, _allow(name, ["s3:ListBucket", "s3:GetObject", "s3:PutObject"]))
    eq(other.list_objects_v2(Bucket=name)["KeyCount"], 1)
    other.put_object(Bucket=name, Key="new", Body=b"x")
    fails(403, "AccessDenied", other.delete_object, Bucket=name, Key="k")


def a_denial_goes_before_all(s3):
    name = s3.bucket("k", "secret/k")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/secret/*"}
    _set(s3, name, _allow(name, "s3:GetObject"), deny)
    eq(s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="secret/k")
    fails(403, "AccessDenied", s3.client.get_object, Bucket=name, Key="secret/k")


def resources_and_actions_have_wildcards(s3):
    name = s3.bucket("public/a", "private/a")
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": f"arn:aws:s3:::{name}/pub*/?"}
    _set(s3, name, statement)
    eq(s3.anyone.client.get_object(Bucket=name, Key="public/a")["Body"].read(), b"public/a")
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="private/a")


def what_is_not_named_is_meant_by_not_action(s3):
    name = s3.bucket("k")
    statement = {"Effect": "Allow", "Principal": "*", "NotAction": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]}
    _set(s3, name, statement)
    eq(s3.anyone.client.list_objects_v2(Bucket=name)["KeyCount"], 1)
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k")


def a_condition_names_prefixes(s3):
    name = s3.bucket("home/a", "other")
    _set(s3, name, _allow(name, "s3:ListBucket", objects=False, Condition={"StringLike": {"s3:prefix": ["home/*"]}}))
    eq(s3.anyone.client.list_objects_v2(Bucket=name, Prefix="home/")["KeyCount"], 1)
    fails(403, "AccessDenied", s3.anyone.client.list_objects_v2, Bucket=name)


def a_condition_names_addresses(s3):
    name = s3.bucket("k")
    _set(s3, name, _allow(name, "s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1/128"]}}))
    eq(s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")
    _set(s3, name, _allow(name, "s3:GetObject", Condition={"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}))
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k")


def a_condition_names_referers_and_agents(s3):
    name = s3.bucket("k")
    _set(s3, name, _allow(name, "s3:GetObject", Condition={"StringLike": {"aws:Referer": "http://www.example.com/*"}}))
    eq(s3.anyone.wire.send("GET", f"/{name}/k", {"Referer": "http://www.example.com/page"}).status, 200)
    refused(s3.anyone.wire.send("GET", f"/{name}/k", {"Referer": "http://elsewhere/"}), 403, "AccessDenied")
    refused(s3.anyone.wire.send("GET", f"/{name}/k"), 403, "AccessDenied")


def a_condition_names_tags_of_the_object(s3):
    name = s3.bucket()
    s3.put(name, "open", b"x", Tagging="security=public")
    s3.put(name, "closed", b"x", Tagging="security=private")
    _set(s3, name, _allow(name, ["s3:GetObject"], Condition={"StringEquals": {"s3:ExistingObjectTag/security": "public"}}))
    eq(s3.anyone.client.get_object(Bucket=name, Key="open")["Body"].read(), b"x")
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="closed")


def a_condition_names_tags_of_the_request(s3):
    name = s3.bucket()
    _set(s3, name, _allow(name, ["s3:PutObject", "s3:PutObjectTagging"], Condition={"StringEquals": {"s3:RequestObjectTag/security": "public"}}))
    s3.alt.client.put_object(Bucket=name, Key="k", Body=b"x", Tagging="security=public")
    fails(403, "AccessDenied", s3.alt.client.put_object, Bucket=name, Key="x", Body=b"x")


def a_condition_names_the_acl(s3):
    name = s3.bucket()
    deny = _allow(name, "s3:PutObject", effect="Deny", Condition={"StringLike": {"s3:x-amz-acl": "public*"}})
    _set(s3, name, _allow(name, "s3:PutObject"), deny)
    s3.alt.client.put_object(Bucket=name, Key="k", Body=b"x")
    fails(403, "AccessDenied", s3.alt.client.put_object, Bucket=name, Key="x", Body=b"x", ACL="public-read")


def what_headers_of_a_put_do_may_be_denied(s3):
    name = s3.bucket()
    words = {"s3:PutObjectTagging": {"Tagging": "a=b"}, "s3:PutObjectAcl": {"ACL": "public-read"}}
    for action, header in words.items():
        _set(s3, name, _allow(name, "s3:PutObject"), _allow(name, action, effect="Deny"))
        s3.alt.client.put_object(Bucket=name, Key="k", Body=b"x")
        for user in (s3.alt.client, s3.client):
            fails(403, "AccessDenied", user.put_object, Bucket=name, Key="k", Body=b"x", **header)
            fails(403, "AccessDenied", user.create_multipart_upload, Bucket=name, Key="k", **header)
    fails(403, "AccessDenied", s3.client.copy_object, Bucket=name, Key="x", CopySource={"Bucket": name, "Key": "k"}, ACL="public-read")


def who_may_put_may_not_lock(s3):
    name = s3.bucket(ObjectLockEnabledForBucket=True)
    _set(s3, name, _allow(name, "s3:PutObject"))
    put = {"Bucket": name, "Key": "k", "Body": b"x", "ContentMD5": base64.b64encode(hashlib.md5(b"x").digest()).decode()}
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    s3.alt.client.put_object(**put)
    fails(403, "AccessDenied", s3.alt.client.put_object, **put, ObjectLockLegalHoldStatus="ON")
    fails(403, "AccessDenied", s3.alt.client.put_object, **put, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    _set(s3, name, _allow(name, ["s3:PutObject", "s3:PutObjectLegalHold"]))
    s3.alt.client.put_object(**put, ObjectLockLegalHoldStatus="ON")


def a_condition_asks_for_encryption(s3):
    name = s3.bucket()
    _set(s3, name, _allow(name, "s3:PutObject", effect="Deny", Condition={"Null": {"s3:x-amz-server-side-encryption": "true"}}))
    fails(403, "AccessDenied", s3.client.put_object, Bucket=name, Key="k", Body=b"x")
    s3.put(name, "k", b"x", ServerSideEncryption="AES256")


def a_condition_names_the_source_of_a_copy(s3):
    name = s3.bucket("public/k", "private/k")
    target = s3.bucket()
    _set(s3, name, _allow(name, ["s3:GetObject"]))
    _set(s3, target, _allow(target, ["s3:PutObject"], Condition={"StringLike": {"s3:x-amz-copy-source": f"{name}/public/*"}}))
    s3.alt.client.copy_object(Bucket=target, Key="x", CopySource={"Bucket": name, "Key": "public/k"})
    fails(403, "AccessDenied", s3.alt.client.copy_object, Bucket=target, Key="x", CopySource={"Bucket": name, "Key": "private/k"})


def a_condition_that_is_not_known_is_refused(s3):
    name = s3.bucket()
    fails(400, "MalformedPolicy", _set, s3, name, _allow(name, "s3:GetObject", Condition={"SortOfEquals": {"aws:SourceIp": "x"}}))


def versions_have_actions_of_their_own(s3):
    name = s3.versioned()
    version = s3.put(name, "k", b"x")["VersionId"]
    _set(s3, name, _allow(name, "s3:GetObject"))
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k", VersionId=version)
    _set(s3, name, _allow(name, "s3:GetObjectVersion"))
    eq(s3.anyone.client.get_object(Bucket=name, Key="k", VersionId=version)["Body"].read(), b"x")


def an_upload_in_parts_is_a_put(s3):
    name = s3.bucket()
    _set(s3, name, _allow(name, "s3:PutObject"))
    other = s3.alt.client
    upload = other.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    part = other.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    other.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    eq(s3.body(name, "k"), b"x")
    fails(403, "AccessDenied", other.list_multipart_uploads, Bucket=name)


def the_state_of_a_policy_is_told(s3):
    name = s3.bucket()
    _set(s3, name, _allow(name, "s3:GetObject"))
    eq(s3.client.get_bucket_policy_status(Bucket=name)["PolicyStatus"]["IsPublic"], True)
    _set(s3, name, _allow(name, "s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))
    eq(s3.client.get_bucket_policy_status(Bucket=name)["PolicyStatus"]["IsPublic"], False)


def public_access_is_blocked(s3):
    name = s3.bucket("k")
    fails(404, "NoSuchPublicAccessBlockConfiguration", s3.client.get_public_access_block, Bucket=name)
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}
    s3.client.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    eq(s3.client.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"], block)
    fails(403, "AccessDenied", _set, s3, name, _allow(name, "s3:GetObject"))
    fails(403, "AccessDenied", s3.client.put_object_acl, Bucket=name, Key="k", ACL="public-read")
    s3.client.delete_public_access_block(Bucket=name)
    fails(404, "NoSuchPublicAccessBlockConfiguration", s3.client.get_public_access_block, Bucket=name)
    truth(status(_set(s3, name, _allow(name, "s3:GetObject"))) == 204, "it is not blocked any more")
