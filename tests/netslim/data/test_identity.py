"""The identity of an image folder follows its files, on a disk and in S3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from netslim.data.identity import UNREADABLE, files_identity
from netslim.storage import s3


def test_only_image_folders_have_one(tmp_path: Path) -> None:
    assert files_identity("digits", "") == ""
    assert files_identity("cifar10", str(tmp_path)) == ""
    assert files_identity("folder", str(tmp_path)) == UNREADABLE
    assert files_identity("imagenet", str(tmp_path / "nowhere")) == UNREADABLE


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_a_removed_and_a_changed_image_change_it(image_folder: Callable[..., Path], name: str) -> None:
    root = image_folder()
    found = [files_identity(name, str(root))]
    assert files_identity(name, str(root)) == found[0]
    (root / "train/cat/0.png").write_bytes(b"another")
    found.append(files_identity(name, str(root)))
    (root / "train/cat/0.png").unlink()
    found.append(files_identity(name, str(root)))
    assert len({*found, UNREADABLE, ""}) == 5


def test_objects_have_one_by_their_etags(bucket: str, image_folder: Callable[..., Path]) -> None:
    url = f"s3://{bucket}/pets"
    s3.upload_tree(image_folder(), url)
    found = [files_identity("folder", url)]
    assert files_identity("folder", url) == found[0]
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="pets/train/cat/0.png", Body=b"another")
    found.append(files_identity("folder", url))
    client.delete_object(Bucket=bucket, Key="pets/train/cat/0.png")
    found.append(files_identity("folder", url))
    assert len({*found, UNREADABLE, ""}) == 5
    assert files_identity("folder", "s3://not-there/pets") == UNREADABLE
