"""Listings in both forms: prefixes, delimiters, pages, markers, encodings."""

from world import eq, fails, refused, truth


def _keys(answer):
    return [one["Key"] for one in answer.get("Contents", [])]


def _prefixes(answer):
    return [one["Prefix"] for one in answer.get("CommonPrefixes", [])]


def _both(s3, name, keys, prefixes, **settings):
    """Both forms show this."""
    for verb in (s3.client.list_objects, s3.client.list_objects_v2):
        answer = verb(Bucket=name, **settings)
        eq((_keys(answer), _prefixes(answer)), (keys, prefixes), f"{settings}")
        eq(answer["IsTruncated"], False)


def an_empty_bucket_has_nothing_in_it(s3):
    name = s3.bucket()
    _both(s3, name, [], [])
    answer = s3.client.list_objects_v2(Bucket=name)
    eq((answer["KeyCount"], answer["MaxKeys"], answer["Name"], answer["Prefix"]), (0, 1000, name, ""))
    answer = s3.client.list_objects(Bucket=name)
    eq((answer["MaxKeys"], answer["Name"], answer["Prefix"], answer["Marker"]), (1000, name, "", ""))


def keys_are_in_the_order_of_their_bytes(s3):
    keys = ["B", "a", "b", "a/", "a b", "Z", "ä", "\U0001f600", "\uffee", "1", "10", "2"]
    _both(s3, s3.bucket(*keys), sorted(keys, key=str.encode), [])


def a_delimiter_rolls_up(s3):
    name = s3.bucket("foo/bar", "foo/baz/xyzzy", "quux/thud", "asdf")
    _both(s3, name, ["asdf"], ["foo/", "quux/"], Delimiter="/")
    eq(s3.client.list_objects_v2(Bucket=name, Delimiter="/")["KeyCount"], 3)
    eq(s3.client.list_objects(Bucket=name, Delimiter="/")["Delimiter"], "/")


def a_delimiter_after_a_prefix_rolls_up_what_follows(s3):
    name = s3.bucket("a/b/c", "a/b/d", "a/e", "a/", "f")
    _both(s3, name, ["a/", "a/e"], ["a/b/"], Delimiter="/", Prefix="a/")
    _both(s3, name, [], ["a/"], Delimiter="/", Prefix="a")


def any_character_is_a_delimiter(s3):
    for one in ("a", "%", " ", ".", "+", "&", "ä"):
        name = s3.bucket(f"b{one}r", f"b{one}z", f"c{one}b", "foo")
        _both(s3, name, ["foo"], [f"b{one}", f"c{one}"], Delimiter=one)


def a_delimiter_may_be_long(s3):
    name = s3.bucket("a--b", "a--c", "a-d", "--", "e")
    _both(s3, name, ["a-d", "e"], ["--", "a--"], Delimiter="--")


def a_delimiter_that_is_not_printable_is_one(s3):
    _both(s3, s3.bucket("bar", "foo"), ["bar", "foo"], [], Delimiter="\n")


def an_empty_delimiter_is_none(s3):
    name = s3.bucket("a/b", "c")
    _both(s3, name, ["a/b", "c"], [], Delimiter="")
    truth("Delimiter" not in s3.client.list_objects(Bucket=name, Delimiter=""), "it tells an empty delimiter")


def a_delimiter_that_is_in_no_key_rolls_nothing_up(s3):
    _both(s3, s3.bucket("a", "b"), ["a", "b"], [], Delimiter="/")


def a_key_that_is_its_own_prefix_is_shown(s3):
    _both(s3, s3.bucket("asdf/"), ["asdf/"], [], Delimiter="/", Prefix="asdf/")


def prefixes_choose(s3):
    name = s3.bucket("foo/bar", "foo/baz", "quux")
    _both(s3, name, ["foo/bar", "foo/baz"], [], Prefix="foo/")
    _both(s3, name, ["foo/bar", "foo/baz", "quux"], [], Prefix="")
    _both(s3, name, [], [], Prefix="d")
    _both(s3, name, [], [], Prefix="\n")
    _both(s3, name, [], [], Prefix="d", Delimiter="/")
    eq(s3.client.list_objects_v2(Bucket=name, Prefix="foo/")["Prefix"], "foo/")


def _page(s3, name, wanted, **settings):
    """A page of the first form: keys, prefixes, whether there is more."""
    answer = s3.client.list_objects(Bucket=name, **settings)
    eq((_keys(answer), _prefixes(answer), answer["IsTruncated"]), wanted, f"{settings}")
    return answer.get("NextMarker")


def pages_of_the_first_form_go_on_after_a_prefix(s3):
    name = s3.bucket("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla")
    marker = _page(s3, name, (["asdf"], [], True), Delimiter="/", MaxKeys=1)
    eq(marker, "asdf")
    marker = _page(s3, name, ([], ["boo/"], True), Delimiter="/", MaxKeys=1, Marker=marker)
    eq(marker, "boo/")
    eq(_page(s3, name, ([], ["cquux/"], False), Delimiter="/", MaxKeys=1, Marker=marker), None)
    eq(_page(s3, name, (["asdf"], ["boo/"], True), Delimiter="/", MaxKeys=2), "boo/")
    marker = _page(s3, name, (["boo/bar"], [], True), Delimiter="/", MaxKeys=1, Prefix="boo/")
    eq(_page(s3, name, ([], ["boo/baz/"], False), Delimiter="/", MaxKeys=1, Prefix="boo/", Marker=marker), None)


def pages_of_the_second_form_go_on_after_a_prefix(s3):
    name = s3.bucket("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla")
    found, token = [], {}
    while True:
        answer = s3.client.list_objects_v2(Bucket=name, Delimiter="/", MaxKeys=1, **token)
        eq((answer["KeyCount"], answer["MaxKeys"]), (1, 1))
        found += _keys(answer) + _prefixes(answer)
        if not answer["IsTruncated"]:
            truth("NextContinuationToken" not in answer, "the last page has a token")
            break
        token = {"ContinuationToken": answer["NextContinuationToken"]}
    eq(found, ["asdf", "boo/", "cquux/"])


def a_page_tells_the_token_that_it_was_asked_for(s3):
    name = s3.bucket("a", "b")
    token = s3.client.list_objects_v2(Bucket=name, MaxKeys=1)["NextContinuationToken"]
    answer = s3.client.list_objects_v2(Bucket=name, ContinuationToken=token)
    eq((_keys(answer), answer["ContinuationToken"]), (["b"], token))


def an_empty_token_begins_at_the_beginning(s3):
    answer = s3.client.list_objects_v2(Bucket=s3.bucket("a", "b"), ContinuationToken="")
    eq((_keys(answer), answer["ContinuationToken"]), (["a", "b"], ""))


def a_token_that_is_none_is_refused(s3):
    message = "The continuation token provided is incorrect"
    fails(400, "InvalidArgument", s3.client.list_objects_v2, Bucket=s3.bucket("a"), ContinuationToken="no token!", message=message)


def a_token_goes_before_start_after(s3):
    name = s3.bucket("a", "b", "c", "d")
    answer = s3.client.list_objects_v2(Bucket=name, StartAfter="a", MaxKeys=1)
    eq((_keys(answer), answer["StartAfter"]), (["b"], "a"))
    answer = s3.client.list_objects_v2(Bucket=name, StartAfter="a", ContinuationToken=answer["NextContinuationToken"])
    eq((_keys(answer), answer["StartAfter"]), (["c", "d"], "a"))


def start_after_need_not_be_a_key(s3):
    name = s3.bucket("bar", "baz", "foo", "quxx")
    for after, keys in (("blah", ["foo", "quxx"]), ("zzz", []), ("", ["bar", "baz", "foo", "quxx"]), ("\n", ["bar", "baz", "foo", "quxx"])):
        answer = s3.client.list_objects_v2(Bucket=name, StartAfter=after)
        eq((_keys(answer), answer["IsTruncated"]), (keys, False), after)


def a_marker_need_not_be_a_key(s3):
    name = s3.bucket("bar", "baz", "foo", "quxx")
    for marker, keys in (("blah", ["foo", "quxx"]), ("zzz", []), ("", ["bar", "baz", "foo", "quxx"]), ("\n", ["bar", "baz", "foo", "quxx"])):
        answer = s3.client.list_objects(Bucket=name, Marker=marker)
        eq((_keys(answer), answer["Marker"], answer["IsTruncated"]), (keys, marker, False), marker)


def a_page_has_as_many_as_were_asked_for(s3):
    name = s3.bucket("a", "b", "c")
    for verb in (s3.client.list_objects, s3.client.list_objects_v2):
        answer = verb(Bucket=name, MaxKeys=2)
        eq((_keys(answer), answer["IsTruncated"], answer["MaxKeys"]), (["a", "b"], True, 2))
        answer = verb(Bucket=name, MaxKeys=3)
        eq((_keys(answer), answer["IsTruncated"]), (["a", "b", "c"], False))


def a_page_of_none_is_not_truncated(s3):
    name = s3.bucket("a")
    for verb in (s3.client.list_objects, s3.client.list_objects_v2):
        answer = verb(Bucket=name, MaxKeys=0)
        eq((_keys(answer), answer["IsTruncated"], answer["MaxKeys"]), ([], False, 0))


def a_page_that_is_too_long_is_cut(s3):
    eq(s3.client.list_objects_v2(Bucket=s3.bucket("a"), MaxKeys=100_000)["MaxKeys"], 1000)


def a_length_of_a_page_that_is_none_is_refused(s3):
    name = s3.bucket("a")
    for text in ("blah", "-1", "1.5", "99999999999"):
        for form in ("", "list-type=2&"):
            refused(s3.wire.send("GET", f"/{name}?{form}max-keys={text}"), 400, "InvalidArgument")


def more_than_a_thousand_are_listed_in_pages(s3):
    import concurrent.futures

    name, keys = s3.bucket(), [f"{number:04}" for number in range(1003)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: s3.put(name, key), keys))
    answer = s3.client.list_objects_v2(Bucket=name)
    eq((answer["KeyCount"], answer["IsTruncated"]), (1000, True))
    answer = s3.client.list_objects_v2(Bucket=name, ContinuationToken=answer["NextContinuationToken"])
    eq((_keys(answer), answer["IsTruncated"]), (keys[1000:], False))
    eq(s3.client.list_objects(Bucket=name, Marker="0999")["Contents"][0]["Key"], "1000")
    s3.client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in keys[:1000]]})


def names_are_encoded_where_that_is_asked_for(s3):
    name = s3.bucket("foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b")
    for form in ("", "list-type=2&"):
        answer = s3.wire.send("GET", f"/{name}?{form}encoding-type=url&delimiter=%2F").xml()
        eq([one.text for one in answer.findall("Contents/Key")], ["asdf%2Bb"])
        eq([one.text for one in answer.findall("CommonPrefixes/Prefix")], ["foo%2B1/", "foo/", "quux%20ab/"])
        eq((answer.find("EncodingType").text, answer.find("Delimiter").text), ("url", "/"))


def an_unknown_encoding_is_refused(s3):
    fails(400, "InvalidArgument", s3.client.list_objects_v2, Bucket=s3.bucket(), EncodingType="rot13", message="Invalid Encoding Method specified in Request")


def an_entry_tells_what_the_head_tells(s3):
    name = s3.bucket("a", "longer")
    for entry in s3.client.list_objects(Bucket=name)["Contents"]:
        head = s3.client.head_object(Bucket=name, Key=entry["Key"])
        eq((entry["ETag"], entry["Size"], entry["StorageClass"]), (head["ETag"], head["ContentLength"], "STANDARD"))
        truth(abs((entry["LastModified"] - head["LastModified"]).total_seconds()) < 1, "another time")


def the_owner_is_told_by_the_first_form_and_on_demand_by_the_second(s3):
    name = s3.bucket("a")
    me = s3.client.list_buckets()["Owner"]["ID"]
    eq(s3.client.list_objects(Bucket=name)["Contents"][0]["Owner"]["ID"], me)
    eq(s3.client.list_objects_v2(Bucket=name, FetchOwner=True)["Contents"][0]["Owner"]["ID"], me)
    truth("Owner" not in s3.client.list_objects_v2(Bucket=name)["Contents"][0], "it was not asked for")


def a_listing_sees_every_put_and_delete_before_it(s3):
    name = s3.bucket()
    for number in range(10):
        s3.put(name, f"k{number}")
        eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], number + 1)
    for number in range(10):
        s3.client.delete_object(Bucket=name, Key=f"k{number}")
        eq(s3.client.list_objects_v2(Bucket=name)["KeyCount"], 9 - number)


def checksums_of_entries_are_named(s3):
    name = s3.bucket()
    s3.put(name, "k", b"x", ChecksumAlgorithm="SHA256")
    eq(s3.client.list_objects_v2(Bucket=name)["Contents"][0].get("ChecksumAlgorithm"), ["SHA256"])


def prefixes_count_as_entries_of_a_page(s3):
    name = s3.bucket("a/1", "a/2", "b/1", "c/1", "d")
    answer = s3.client.list_objects_v2(Bucket=name, Delimiter="/", MaxKeys=3)
    eq((_prefixes(answer), _keys(answer), answer["KeyCount"], answer["IsTruncated"]), (["a/", "b/", "c/"], [], 3, True))
    answer = s3.client.list_objects_v2(Bucket=name, Delimiter="/", MaxKeys=3, ContinuationToken=answer["NextContinuationToken"])
    eq((_prefixes(answer), _keys(answer), answer["IsTruncated"]), ([], ["d"], False))


def start_after_inside_of_a_prefix_still_shows_it(s3):
    name = s3.bucket("a/1", "a/2", "b")
    answer = s3.client.list_objects_v2(Bucket=name, Delimiter="/", StartAfter="a/1")
    eq((_prefixes(answer), _keys(answer)), (["a/"], ["b"]))
