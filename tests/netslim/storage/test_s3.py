"""s3:// over HTTP against moto's server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from netslim.errors import StorageError
from netslim.storage import s3, s3_client
from tests.helpers.s3_faults import Fault, contents


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


@pytest.mark.parametrize("url", ["bucket/key", "s3://", "s3:///key", "/tmp/x"])
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="not of the form s3://bucket/key"):
        s3.exists(url)
