"""Tags of objects and of buckets."""

from world import eq, fails, status, truth


def _tags(**tags):
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


def tags_of_an_object_are_set_told_and_taken_away(s3):
    name = s3.bucket("k")
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], [])
    s3.client.put_object_tagging(Bucket=name, Key="k", Tagging=_tags(a="1", b="two words"))
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], _tags(a="1", b="two words")["TagSet"])
    s3.client.put_object_tagging(Bucket=name, Key="k", Tagging=_tags(c="3"))
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], _tags(c="3")["TagSet"])
    eq(status(s3.client.delete_object_tagging(Bucket=name, Key="k")), 204)
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], [])
    eq(s3.body(name, "k"), b"k")


def tags_of_what_is_not_there_are_missing_with_it(s3):
    name = s3.bucket()
    fails(404, "NoSuchKey", s3.client.get_object_tagging, Bucket=name, Key="absent")
    fails(404, "NoSuchKey", s3.client.put_object_tagging, Bucket=name, Key="absent", Tagging=_tags(a="1"))


def ten_tags_are_taken_and_one_more_is_refused(s3):
    name = s3.bucket("k")
    s3.client.put_object_tagging(Bucket=name, Key="k", Tagging=_tags(**{f"k{number}": "v" for number in range(10)}))
    message = "Object tags cannot be greater than 10"
    fails(400, "BadRequest", s3.client.put_object_tagging, Bucket=name, Key="k",
          Tagging=_tags(**{f"k{number}": "v" for number in range(11)}), message=message)  # fmt: skip
    eq(len(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"]), 10)


def keys_and_values_have_lengths(s3):
    name = s3.bucket("k")
    s3.client.put_object_tagging(Bucket=name, Key="k", Tagging=_tags(**{"k" * 128: "v" * 256}))
    for tags in (_tags(**{"k" * 129: "v"}), _tags(k="v" * 257), _tags(**{"": "v"})):
        fails(400, "InvalidTag", s3.client.put_object_tagging, Bucket=name, Key="k", Tagging=tags)


def a_key_twice_is_refused(s3):
    tags = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    fails(400, "InvalidTag", s3.client.put_object_tagging, Bucket=s3.bucket("k"), Key="k", Tagging=tags, message="Cannot provide multiple Tags with the same key")


def tags_of_amazon_are_refused(s3):
    fails(400, "InvalidTag", s3.client.put_object_tagging, Bucket=s3.bucket("k"), Key="k", Tagging=_tags(**{"aws:a": "1"}))


def tags_come_with_a_put_and_are_counted(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", Tagging="foo=bar&bar&x=a%20b")
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], _tags(foo="bar", bar="", x="a b")["TagSet"])
    eq(s3.client.get_object(Bucket=name, Key="k")["TagCount"], 3)
    s3.put(name, "k", b"x")
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], [])


def tags_of_an_upload_are_those_of_its_object(s3):
    name = s3.bucket()
    upload = s3.client.create_multipart_upload(Bucket=name, Key="k", Tagging="a=1")["UploadId"]
    part = s3.client.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.client.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    eq(s3.client.get_object_tagging(Bucket=name, Key="k")["TagSet"], _tags(a="1")["TagSet"])


def a_copy_keeps_the_tags_or_gets_others(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", Tagging="a=1")
    source = {"Bucket": name, "Key": "k"}
    s3.client.copy_object(Bucket=name, Key="same", CopySource=source)
    eq(s3.client.get_object_tagging(Bucket=name, Key="same")["TagSet"], _tags(a="1")["TagSet"])
    s3.client.copy_object(Bucket=name, Key="other", CopySource=source, TaggingDirective="REPLACE", Tagging="b=2")
    eq(s3.client.get_object_tagging(Bucket=name, Key="other")["TagSet"], _tags(b="2")["TagSet"])


def tags_that_are_no_query_are_refused(s3):
    fails(400, "InvalidArgument", s3.client.put_object, Bucket=s3.bucket(), Key="k", Body=b"", Tagging="a=%zz")


def tags_of_a_bucket_are_set_told_and_taken_away(s3):
    name = s3.bucket()
    fails(404, "NoSuchTagSet", s3.client.get_bucket_tagging, Bucket=name, message="The TagSet does not exist")
    truth(status(s3.client.put_bucket_tagging(Bucket=name, Tagging=_tags(Hello="World"))) in (200, 204), "it is done")
    eq(s3.client.get_bucket_tagging(Bucket=name)["TagSet"], _tags(Hello="World")["TagSet"])
    eq(status(s3.client.delete_bucket_tagging(Bucket=name)), 204)
    fails(404, "NoSuchTagSet", s3.client.get_bucket_tagging, Bucket=name)


def a_bucket_has_fifty_tags_at_most(s3):
    name = s3.bucket()
    s3.client.put_bucket_tagging(Bucket=name, Tagging=_tags(**{f"k{number}": "v" for number in range(50)}))
    truth(len(s3.client.get_bucket_tagging(Bucket=name)["TagSet"]) == 50, "not all are there")
    fails(400, ("BadRequest", "InvalidTag"), s3.client.put_bucket_tagging, Bucket=name, Tagging=_tags(**{f"k{number}": "v" for number in range(51)}))
