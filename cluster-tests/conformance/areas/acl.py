"""Access control lists: the canned ones, of buckets and of objects."""

import collections
import threading

from botocore.exceptions import ClientError

from world import eq, error_of, fails, status, truth

ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


def _grants(answer):
    return sorted((grant["Grantee"].get("ID", grant["Grantee"].get("URI")), grant["Permission"]) for grant in answer["Grants"])


def what_is_made_is_private_to_its_owner(s3):
    name = s3.bucket("k")
    me = s3.client.list_buckets()["Owner"]["ID"]
    for answer in (s3.client.get_bucket_acl(Bucket=name), s3.client.get_object_acl(Bucket=name, Key="k")):
        eq((answer["Owner"]["ID"], _grants(answer)), (me, [(me, "FULL_CONTROL")]))
        eq(answer["Grants"][0]["Grantee"]["Type"], "CanonicalUser")


def a_bucket_is_opened_to_readers(s3):
    name = s3.bucket(ACL="public-read")
    me = s3.client.list_buckets()["Owner"]["ID"]
    eq(_grants(s3.client.get_bucket_acl(Bucket=name)), sorted([(me, "FULL_CONTROL"), (ALL, "READ")]))
    s3.put(name, "k", b"x")
    eq(s3.anyone.client.list_objects_v2(Bucket=name)["KeyCount"], 1)
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k")
    fails(403, "AccessDenied", s3.anyone.client.put_object, Bucket=name, Key="x", Body=b"")


def a_bucket_is_closed_again(s3):
    name = s3.bucket(ACL="public-read")
    eq(status(s3.client.put_bucket_acl(Bucket=name, ACL="private")), 200)
    fails(403, "AccessDenied", s3.anyone.client.list_objects_v2, Bucket=name)


def a_bucket_is_opened_to_writers(s3):
    name = s3.bucket(ACL="public-read-write")
    s3.anyone.client.put_object(Bucket=name, Key="k", Body=b"x")
    eq(s3.anyone.client.list_objects_v2(Bucket=name)["KeyCount"], 1)
    s3.anyone.client.delete_object(Bucket=name, Key="k")


def a_bucket_is_opened_to_all_who_have_a_key(s3):
    name = s3.bucket(ACL="authenticated-read")
    me = s3.client.list_buckets()["Owner"]["ID"]
    eq(_grants(s3.client.get_bucket_acl(Bucket=name)), sorted([(me, "FULL_CONTROL"), (AUTHENTICATED, "READ")]))
    fails(403, "AccessDenied", s3.anyone.client.list_objects_v2, Bucket=name)
    eq(s3.alt.client.list_objects_v2(Bucket=name)["KeyCount"], 0)


def an_object_is_opened_to_readers(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", ACL="public-read")
    eq(s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read(), b"x")
    fails(403, "AccessDenied", s3.anyone.client.list_objects_v2, Bucket=name)
    me = s3.client.list_buckets()["Owner"]["ID"]
    eq(_grants(s3.client.get_object_acl(Bucket=name, Key="k")), sorted([(me, "FULL_CONTROL"), (ALL, "READ")]))
    s3.client.put_object_acl(Bucket=name, Key="k", ACL="private")
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k")


def an_object_is_opened_to_all_who_have_a_key(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", ACL="authenticated-read")
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k")
    eq(s3.alt.client.get_object(Bucket=name, Key="k")["Body"].read(), b"x")


def a_put_without_a_list_makes_it_private_again(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", ACL="public-read")
    s3.put(name, "k", b"x")
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="k")


def a_copy_and_an_upload_have_lists_of_their_own(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", ACL="public-read")
    s3.client.copy_object(Bucket=name, Key="private", CopySource={"Bucket": name, "Key": "k"})
    fails(403, "AccessDenied", s3.anyone.client.get_object, Bucket=name, Key="private")
    s3.client.copy_object(Bucket=name, Key="public", CopySource={"Bucket": name, "Key": "k"}, ACL="public-read")
    eq(s3.anyone.client.get_object(Bucket=name, Key="public")["Body"].read(), b"x")
    upload = s3.client.create_multipart_upload(Bucket=name, Key="parts", ACL="public-read")["UploadId"]
    part = s3.client.upload_part(Bucket=name, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.client.complete_multipart_upload(Bucket=name, Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    eq(s3.anyone.client.get_object(Bucket=name, Key="parts")["Body"].read(), b"x")


def an_unknown_list_is_refused(s3):
    name = s3.bucket("k")
    fails(400, "InvalidArgument", s3.client.put_bucket_acl, Bucket=name, ACL="public-ready")
    fails(400, "InvalidArgument", s3.client.put_object_acl, Bucket=name, Key="k", ACL="public-ready")
    fails(400, "InvalidArgument", s3.client.create_bucket, Bucket=s3.name(), ACL="public-ready")


def a_list_of_what_is_not_there_is_missing_with_it(s3):
    name = s3.bucket()
    fails(404, "NoSuchKey", s3.client.get_object_acl, Bucket=name, Key="absent")
    fails(404, "NoSuchKey", s3.client.put_object_acl, Bucket=name, Key="absent", ACL="private")


def another_user_does_not_see_or_set_lists(s3):
    name = s3.bucket("k")
    fails(403, "AccessDenied", s3.alt.client.get_bucket_acl, Bucket=name)
    fails(403, "AccessDenied", s3.alt.client.put_bucket_acl, Bucket=name, ACL="public-read")
    fails(403, "AccessDenied", s3.alt.client.get_object_acl, Bucket=name, Key="k")


def a_list_in_full_is_taken_where_it_is_a_canned_one(s3):
    name = s3.bucket("k")
    acl = s3.client.get_object_acl(Bucket=name, Key="k")
    given = {"Owner": acl["Owner"], "Grants": acl["Grants"] + [{"Grantee": {"Type": "Group", "URI": ALL}, "Permission": "READ"}]}
    s3.client.put_object_acl(Bucket=name, Key="k", AccessControlPolicy=given)
    eq(s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")


def a_grant_to_another_user_lets_in(s3):
    name = s3.bucket("k")
    other = s3.alt.client.list_buckets()["Owner"]["ID"]
    s3.client.put_object_acl(Bucket=name, Key="k", GrantRead=f"id={other}")
    eq(s3.alt.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")
    truth((other, "READ") in _grants(s3.client.get_object_acl(Bucket=name, Key="k")), "it is told")


def a_bucket_whose_owner_enforces_has_no_lists(s3):
    name = s3.bucket("k")
    rule = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.client.put_bucket_ownership_controls(Bucket=name, OwnershipControls=rule)
    eq(s3.client.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"], rule)
    fails(400, "AccessControlListNotSupported", s3.client.put_bucket_acl, Bucket=name, ACL="public-read", message="The bucket does not allow ACLs")
    fails(400, "AccessControlListNotSupported", s3.client.put_object, Bucket=name, Key="k", Body=b"", ACL="public-read")


def what_is_private_is_not_shown_while_it_is_replaced(s3):
    name = s3.bucket()
    over, seen = threading.Event(), collections.Counter()

    def look():
        while not over.is_set():
            try:
                seen[s3.anyone.client.get_object(Bucket=name, Key="k")["Body"].read()] += 1
            except ClientError as error:
                seen[error_of(error)[0]] += 1

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(60):
            s3.put(name, "k", b"open", ACL="public-read")
            s3.put(name, "k", b"secret")
    finally:
        over.set()
        for looker in lookers:
            looker.join()
    truth(seen[b"secret"] == 0, f"it was shown: {seen}")
    truth(seen[b"open"] and seen[403], f"nobody looked in between: {seen}")
