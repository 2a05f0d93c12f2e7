"""Notifications: whom a bucket's events are told to. What is told is shown by the process tests: here nobody listens."""

from world import NotSupported, eq, fails, status

PUT = ["s3:ObjectCreated:Put"]


def _arn(s3):
    if s3.server.target is None:
        raise NotSupported("there is nobody to be told")
    return s3.server.target


def _set(s3, name, *queues):
    return s3.client.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"QueueConfigurations": list(queues)})


def _get(s3, name):
    answer = s3.client.get_bucket_notification_configuration(Bucket=name)
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _refused(s3, name, *queues):
    fails(400, "InvalidArgument", _set, s3, name, *queues)


def a_bucket_without_notifications_says_so(s3):
    eq(_get(s3, s3.bucket()), {})


def rules_are_kept_and_told(s3):
    name, arn = s3.bucket(), _arn(s3)
    key = {"FilterRules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}
    rules = [
        {"Id": "images", "QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": key}},
        {"Id": "gone", "QueueArn": arn, "Events": ["s3:ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated"]},
    ]
    eq(status(_set(s3, name, *rules)), 200)
    eq(_get(s3, name)["QueueConfigurations"], rules)


def a_rule_without_a_name_gets_one(s3):
    name = s3.bucket()
    _set(s3, name, {"QueueArn": _arn(s3), "Events": PUT})
    [rule] = _get(s3, name)["QueueConfigurations"]
    eq(bool(rule["Id"]), True)


def rules_are_replaced_and_taken_away_as_a_whole(s3):
    name, arn = s3.bucket(), _arn(s3)
    _set(s3, name, {"Id": "a", "QueueArn": arn, "Events": PUT})
    _set(s3, name, {"Id": "b", "QueueArn": arn, "Events": PUT})
    eq([rule["Id"] for rule in _get(s3, name)["QueueConfigurations"]], ["b"])
    eq(status(s3.client.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={})), 200)
    eq(_get(s3, name), {})


def nobody_can_be_told_who_was_not_made_known(s3):
    name = s3.bucket()
    for arn in ("arn:aws:sqs:us-east-1:444455556666:queue", "arn:minio:sqs::nobody:webhook", "http://127.0.0.1/"):
        _refused(s3, name, {"QueueArn": arn, "Events": PUT})
    topics = {"TopicConfigurations": [{"TopicArn": "arn:aws:sns:us-east-1:444455556666:topic", "Events": PUT}]}
    fails(400, "InvalidArgument", s3.client.put_bucket_notification_configuration, Bucket=name, NotificationConfiguration=topics)


def rules_that_cannot_be_are_refused(s3):
    name, arn = s3.bucket(), _arn(s3)
    for event in ("s3:ObjectCreated", "s3:*", "s3:Never:*", "ObjectCreated:Put"):
        _refused(s3, name, {"QueueArn": arn, "Events": [event]})
    for names in (["infix"], ["prefix", "prefix"]):
        key = {"FilterRules": [{"Name": one, "Value": "x"} for one in names]}
        _refused(s3, name, {"QueueArn": arn, "Events": PUT, "Filter": {"Key": key}})
    _refused(s3, name, {"QueueArn": arn, "Events": PUT}, {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]})
    eq(_get(s3, name), {})


def rules_of_nothing_are_not_there(s3):
    name = s3.name()
    fails(404, "NoSuchBucket", s3.client.get_bucket_notification_configuration, Bucket=name)
    fails(404, "NoSuchBucket", s3.client.put_bucket_notification_configuration, Bucket=name, NotificationConfiguration={})


def others_may_neither_see_nor_set_them(s3):
    name = s3.bucket()
    fails(403, "AccessDenied", s3.alt.client.get_bucket_notification_configuration, Bucket=name)
    fails(403, "AccessDenied", s3.alt.client.put_bucket_notification_configuration, Bucket=name, NotificationConfiguration={})
