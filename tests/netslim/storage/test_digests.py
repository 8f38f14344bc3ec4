"""Digests that travel with an artifact: every damage of every file is found, and 0.1.0 still loads."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from netslim.errors import DataError, ModelError
from netslim.storage.digests import check_artifact, check_digest, check_digests, with_digest, write_digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "about.json").write_text('{"plan": "0-3"}')
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_text("not covered")
    write_digests(tmp_path)
    return tmp_path


def test_the_list_is_that_of_sha256sum(folder: Path) -> None:
    assert [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()] == [
        *("about.json", "weights")
    ]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    check_artifact(folder)
    assert check_digests(folder).keys() == {"about.json", "weights"}
    (folder / "SHA256SUMS").unlink()
    assert check_digests(folder) == {}


@pytest.mark.parametrize("name", ["SHA256SUMS", "about.json", "weights"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "missing"])
def test_each_damage_of_each_file_is_found(folder: Path, name: str, damage: str) -> None:
    file = folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    cut = file.read_bytes()[:-9]
    if damage == "missing":
        file.unlink()
        if name == "SHA256SUMS":  # as in an artifact of version 0.1.0
            check_artifact(folder)
            return
    else:
        file.write_bytes({"cut": cut, "emptied": b"", "flipped": bytes(content)}[damage])
    with pytest.raises(DataError, match=r"Run the step that wrote it again"):
        check_artifact(folder)


def test_only_the_named_files_are_read(folder: Path) -> None:
    (folder / "weights").write_bytes(b"")
    digest = hashlib.sha256((folder / "about.json").read_bytes()).hexdigest()
    assert check_digests(folder, "about.json") == {"about.json": digest}
    with pytest.raises(ModelError, match=r"weights: truncated or altered: its SHA-256 is not the one in SHA"):
        check_digests(folder, "weights", error=ModelError)


def test_a_name_cannot_lead_out_of_the_folder(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(DataError, match="not a list of checksums"):
        check_artifact(folder)


@pytest.mark.parametrize("name", ["results", "results.json"])
def test_a_document_contains_its_own_digest(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    document = with_digest({"rows": [0.1, 1e-7, "ä"], "format": "x"})
    file.write_text(json.dumps(document, indent=1))
    check_artifact(file)
    file.write_text(json.dumps({"format": "x"} | document))  # the order of keys has no meaning
    check_artifact(file)
    file.write_text(json.dumps(document | {"rows": [0.2, 1e-7, "ä"]}))
    with pytest.raises(DataError, match=r"results.*altered"):
        check_artifact(file)
    check_digest({"format": "of 0.1.0"}, name)


def test_an_artifact_must_exist_and_be_complete(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        check_artifact(tmp_path / "nothing")
    (tmp_path / "report").write_text("<!DOCTYPE html>no digest, and no step reads it")
    check_artifact(tmp_path / "report")
    for content in (b"", b'{"rows": [', b"\xff\x00"):
        (tmp_path / "results").write_bytes(content)
        with pytest.raises(DataError, match="not valid JSON"):
            check_artifact(tmp_path / "results")
