"""CORS: rules kept and told, what browsers are answered before they ask and when they do."""

from world import eq, fails, refused, status

RULES = [
    {
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://*.example.com", "http://exact.org"],
        "AllowedHeaders": ["x-amz-*", "content-type"],
        "ExposeHeaders": ["ETag", "x-amz-version-id"],
        "MaxAgeSeconds": 300,
    },
    {"AllowedMethods": ["DELETE"], "AllowedOrigins": ["*"]},
]


def _with_rules(s3, rules=RULES):
    name = s3.bucket("k")
    s3.client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": rules})
    return name


def rules_are_kept_told_and_taken_away(s3):
    name = s3.bucket()
    message = "The CORS configuration does not exist"
    fails(404, "NoSuchCORSConfiguration", s3.client.get_bucket_cors, Bucket=name, message=message)
    eq(status(s3.client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": RULES})), 200)
    eq(s3.client.get_bucket_cors(Bucket=name)["CORSRules"], RULES)
    eq(status(s3.client.delete_bucket_cors(Bucket=name)), 204)
    fails(404, "NoSuchCORSConfiguration", s3.client.get_bucket_cors, Bucket=name)


def rules_that_cannot_be_are_refused(s3):
    name = s3.bucket()
    for rule in ({"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}, {"AllowedMethods": ["GET"], "AllowedOrigins": ["a*b*c"]}):
        fails(400, "InvalidRequest", s3.client.put_bucket_cors, Bucket=name, CORSConfiguration={"CORSRules": [rule]})
    fails(400, "MalformedXML", s3.client.put_bucket_cors, Bucket=name, CORSConfiguration={"CORSRules": []})


def _before(s3, path, **headers):
    return s3.anyone.wire.send("OPTIONS", path, {name.replace("_", "-"): value for name, value in headers.items()})


def a_browser_is_told_before_it_asks(s3):
    name = _with_rules(s3)
    answer = _before(s3, f"/{name}/k", Origin="https://www.example.com", Access_Control_Request_Method="PUT", Access_Control_Request_Headers="x-amz-meta-a, Content-Type")
    eq(answer.status, 200)
    eq(answer.headers["Access-Control-Allow-Origin"], "https://www.example.com")
    eq({one.strip() for one in answer.headers["Access-Control-Allow-Methods"].split(",")}, {"GET", "PUT"})
    eq({one.strip() for one in answer.headers["Access-Control-Allow-Headers"].lower().split(",")}, {"x-amz-meta-a", "content-type"})
    eq({one.strip() for one in answer.headers["Access-Control-Expose-Headers"].split(",")}, {"ETag", "x-amz-version-id"})
    eq(answer.headers["Access-Control-Max-Age"], "300")
    eq(answer.headers["Access-Control-Allow-Credentials"], "true")


def an_origin_of_a_star_is_told_as_one(s3):
    name = _with_rules(s3)
    answer = _before(s3, f"/{name}/k", Origin="http://anything", Access_Control_Request_Method="DELETE")
    eq((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, "*"))


def what_no_rule_allows_is_refused(s3):
    name = _with_rules(s3)
    message = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
    for headers in (
        {"Origin": "http://evil.net", "Access_Control_Request_Method": "GET"},
        {"Origin": "https://example.com", "Access_Control_Request_Method": "GET"},
        {"Origin": "http://exact.org", "Access_Control_Request_Method": "POST"},
        {"Origin": "http://exact.org", "Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "x-other"},
    ):
        refused(_before(s3, f"/{name}/k", **headers), 403, "AccessForbidden", message)


def a_bucket_without_rules_allows_nothing(s3):
    name = s3.bucket()
    answer = _before(s3, f"/{name}/k", Origin="http://a.org", Access_Control_Request_Method="GET")
    refused(answer, 403, "AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")


def a_question_without_an_origin_is_refused(s3):
    name = _with_rules(s3)
    message = "Insufficient information. Origin request header needed."
    refused(_before(s3, f"/{name}/k", Access_Control_Request_Method="GET"), 400, "BadRequest", message)
    refused(_before(s3, f"/{name}/k", Origin="http://exact.org"), 400, "BadRequest")


def an_answer_carries_what_the_rules_say(s3):
    name = _with_rules(s3)
    answer = s3.wire.send("GET", f"/{name}/k", {"Origin": "http://exact.org"})
    eq((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, "http://exact.org"))
    eq(answer.headers["Vary"].split(",")[0].strip(), "Origin")
    answer = s3.wire.send("GET", f"/{name}/k", {"Origin": "http://evil.net"})
    eq((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, None))
    answer = s3.wire.send("GET", f"/{name}/k")
    eq(answer.headers["Access-Control-Allow-Origin"], None)


def an_error_carries_it_too(s3):
    name = _with_rules(s3)
    answer = s3.wire.send("GET", f"/{name}/absent", {"Origin": "http://exact.org"})
    eq((answer.status, answer.headers["Access-Control-Allow-Origin"]), (404, "http://exact.org"))
