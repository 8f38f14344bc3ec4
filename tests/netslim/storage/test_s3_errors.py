"""Every failure of boto3 is one sentence with the address and the setting to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from netslim.errors import StorageError
from netslim.storage import s3, s3_client, s3_errors, s3_requests
from tests.helpers.s3_faults import Answering


def test_missing_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no credentials for S3. Set AWS_ACCESS_KEY_ID"):
        s3.exists(f"s3://{bucket}/x")


def xml(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "no permission. The credentials need s3:GetObject"),
        (403, "InvalidAccessKeyId", "the object store has no such access key"),
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "ExpiredToken", "the credentials have expired"),
        (400, "InvalidBucketName", "not a valid name of a bucket"),
        (400, "Unheard", r"the object store refused \(Unheard: no\)"),
        (507, "XMinioStorageFull", "the object store is full. Remove"),
        (500, "InternalError", r"the object store has failed \(status 500, no\). It was tried 1 times"),
        (503, "SlowDown", r"the object store has failed \(status 503, no\)"),
    ],
)
def test_errors_of_the_object_store_are_explained(
    answering: Answering, status: int, code: str, message: str, tmp_path: Path
) -> None:
    answering(status, xml(code), "application/xml")
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(StorageError, match=message):
        s3.put_bytes("s3://any/x", b"content")
    with pytest.raises(StorageError, match=message):  # boto3 has exceptions of its own for it
        s3.upload_tree(tmp_path, "s3://any/x")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html><body>Welcome</body></html>", "text/html"),
        (200, b"<!doctype html><html><br>Welcome", "text/html; charset=utf-8"),
        (200, b'{"version": 1}', "application/json"),
        (200, b"<Other><Bar/></Other>", "application/xml"),
        (200, b"", ""),
        (404, b"<html>no such page</html>", "text/html"),
        (403, b'{"error": "login"}', "application/json"),
        (301, b"", "text/html"),
        (302, b"<html>elsewhere</html>", "text/html"),
    ],
)
def test_a_web_server_is_not_taken_for_an_object_store(
    answering: Answering, status: int, body: bytes, kind: str, tmp_path: Path
) -> None:
    answering(status, body, kind)
    (tmp_path / "file").write_bytes(b"content")
    for work in (
        lambda: s3.names("s3://any/x"),
        lambda: s3.exists("s3://any/x"),
        lambda: s3.download_tree("s3://any/x", tmp_path / "down"),
        *([] if status in (403, 404) else [lambda: s3.get_bytes("s3://any/x", verify=False)]),
        lambda: s3.put_bytes("s3://any/x", b"content"),
        lambda: s3.upload_tree(tmp_path, "s3://any/x"),
    ):
        with pytest.raises(StorageError, match=r"does not answer as an object store .*AWS_ENDPOINT_URL"):
            work()


def test_a_page_that_is_an_object_is_read(bucket: str, tmp_path: Path) -> None:
    import boto3

    for name, kind in (("a.html", "text/html"), ("b.json", "application/json")):
        boto3.client("s3").put_object(Bucket=bucket, Key=f"x/{name}", Body=b"{}", ContentType=kind)
        assert s3.get_bytes(f"s3://{bucket}/x/{name}") == b"{}"
    assert len(s3.download_tree(f"s3://{bucket}/x", tmp_path)) == 2


def test_an_endpoint_without_a_server(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 1)
    with pytest.raises(
        StorageError, match=r"/x: the object store cannot be reached\. Check AWS_ENDPOINT_URL"
    ):
        s3.exists(f"s3://{bucket}/x")


@pytest.mark.parametrize("variable", s3_client.ENDPOINTS)
@pytest.mark.parametrize(
    "value",
    [
        *("not a url", "localhost:9000", "http://", "http://a b", "ftp://host", "http://host:99999"),
        *("http://host:port", "http://[::1", " ", "http://host?x=1", "s3://bucket"),
    ],
)
def test_an_endpoint_that_is_not_an_address_is_named(
    bucket: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        StorageError, match=r"not an address of an object store. Set it to http://host"
    ) as caught:
        s3.exists(f"s3://{bucket}/x")
    assert (caught.value.field, caught.value.value) == (variable, value)


def test_a_password_in_an_endpoint_is_not_shown(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@host:port")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL: not an address") as caught:
        s3.exists(f"s3://{bucket}/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"AWS_DEFAULT_REGION": "not a region"}, "boto3 cannot be started .*Check AWS_DEFAULT_REGION"),
        ({"AWS_PROFILE": "nobody"}, "no such profile of AWS. Check AWS_PROFILE"),
        ({"AWS_CA_BUNDLE": "/none.pem"}, "AWS_CA_BUNDLE = /none.pem: no such file"),
        ({"AWS_CONFIG_FILE": "config"}, "configuration of AWS cannot be read. Check AWS_PROFILE"),
    ],
)
def test_a_wrong_setting_of_aws_is_named(
    bucket: str, settings: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config").write_text("[default\n")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=message):
        s3.exists(f"s3://{bucket}/x")


def test_the_connection_errors_with_a_sentence_are_those_of_botocore() -> None:
    from botocore import exceptions

    for name in s3_errors._BY_TYPE:
        assert issubclass(getattr(exceptions, name), exceptions.BotoCoreError), name


def test_a_missing_bucket_and_a_missing_object(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"s3://not-there/x: there is no such bucket. Check its name"):
        s3.download_tree("s3://not-there/x", tmp_path)
    with pytest.raises(StorageError, match=r"s3://not-there/x: there is no such bucket"):
        s3.put_bytes("s3://not-there/x", b"")
    with pytest.raises(StorageError, match=rf"s3://{bucket}/nothing: there is no such object"):
        s3.get_bytes(f"s3://{bucket}/nothing")
    with pytest.raises(StorageError, match=rf"s3://{bucket}/empty: nothing to download there"):
        s3.download_tree(f"s3://{bucket}/empty", tmp_path)


def test_the_endpoint_for_mlflow_is_used_when_there_is_no_other(
    bucket: str, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    s3.put_bytes(f"s3://{bucket}/x", b"by AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3_endpoint)
    assert s3.get_bytes(f"s3://{bucket}/x") == b"by AWS_ENDPOINT_URL"
