"""Buckets: their names, their making and removal, and who is told what of them."""

from world import eq, fails, header, refused, status, truth

MISSING = "The specified bucket does not exist"


def a_new_bucket_is_there_and_its_location_is_told(s3):
    name = s3.name()
    answer = s3.client.create_bucket(Bucket=name)
    eq((status(answer), answer["Location"]), (200, f"/{name}"))
    eq(status(s3.client.head_bucket(Bucket=name)), 200)


def making_a_bucket_again_in_us_east_1_is_no_error_and_changes_nothing(s3):
    name = s3.bucket("kept")
    eq(status(s3.client.create_bucket(Bucket=name)), 200)
    eq(s3.body(name, "kept"), b"kept")


def a_bucket_of_another_user_cannot_be_made_again(s3):
    name = s3.bucket()
    fails(409, "BucketAlreadyExists", s3.alt.client.create_bucket, Bucket=name)


def a_bucket_in_an_unknown_location_is_refused(s3):
    fails(
        400,
        ("InvalidLocationConstraint", "IllegalLocationConstraintException"),
        s3.client.create_bucket,
        Bucket=s3.name(),
        CreateBucketConfiguration={"LocationConstraint": "nowhere-9"},
    )


def a_bucket_with_an_empty_body_of_its_request_is_made(s3):
    name = s3.name()
    eq(s3.wire.send("PUT", f"/{name}").status, 200)
    eq(s3.wire.send("HEAD", f"/{name}").status, 200)


def a_bucket_without_a_content_length_is_made(s3):
    eq(s3.wire.send("PUT", f"/{s3.name()}", skip=["content-length"]).status, 200)


def a_bucket_with_a_body_that_is_no_xml_is_refused(s3):
    refused(s3.wire.send("PUT", f"/{s3.name()}", body=b"<Create"), 400, "MalformedXML")


def _name_is_refused(s3, name):
    path = "/" + name.replace(" ", "%20")
    refused(s3.wire.send("PUT", path), 400, "InvalidBucketName", "The specified bucket is not valid.")


def names_of_less_than_three_characters_are_refused(s3):
    for name in ("a", "ab"):
        _name_is_refused(s3, name)


def names_of_more_than_63_characters_are_refused(s3):
    for length in (64, 200):
        _name_is_refused(s3, "a" * length)


def a_name_of_63_characters_is_taken(s3):
    name = s3.name()
    name = name + "x" * (63 - len(name))
    s3.buckets.append(name)
    s3.client.create_bucket(Bucket=name)
    s3.put(name, "k", "v")
    eq(s3.body(name, "k"), b"v")


def names_with_capitals_underscores_and_spaces_are_refused(s3):
    for name in ("Capital", "under_score", "sp ace", "ex!clamation", "als*o"):
        _name_is_refused(s3, name)


def names_that_begin_or_end_with_a_dash_or_a_dot_are_refused(s3):
    for name in ("-begins", "ends-", ".begins", "ends."):
        _name_is_refused(s3, name)


def names_with_two_dots_beside_each_other_are_refused(s3):
    _name_is_refused(s3, "two..dots")


def names_with_a_dash_beside_a_dot_are_refused(s3):
    for name in ("foo.-bar", "foo-.bar"):
        _name_is_refused(s3, name)


def all_buckets_at_once_are_only_listed(s3):
    for method in ("PUT", "DELETE"):
        refused(s3.wire.send(method, "/"), 405, "MethodNotAllowed")


def names_that_look_like_addresses_are_refused(s3):
    for name in ("192.168.5.123", "10.0.0.1"):
        _name_is_refused(s3, name)


def names_that_s3_keeps_for_itself_are_refused(s3):
    for name in ("xn--bucket", "bucket-s3alias", "sthree-bucket"):
        _name_is_refused(s3, name)


def names_with_dots_and_dashes_are_taken(s3):
    for middle in (".", "-", "a-.b"[:2], "0"):
        name = s3.name() + middle + "1x"
        s3.buckets.append(name)
        eq(status(s3.client.create_bucket(Bucket=name)), 200, name)


def a_name_that_begins_with_a_digit_is_taken(s3):
    name = "0" + s3.name()
    s3.buckets.append(name)
    eq(status(s3.client.create_bucket(Bucket=name)), 200)


def an_empty_bucket_is_removed_and_gone(s3):
    name = s3.bucket()
    eq(status(s3.client.delete_bucket(Bucket=name)), 204)
    fails(404, "NoSuchBucket", s3.client.list_objects_v2, Bucket=name, message=MISSING)
    truth(name not in [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]], "it is still listed")


def a_bucket_with_an_object_is_not_removed(s3):
    name = s3.bucket("k")
    fails(409, "BucketNotEmpty", s3.client.delete_bucket, Bucket=name, message="The bucket you tried to delete is not empty")
    eq(s3.body(name, "k"), b"k")


def a_bucket_that_is_not_there_cannot_be_removed(s3):
    fails(404, "NoSuchBucket", s3.client.delete_bucket, Bucket=s3.name(), message=MISSING)


def a_bucket_with_an_upload_under_way_is_removed(s3):
    name = s3.bucket()
    s3.client.create_multipart_upload(Bucket=name, Key="k")
    eq(status(s3.client.delete_bucket(Bucket=name)), 204)


def a_name_can_be_used_again_after_its_bucket_was_removed(s3):
    name = s3.bucket("old")
    s3.client.delete_object(Bucket=name, Key="old")
    s3.client.delete_bucket(Bucket=name)
    s3.client.create_bucket(Bucket=name)
    eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 0)


def a_missing_bucket_has_a_head_of_404_without_a_body(s3):
    fails(404, "404", s3.client.head_bucket, Bucket=s3.name())
    answer = s3.wire.send("HEAD", f"/{s3.name()}")
    eq((answer.status, answer.body), (404, b""))


def every_verb_on_a_missing_bucket_says_so(s3):
    name, call = s3.name(), s3.client
    for verb, settings in (
        (call.list_objects, {}),
        (call.list_objects_v2, {}),
        (call.list_multipart_uploads, {}),
        (call.get_bucket_location, {}),
        (call.put_object, {"Key": "k", "Body": b""}),
        (call.get_object, {"Key": "k"}),
        (call.delete_object, {"Key": "k"}),
        (call.create_multipart_upload, {"Key": "k"}),
        (call.get_object_tagging, {"Key": "k"}),
        (call.delete_objects, {"Delete": {"Objects": [{"Key": "k"}]}}),
    ):
        fails(404, "NoSuchBucket", verb, Bucket=name, message=MISSING, **settings)


def the_settings_of_a_missing_bucket_are_missing_with_it(s3):
    name, call = s3.name(), s3.client
    for verb in (
        call.get_bucket_versioning,
        call.get_bucket_acl,
        call.get_bucket_policy,
        call.get_bucket_cors,
        call.get_bucket_tagging,
        call.get_bucket_lifecycle_configuration,
        call.list_object_versions,
    ):
        fails(404, "NoSuchBucket", verb, Bucket=name)


def an_error_names_the_bucket_and_the_request(s3):
    name = s3.name()
    answer = refused(s3.wire.send("GET", f"/{name}?list-type=2"), 404, "NoSuchBucket", MISSING)
    eq(answer.text("BucketName"), name, "BucketName")
    truth(answer.text("RequestId"), "an error has a RequestId")
    truth(answer.text("HostId") is not None, "an error has a HostId")
    eq(answer.headers["Content-Type"], "application/xml")


def answers_carry_a_request_id(s3):
    name = s3.bucket()
    for answer in (s3.wire.send("GET", f"/{name}"), s3.wire.send("HEAD", f"/{name}"), s3.wire.send("GET", f"/{name}/absent")):
        truth(answer.headers["x-amz-request-id"], f"{answer!r} has none")


def request_ids_differ(s3):
    name = s3.bucket()
    ids = {header(s3.client.head_bucket(Bucket=name), "x-amz-request-id") for _ in range(3)}
    eq(len(ids), 3)


def the_head_of_a_bucket_names_its_region(s3):
    eq(header(s3.client.head_bucket(Bucket=s3.bucket()), "x-amz-bucket-region"), s3.server.region)


def the_location_of_us_east_1_is_empty(s3):
    answer = s3.wire.send("GET", f"/{s3.bucket()}?location")
    eq((answer.status, answer.xml().tag, answer.xml().text or ""), (200, "LocationConstraint", ""))


def all_buckets_are_listed_with_their_owner_and_a_date_of_today(s3):
    names = {s3.bucket(), s3.bucket()}
    answer = s3.client.list_buckets()
    found = {bucket["Name"]: bucket for bucket in answer["Buckets"]}
    truth(names <= set(found), "not all are there")
    truth(answer["Owner"]["ID"], "no owner")
    import datetime

    age = datetime.datetime.now(datetime.timezone.utc) - found[min(names)]["CreationDate"]
    truth(abs(age.total_seconds()) < 600, f"made {age} ago")


def buckets_are_listed_in_order(s3):
    [s3.bucket() for _ in range(3)]
    names = [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]]
    eq(names, sorted(names))


def buckets_are_listed_in_pages(s3):
    wanted = sorted(s3.bucket() for _ in range(3))
    prefix = wanted[0].rsplit("-", 1)[0]
    found, token = [], {}
    while True:
        page = s3.client.list_buckets(MaxBuckets=2, Prefix=prefix, **token)
        truth(len(page["Buckets"]) <= 2, "a page is too long")
        found += [bucket["Name"] for bucket in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    truth(set(wanted) <= set(found), f"{wanted} in {found}")
    eq(len(found), len(set(found)), "each once")


def buckets_are_listed_by_prefix(s3):
    name = s3.bucket()
    eq([bucket["Name"] for bucket in s3.client.list_buckets(Prefix=name)["Buckets"]], [name])


def a_page_of_buckets_has_a_size_that_can_be(s3):
    for size in (0, 10001, -1):
        fails(400, "InvalidArgument", s3.client.list_buckets, MaxBuckets=size)


def users_see_their_own_buckets_only(s3):
    name = s3.bucket()
    truth(name not in [bucket["Name"] for bucket in s3.alt.client.list_buckets()["Buckets"]], "another one sees it")


def nobody_lists_no_buckets(s3):
    fails(403, "AccessDenied", s3.anyone.client.list_buckets)


def nobody_sees_a_bucket_that_is_private(s3):
    name = s3.bucket("k")
    fails(403, "AccessDenied", s3.anyone.client.list_objects_v2, Bucket=name, message="Access Denied")
    fails(403, "403", s3.anyone.client.head_bucket, Bucket=name)


def another_user_does_nothing_in_a_bucket_that_is_private(s3):
    name, other = s3.bucket("k"), s3.alt.client
    fails(403, "AccessDenied", other.list_objects_v2, Bucket=name)
    fails(403, "403", other.head_bucket, Bucket=name)
    fails(403, "AccessDenied", other.get_object, Bucket=name, Key="k")
    fails(403, "AccessDenied", other.put_object, Bucket=name, Key="k", Body=b"")
    fails(403, "AccessDenied", other.delete_object, Bucket=name, Key="k")
    fails(403, "AccessDenied", other.delete_bucket, Bucket=name)


def a_bucket_of_somebody_else_than_was_expected_is_not_touched(s3):
    name = s3.bucket("k")
    fails(403, "AccessDenied", s3.client.get_object, Bucket=name, Key="k", ExpectedBucketOwner="123456789012")


def a_bucket_that_two_make_at_once_is_made(s3):
    import concurrent.futures

    name = s3.name()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(s3.client.create_bucket, Bucket=name) for _ in range(4)]
        eq([status(answer.result()) for answer in answers], [200] * 4)
    eq(status(s3.client.head_bucket(Bucket=name)), 200)
