"""Temporary keys, and nobody."""

from world import eq, fails, refused, status, truth


def _session(s3, **settings):
    from world import User

    sts = s3.main.make("sts")
    answer = sts.assume_role(RoleArn="arn:aws:iam:::role/any", RoleSessionName="session", **settings)["Credentials"]
    return User(s3.server.endpoint, s3.server.region, (answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])), answer


def temporary_keys_do_what_their_user_does(s3):
    name = s3.bucket("k")
    user, told = _session(s3)
    eq(user.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")
    eq(status(user.client.put_object(Bucket=name, Key="x", Body=b"x")), 200)
    truth(told["Expiration"], "they end")


def temporary_keys_without_their_token_are_refused(s3):
    from world import User

    name = s3.bucket("k")
    _, told = _session(s3)
    bare = User(s3.server.endpoint, s3.server.region, (told["AccessKeyId"], told["SecretAccessKey"]))
    fails(403, "InvalidAccessKeyId", bare.client.get_object, Bucket=name, Key="k")
    other = User(s3.server.endpoint, s3.server.region, (told["AccessKeyId"], told["SecretAccessKey"], "no token"))
    fails(400, "InvalidToken", other.client.get_object, Bucket=name, Key="k")


def temporary_keys_can_do_less(s3):
    from wire import policy

    name = s3.bucket("k")
    user, _ = _session(s3, Policy=policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}))
    eq(user.client.get_object(Bucket=name, Key="k")["Body"].read(), b"k")
    fails(403, "AccessDenied", user.client.put_object, Bucket=name, Key="x", Body=b"")


def temporary_keys_do_no_more_than_they_say(s3):
    from wire import policy

    name = s3.bucket("k", "x/k")
    home = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:PutObject"], "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/x/*"]}
    user, _ = _session(s3, Policy=policy(home, {"Effect": "Deny", "Action": "s3:*", "Resource": f"arn:aws:s3:::{name}/x/no"}))
    eq([row["Key"] for row in user.client.list_objects_v2(Bucket=name)["Contents"]], ["k", "x/k"])
    user.client.put_object(Bucket=name, Key="x/new", Body=b"x")
    for call, more in (
        (user.client.list_buckets, {}),
        (user.client.create_bucket, {"Bucket": s3.name()}),
        (user.client.get_object, {"Bucket": name, "Key": "x/k"}),
        (user.client.put_object, {"Bucket": name, "Key": "k"}),
        (user.client.put_object, {"Bucket": name, "Key": "x/no"}),
        (user.client.put_object, {"Bucket": name, "Key": "x/new", "ACL": "public-read"}),
        (user.client.put_object, {"Bucket": name, "Key": "x/new", "Tagging": "a=b"}),
        (user.client.copy_object, {"Bucket": name, "Key": "x/new", "CopySource": f"{name}/k"}),
        (user.client.delete_bucket_policy, {"Bucket": name}),
    ):
        fails(403, "AccessDenied", call, **more)
    gone = user.client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k"}]})
    eq([row["Code"] for row in gone["Errors"]], ["AccessDenied"])
    # Who may make a bucket may not open it to everybody by that, nor lock it.
    user, _ = _session(s3, Policy=policy({"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*"}))
    for more in ({"ACL": "public-read-write"}, {"ObjectLockEnabledForBucket": True}, {"ObjectOwnership": "ObjectWriter"}):
        fails(403, "AccessDenied", user.client.create_bucket, Bucket=s3.name(), **more)
    eq(s3.body(name, "k"), b"k")


def temporary_keys_sign_addresses_and_forms(s3):
    import http.client
    import urllib.parse
    import urllib.request

    name = s3.bucket("k")
    user, told = _session(s3)
    address = user.client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"})
    truth("X-Amz-Security-Token" in address, "the token is in the address")
    eq(urllib.request.urlopen(address, timeout=60).read(), b"k")
    form = user.client.generate_presigned_post(name, "form")
    eq(form["fields"].get("x-amz-security-token"), told["SessionToken"])

    def post(fields):
        parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
        parts.append('--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n--x--\r\n')
        at = urllib.parse.urlsplit(s3.server.endpoint)
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
        connection.request("POST", f"/{name}", "".join(parts), {"Content-Type": "multipart/form-data; boundary=x"})
        return connection.getresponse().status

    eq(post(form["fields"]), 204)
    eq(s3.body(name, "form"), b"bytes")
    eq(post({key: value for key, value in form["fields"].items() if key != "x-amz-security-token"}), 403)
    eq(post({**form["fields"], "x-amz-security-token": "other"}), 400)


def a_session_of_the_user_itself_has_no_role(s3):
    sts = s3.main.make("sts")
    told = sts.get_session_token(DurationSeconds=900)["Credentials"]
    from world import User

    user = User(s3.server.endpoint, s3.server.region, (told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"]))
    eq(user.make("sts").get_caller_identity()["Arn"], sts.get_caller_identity()["Arn"])
    assumed, _ = _session(s3)
    who = assumed.make("sts").get_caller_identity()
    truth(who["Arn"].endswith(":assumed-role/any/session"), who["Arn"])
    eq(who["Account"], sts.get_caller_identity()["Account"])


def what_is_asked_of_a_session_has_bounds(s3):
    sts = s3.main.make("sts")
    ask = lambda **more: sts.assume_role(**{"RoleArn": "arn:aws:iam:::role/any", "RoleSessionName": "session", **more})
    for seconds in (899, 43201):
        fails(400, "ValidationError", ask, DurationSeconds=seconds)
    fails(400, "ValidationError", ask, RoleSessionName="a b")
    fails(400, "ValidationError", ask, RoleArn="any")
    fails(400, "ValidationError", ask, PolicyArns=[{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}])
    fails(400, "ValidationError", ask, Policy="x" * 2049)
    fails(400, "MalformedPolicyDocument", ask, Policy="no policy")
    fails(400, "InvalidAction", sts.get_access_key_info, AccessKeyId="A" * 16)
    unsigned = {"RoleArn": "arn:aws:iam:::role/any", "RoleSessionName": "session", "WebIdentityToken": "tttt"}
    fails(403, "MissingAuthenticationToken", sts.assume_role_with_web_identity, **unsigned)


def temporary_keys_are_given_to_those_with_lasting_ones(s3):
    from world import User

    user, _ = _session(s3)
    fails(403, "AccessDenied", user.make("sts").get_session_token)
    fails(403, "AccessDenied", user.make("sts").assume_role, RoleArn="arn:aws:iam:::role/any", RoleSessionName="session")
    stranger = User(s3.server.endpoint, s3.server.region, ("nobody", "secret"))
    fails(403, "InvalidClientTokenId", stranger.make("sts").get_caller_identity)
    access, _ = s3.main.keys[:2]
    liar = User(s3.server.endpoint, s3.server.region, (access, "secret"))
    fails(403, "SignatureDoesNotMatch", liar.make("sts").get_caller_identity)


def two_users_have_buckets_of_their_own(s3):
    name = s3.name()
    s3.alt.client.create_bucket(Bucket=name)
    try:
        s3.alt.client.put_object(Bucket=name, Key="k", Body=b"x")
        fails(403, "AccessDenied", s3.client.get_object, Bucket=name, Key="k")
        truth(s3.alt.client.list_buckets()["Owner"]["ID"] != s3.client.list_buckets()["Owner"]["ID"], "they are the same")
    finally:
        s3.alt.client.delete_object(Bucket=name, Key="k")
        s3.alt.client.delete_bucket(Bucket=name)


def nobody_does_anything_without_leave(s3):
    name = s3.bucket("k")
    for method, path in (("GET", f"/{name}"), ("GET", f"/{name}/k"), ("PUT", f"/{name}/x"), ("DELETE", f"/{name}/k"), ("DELETE", f"/{name}"),
                         ("GET", f"/{name}?acl"), ("GET", f"/{name}?policy"), ("POST", f"/{name}/x?uploads"), ("GET", "/")):  # fmt: skip
        refused(s3.anyone.wire.send(method, path), 403, "AccessDenied")
    eq(s3.body(name, "k"), b"k")
