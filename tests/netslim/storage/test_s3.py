"""s3:// over HTTP against moto's server, and through a proxy that simulates network faults."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import boto3
import pytest

from netslim.errors import StorageError
from netslim.storage import s3, s3_client, s3_errors
from netslim.training.checkpoint import Checkpoints

Fault = Callable[[str, str, int], str]
"""Method, path and how often the same was requested before -> "", "503", "truncate", "hang up" or "stall"."""


@pytest.fixture
def proxy(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> Iterator[Callable[[Fault], list[str]]]:
    """Start a proxy with faults before the S3 server; returns the list of faults that happened."""
    upstream = urlsplit(s3_endpoint).netloc
    servers = []

    def start(fault: Fault) -> list[str]:
        asked: dict[tuple[str, str], int] = {}
        happened: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                key = (self.command, self.path)
                asked[key] = asked.get(key, -1) + 1
                kind = fault(*key, asked[key])
                if kind:
                    happened.append(kind)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if kind == "hang up":
                    self.close_connection = True
                    return
                if kind == "stall":
                    time.sleep(1)
                if kind == "503":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                connection = HTTPConnection(upstream)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.end_headers()
                if kind == "truncate":
                    content = content[: len(content) // 2]
                    self.close_connection = True
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        return happened

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, content in {
        "a.bin": b"a" * 1000,
        "deep/er/b.txt": b"b",
        "empty": b"",
        "sp ace+ü.txt": b"c",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def test_a_tree_is_uploaded_and_downloaded(bucket: str, tree: Path, tmp_path: Path) -> None:
    for folder in ("runs/one", "/runs/two/", ""):
        s3.upload_tree(tree, f"s3://{bucket}/{folder}")
    for folder in ("runs/one", "runs/two"):
        files = s3.download_tree(f"s3://{bucket}/{folder}", tmp_path / "back" / folder)
        assert contents(tmp_path / "back" / folder) == contents(tree)
        assert files == sorted(f for f in (tmp_path / "back" / folder).rglob("*") if f.is_file())


def test_only_selected_objects_are_downloaded(bucket: str, tree: Path, tmp_path: Path) -> None:
    s3.upload_tree(tree, f"s3://{bucket}/x")
    s3.download_tree(f"s3://{bucket}/x", tmp_path / "back", only=lambda name: name.endswith(".txt"))
    assert contents(tmp_path / "back") == {"deep/er/b.txt": b"b", "sp ace+ü.txt": b"c"}


def test_more_objects_than_one_page_lists(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "LISTED", 3)
    client = boto3.client("s3")
    for number in range(7):
        client.put_object(Bucket=bucket, Key=f"many/{number:04}", Body=b"")
    client.put_object(Bucket=bucket, Key="many/", Body=b"")  # as some consoles mark a folder
    assert len(s3.download_tree(f"s3://{bucket}/many", tmp_path)) == 7


def test_only_the_given_tree_is_removed(bucket: str, tree: Path) -> None:
    s3.upload_tree(tree, f"s3://{bucket}/kept")
    s3.upload_tree(tree, f"s3://{bucket}/kept-too")
    before = s3.names(f"s3://{bucket}/kept-too")
    s3.delete_tree(f"s3://{bucket}/kept/")
    s3.delete_tree(f"s3://{bucket}/kept")
    assert s3.names(f"s3://{bucket}/kept") == []
    assert s3.names(f"s3://{bucket}/kept-too") == before != []


def test_bytes_are_uploaded_and_downloaded(bucket: str) -> None:
    url = f"s3://{bucket}/checkpoints/last"
    assert not s3.exists(url)
    for content in (b"", b"one", b"two" * 1000):
        s3.put_bytes(url, content)
        assert s3.get_bytes(url) == content
    assert s3.exists(url)
    assert not s3.exists(f"s3://{bucket}/checkpoints/las")


def test_large_files_go_in_parts(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "PART", 5 << 20)
    (tmp_path / "up").mkdir()
    content = bytes(range(256)) * (11 << 12)  # 11 MiB
    (tmp_path / "up" / "big").write_bytes(content)
    s3.upload_tree(tmp_path / "up", f"s3://{bucket}/parts")
    tag = boto3.client("s3").head_object(Bucket=bucket, Key="parts/big")["ETag"]
    assert tag.strip('"').endswith("-3")
    s3.download_tree(f"s3://{bucket}/parts", tmp_path / "down")
    assert (tmp_path / "down" / "big").read_bytes() == content


def test_the_manifest_comes_last(bucket: str, tree: Path, proxy: Callable[[Fault], list[str]]) -> None:
    sent: list[str] = []

    def watch(method: str, path: str, _: int) -> str:
        if method == "PUT":
            sent.append(path.split("?")[0].rpartition("/tree/")[2])
        return ""

    proxy(watch)
    s3.upload_tree(tree, f"s3://{bucket}/tree", last="a.bin")
    assert sent[-1] == "a.bin"
    assert sorted(sent) == sorted({*sent})
    assert len(sent) == 4


def test_without_its_manifest_a_failed_upload_is_incomplete(
    bucket: str, tree: Path, proxy: Callable[[Fault], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy(lambda method, path, _: "503" if method == "PUT" and "deep" in path else "")
    monkeypatch.setattr(s3_errors, "ATTEMPTS", 2)
    with pytest.raises(StorageError, match=rf"s3://{bucket}/tree/deep/er/b.txt: .*503"):
        s3.upload_tree(tree, f"s3://{bucket}/tree", last="a.bin")
    assert not s3.exists(f"s3://{bucket}/tree/a.bin")


@pytest.mark.parametrize("kind", ["503", "truncate", "hang up", "stall"])
def test_a_temporary_fault_is_retried(
    bucket: str,
    tree: Path,
    tmp_path: Path,
    proxy: Callable[[Fault], list[str]],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_client, "READ_TIMEOUT", 0.5)
    happened = proxy(lambda method, path, asked: kind if asked == 0 and method in ("GET", "PUT") else "")
    s3.upload_tree(tree, f"s3://{bucket}/tree")
    s3.download_tree(f"s3://{bucket}/tree", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tree)
    assert s3.get_bytes(f"s3://{bucket}/tree/a.bin") == b"a" * 1000
    assert len(happened) >= 5


def test_a_permanent_fault_is_reported(
    bucket: str, tmp_path: Path, proxy: Callable[[Fault], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_bytes(f"s3://{bucket}/x/a", b"content")
    monkeypatch.setattr(s3_errors, "ATTEMPTS", 2)
    proxy(lambda method, path, _: "hang up" if "/x/a" in path else "")
    with pytest.raises(
        StorageError,
        match=rf"s3://{bucket}/x/a: the object store closed the connection\. Check AWS_ENDPOINT_URL",
    ):
        s3.download_tree(f"s3://{bucket}/x", tmp_path / "back")
    assert contents(tmp_path / "back") == {}


def test_content_that_was_changed_is_refused(bucket: str, tmp_path: Path) -> None:
    right = hashlib.sha256(b"right").hexdigest()
    boto3.client("s3").put_object(Bucket=bucket, Key="x/a", Body=b"wrong", Metadata={"sha256": right})
    with pytest.raises(StorageError, match=r"x/a: the content does not match its checksum"):
        s3.get_bytes(f"s3://{bucket}/x/a")
    with pytest.raises(StorageError, match=r"x/a: the content does not match its checksum"):
        s3.download_tree(f"s3://{bucket}/x", tmp_path / "back")
    assert contents(tmp_path / "back") == {}


def test_an_object_cannot_leave_the_folder(bucket: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="x/../../evil", Body=b"")
    with pytest.raises(StorageError, match=r"x/\.\./\.\./evil: the object's name would leave the folder"):
        s3.download_tree(f"s3://{bucket}/x", tmp_path / "back")


def test_a_missing_bucket_and_a_missing_object(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"s3://not-there/x: there is no such bucket. Check its name"):
        s3.download_tree("s3://not-there/x", tmp_path)
    with pytest.raises(StorageError, match=r"s3://not-there/x: there is no such bucket"):
        s3.put_bytes("s3://not-there/x", b"")
    with pytest.raises(StorageError, match=rf"s3://{bucket}/nothing: there is no such object"):
        s3.get_bytes(f"s3://{bucket}/nothing")
    with pytest.raises(StorageError, match=rf"s3://{bucket}/empty: nothing to download there"):
        s3.download_tree(f"s3://{bucket}/empty", tmp_path)


@pytest.mark.parametrize("url", ["bucket/key", "s3://", "s3:///key", "/tmp/x"])
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="not of the form s3://bucket/key"):
        s3.exists(url)


def test_missing_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no credentials for S3. Set AWS_ACCESS_KEY_ID"):
        s3.exists(f"s3://{bucket}/x")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "no permission. The credentials need s3:GetObject"),
        ("InvalidAccessKeyId", "the object store has no such access key"),
        ("SignatureDoesNotMatch", "the secret key is wrong"),
        ("ExpiredToken", "the credentials have expired"),
    ],
)
def test_errors_of_the_object_store_are_explained(
    bucket: str, refusing: Callable[[str], None], code: str, message: str
) -> None:
    refusing(code)
    with pytest.raises(StorageError, match=message):
        s3.put_bytes(f"s3://{bucket}/x", b"content")


@pytest.fixture
def refusing(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """An S3 server that answers everything with 403 and a code."""
    servers = []

    def start(code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[0].serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers[0].server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_endpoint_without_a_server(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3_errors, "ATTEMPTS", 1)
    with pytest.raises(
        StorageError, match=r"/x: the object store cannot be reached\. Check AWS_ENDPOINT_URL"
    ):
        s3.exists(f"s3://{bucket}/x")


def test_an_endpoint_that_is_not_an_address(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    with pytest.raises(StorageError, match=r"Invalid endpoint: no address\)\. Set AWS_ENDPOINT_URL to"):
        s3.exists(f"s3://{bucket}/x")


def test_the_connection_errors_with_a_sentence_are_those_of_botocore() -> None:
    from botocore import exceptions

    for name in s3_errors._BY_TYPE:
        assert issubclass(getattr(exceptions, name), exceptions.BotoCoreError), name


def test_the_endpoint_for_mlflow_is_used_when_there_is_no_other(
    bucket: str, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    s3.put_bytes(f"s3://{bucket}/x", b"by AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3_endpoint)
    assert s3.get_bytes(f"s3://{bucket}/x") == b"by AWS_ENDPOINT_URL"


def test_a_truncated_checkpoint_is_downloaded_again(proxy: Callable[[Fault], list[str]], bucket: str) -> None:
    import torch

    root, weights = f"s3://{bucket}/kept", {"x": torch.arange(5000.0)}
    Checkpoints(root, {"seed": "0"}).save(7, weights, {})
    happened = proxy(
        lambda method, path, again: "truncate" if method == "GET" and "step" in path and not again else ""
    )
    found = Checkpoints(root, {"seed": "0"}).latest()
    assert happened == ["truncate"]
    assert found is not None
    assert torch.equal(found.tensors["x"], weights["x"])
