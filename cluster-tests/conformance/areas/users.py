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
