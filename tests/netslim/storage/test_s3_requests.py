"""Requests that fail: repeated for a bounded time with a line in the log, and refused by who answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from netslim.errors import StorageError
from netslim.storage import s3, s3_requests
from netslim.training.checkpoint import Checkpoints
from tests.helpers.s3_faults import Fault, contents


@pytest.mark.parametrize("kind", ["503", "truncate", "hang up", "stall"])
def test_a_temporary_fault_is_retried(
    bucket: str,
    tree: Path,
    tmp_path: Path,
    proxy: Callable[[Fault], list[str]],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_requests, "READ_TIMEOUT", 0.5)
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
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 2)
    proxy(lambda method, path, _: "hang up" if "/x/a" in path else "")
    with pytest.raises(
        StorageError,
        match=rf"s3://{bucket}/x/a: the object store closed the connection\. Check AWS_ENDPOINT_URL",
    ):
        s3.download_tree(f"s3://{bucket}/x", tmp_path / "back")
    assert contents(tmp_path / "back") == {}


def test_without_its_manifest_a_failed_upload_is_incomplete(
    bucket: str, tree: Path, proxy: Callable[[Fault], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy(lambda method, path, _: "503" if method == "PUT" and "deep" in path else "")
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 2)
    with pytest.raises(StorageError, match=rf"s3://{bucket}/tree/deep/er/b.txt: .*503"):
        s3.upload_tree(tree, f"s3://{bucket}/tree", last="a.bin")
    assert not s3.exists(f"s3://{bucket}/tree/a.bin")


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


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """A server that takes connections and never answers; the list has them."""
    taken: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    Thread(target=accept, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    yield taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


def test_the_longest_wait_is_bounded() -> None:
    longest = s3_requests.REPEAT_FOR + max(s3_requests.READ_TIMEOUT, s3_requests.CONNECT_TIMEOUT)
    assert longest <= 80  # seconds
    assert s3_requests.READ_TIMEOUT * s3_requests.ATTEMPTS > s3_requests.REPEAT_FOR  # so the bound is needed


def test_a_server_that_never_answers_is_in_the_log_and_left(
    bucket: str,
    silent: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(s3_requests, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(s3_requests, "REPEAT_FOR", 0.5)  # so at most two attempts
    with pytest.raises(StorageError, match=rf"s3://{bucket}/x: the object store does not answer"):
        s3.names(f"s3://{bucket}/x")
    assert caplog.messages == [
        "The object store failed (ReadTimeoutError) after 0 s: attempt 2 of 6 follows",
    ]


def test_the_first_failure_ends_an_upload_of_many_files(
    bucket: str, silent: list[socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 1)
    monkeypatch.setattr(s3, "PARALLEL", 2)
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"x")
    with pytest.raises(StorageError, match="does not answer"):
        s3.upload_tree(tmp_path, f"s3://{bucket}/x")
    assert len(silent) == 2  # and not 20


def test_attempts_that_succeed_leave_no_line_in_the_log(
    bucket: str, proxy: Callable[[Fault], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    proxy(lambda method, path, asked: "503" if asked == 0 and method == "PUT" else "")
    s3.put_bytes(f"s3://{bucket}/a", b"content")
    assert s3.get_bytes(f"s3://{bucket}/a") == b"content"
    lines = [record.message for record in caplog.records if record.name == s3_requests.__name__]
    assert lines == ["The object store failed (status 503) after 0 s: attempt 2 of 6 follows"]
