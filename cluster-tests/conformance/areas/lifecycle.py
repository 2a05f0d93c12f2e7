"""Lifecycle rules: kept, told, refused; and what they say of an object."""

import datetime
import re

from world import eq, fails, header, status, truth


def _expire(days=1, prefix="logs/", name="rule1", state="Enabled", **more):
    return {"ID": name, "Expiration": {"Days": days}, "Filter": {"Prefix": prefix}, "Status": state, **more}


def _set(s3, name, *rules):
    return s3.client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": list(rules)})


def _refused(s3, code, *rules):
    fails(400, code, _set, s3, s3.bucket(), *rules)


def rules_are_kept_told_and_taken_away(s3):
    name = s3.bucket()
    message = "The lifecycle configuration does not exist"
    fails(404, "NoSuchLifecycleConfiguration", s3.client.get_bucket_lifecycle_configuration, Bucket=name, message=message)
    rules = [_expire(), _expire(2, "tmp/", "rule2", "Disabled")]
    eq(status(_set(s3, name, *rules)), 200)
    eq(s3.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"], rules)
    eq(status(s3.client.delete_bucket_lifecycle(Bucket=name)), 204)
    fails(404, "NoSuchLifecycleConfiguration", s3.client.get_bucket_lifecycle_configuration, Bucket=name)


def every_kind_of_rule_is_kept(s3):
    name = s3.bucket()
    tag = {"Key": "a", "Value": "1"}
    rules = [
        {"ID": "1", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"ID": "2", "Filter": {"Prefix": "a"}, "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 5}},
        {"ID": "3", "Filter": {"Prefix": "b"}, "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}},
        {"ID": "4", "Filter": {"Tag": tag}, "Status": "Enabled", "Expiration": {"Days": 3}},
        {"ID": "5", "Filter": {"And": {"Prefix": "c", "Tags": [tag, {"Key": "b", "Value": "2"}]}}, "Status": "Enabled", "Expiration": {"Days": 3}},
        {"ID": "6", "Filter": {"ObjectSizeGreaterThan": 2000}, "Status": "Enabled", "Expiration": {"Days": 3}},
        {"ID": "7", "Filter": {"And": {"ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}}, "Status": "Enabled", "Expiration": {"Days": 3}},
    ]
    _set(s3, name, *rules)
    eq(s3.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"], rules)


def a_rule_without_a_name_gets_one(s3):
    name = s3.bucket()
    _set(s3, name, {"Expiration": {"Days": 3}, "Filter": {"Prefix": "a"}, "Status": "Enabled"})
    truth(s3.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][0]["ID"], "it has no name")


def the_older_form_with_a_prefix_is_taken(s3):
    name = s3.bucket()
    rule = {"ID": "1", "Prefix": "a/", "Status": "Enabled", "Expiration": {"Days": 3}}
    _set(s3, name, rule)
    eq(s3.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"], [rule])


def a_date_is_a_midnight(s3):
    name = s3.bucket()
    date = datetime.datetime(2037, 9, 27, tzinfo=datetime.timezone.utc)
    _set(s3, name, {"ID": "1", "Filter": {"Prefix": "a"}, "Status": "Enabled", "Expiration": {"Date": date}})
    eq(s3.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][0]["Expiration"]["Date"], date)
    late = datetime.datetime(2037, 9, 27, 3, 4, tzinfo=datetime.timezone.utc)
    fails(400, "InvalidArgument", _set, s3, name, {"ID": "1", "Filter": {"Prefix": "a"}, "Status": "Enabled", "Expiration": {"Date": late}})


def names_of_rules_are_short_and_different(s3):
    _refused(s3, "InvalidArgument", _expire(name="x" * 256))
    _refused(s3, "InvalidArgument", _expire(), _expire(2, "other/"))


def a_status_is_enabled_or_disabled(s3):
    for state in ("enabled", "disabled", "invalid"):
        _refused(s3, "MalformedXML", _expire(state=state))


def days_are_at_least_one(s3):
    _refused(s3, "InvalidArgument", _expire(0))
    _refused(s3, "InvalidArgument", {"ID": "1", "Filter": {"Prefix": ""}, "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 0}})


def a_rule_has_to_do_something(s3):
    _refused(s3, ("MalformedXML", "InvalidRequest"), {"ID": "1", "Filter": {"Prefix": ""}, "Status": "Enabled"})
    _refused(s3, "MalformedXML")


def days_and_a_date_do_not_go_together(s3):
    date = datetime.datetime(2037, 9, 27, tzinfo=datetime.timezone.utc)
    _refused(s3, "MalformedXML", {"ID": "1", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"Days": 1, "Date": date}})


def an_object_says_when_it_expires(s3):
    name = s3.bucket()
    _set(s3, name, _expire(3, "logs/"))
    for answer in (s3.put(name, "logs/a", b"x"), s3.client.head_object(Bucket=name, Key="logs/a")):
        text = header(answer, "x-amz-expiration")
        found = re.fullmatch(r'expiry-date="(.+)", rule-id="rule1"', text or "")
        truth(found, f"{text!r}")
        date = datetime.datetime.strptime(found[1], "%a, %d %b %Y %H:%M:%S GMT")
        days = (date - datetime.datetime.utcnow()).total_seconds() / 86400
        truth(3 <= days + 0.01 <= 4.02, f"{days} days")
    truth(header(s3.put(name, "other", b"x"), "x-amz-expiration") is None, "no rule is about it")


def more_than_a_thousand_rules_are_refused(s3):
    _refused(s3, ("MalformedXML", "InvalidRequest"), *[_expire(prefix=f"{number}/", name=str(number)) for number in range(1001)])
