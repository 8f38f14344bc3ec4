"""A cached result is used again only if it is what the step wrote. Anything else is no entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from netslim.storage.digests import with_digest, write_digests
from netslim_kfp.pipelines.local.cache import NOT_USED, CheckedCache


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder that a step wrote."""
    folder = tmp_path / "step" / "model"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(range(100)))
    (folder / "network.json").write_text("{}")
    write_digests(folder)
    return folder


@pytest.fixture
def outputs(model: Path, tmp_path: Path) -> dict[str, Any]:
    """A value, a folder with a list of digests, one without, and a file."""
    plain, file = tmp_path / "step" / "plain", tmp_path / "step" / "results.json"
    plain.mkdir()
    (plain / "a").write_text("a")
    file.write_text(json.dumps({"error": 1}))
    artifacts = {
        name: dsl.Model(name=name, uri=str(path), metadata={"error": 2.5})
        for name, path in {"model": model, "plain": plain, "file": file}.items()
    }
    return {"share": 0.5, **artifacts}


@pytest.fixture
def cache(tmp_path: Path) -> CheckedCache:
    return CheckedCache(str(tmp_path / "cache"))


@pytest.fixture
def key(cache: CheckedCache, outputs: dict[str, Any]) -> str:
    """The key of the step `prune-2`, whose outputs are in the cache."""
    key = cache.compute_key(
        component_name="comp-prune-2", image="i", full_command=["c"], arguments={}, env_vars={}
    )
    assert cache.get(key) is None
    cache.put(key, outputs)
    return key


def values(outputs: dict[str, Any] | None) -> dict[str, Any]:
    assert outputs is not None
    return {
        name: (value.path, value.metadata) if isinstance(value, dsl.Artifact) else value
        for name, value in outputs.items()
    }


def test_what_was_written_is_read(
    cache: CheckedCache, key: str, outputs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert values(cache.get(key)) == values(outputs)
    assert capsys.readouterr().out == ""


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def other_value(entry: Path) -> None:
    """The entry with another value, which is as good JSON as before."""
    entry.write_text(entry.read_text().replace("0.5", "0.6"))


def of_another_version(entry: Path) -> None:
    content = json.loads(entry.read_text())
    del content["netslim"], content["sha256"]
    entry.write_text(json.dumps(with_digest(content)))


def consistent_alteration(weights: Path) -> None:
    """Digests that fit an altered file are not those that the step wrote."""
    flip(weights)
    write_digests(weights.parent, ["weights", "network.json"])


def to_a_folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


ENTRY: dict[str, Callable[[Path], object]] = {
    "a list": lambda entry: entry.write_text("[]"),
    "a word": lambda entry: entry.write_text("null"),
    "an empty object": lambda entry: entry.write_text("{}"),
    "empty": lambda entry: entry.write_text(""),
    "cut": lambda entry: entry.write_bytes(entry.read_bytes()[:-20]),
    "not UTF-8": lambda entry: entry.write_bytes(b"\xff\xfe{}"),
    "another value": other_value,
    "another version": of_another_version,
    "a folder": to_a_folder,
}
FILE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "emptied": lambda file: file.write_bytes(b""),
    "deleted": Path.unlink,
    "with new digests": consistent_alteration,
}
RESULT = {
    "model": "model/weights",
    "plain": "plain/a",
    "file": "results.json",
}


def damaged(cache: CheckedCache, key: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Check that the entry is not used, and return the reason, which is one line."""
    assert cache.get(key) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{NOT_USED}prune-2 are not used: ")
    return str(line)


@pytest.mark.parametrize("damage", ENTRY)
def test_a_damaged_entry_is_none(
    cache: CheckedCache, key: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ENTRY[damage](Path(cache.cache_root, f"{key}.json"))
    assert f"{key}.json" in damaged(cache, key, capsys)


@pytest.mark.parametrize("result", RESULT)
@pytest.mark.parametrize("damage", FILE)
def test_a_damaged_result_is_none_until_the_step_wrote_it_again(
    cache: CheckedCache,
    key: str,
    outputs: dict[str, Any],
    tmp_path: Path,
    damage: str,
    result: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "step" / RESULT[result]
    before = file.read_bytes()
    if damage == "with new digests" and result != "model":
        damage = "flipped"
    FILE[damage](file)
    damaged(cache, key, capsys)
    file.write_bytes(before)
    if result == "model":
        write_digests(file.parent, ["weights", "network.json"])
    cache.put(key, outputs)
    assert values(cache.get(key)) == values(outputs)


def test_a_missing_folder_is_none(
    cache: CheckedCache, key: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rename(model.with_name("moved"))
    assert str(model) in damaged(cache, key, capsys)


def test_the_key_of_prepared_data_follows_the_images(cache: CheckedCache, tmp_path: Path) -> None:
    """Images were deleted, and the cache still had them."""
    root = tmp_path / "pets"
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            (root / split / label / "0.png").write_bytes(b"x")
            (root / split / label / "1.png").write_bytes(b"x")

    def key(component: str = "comp-prepare-data", **arguments: Any) -> str:
        given = {"name": "folder", "root": str(root), **arguments}
        return cache.compute_key(component, image="i", full_command=["c"], arguments=given, env_vars={})

    before, other, digits = key(), key("comp-prune"), key(name="digits")
    assert key() == before
    (root / "train" / "cat" / "0.png").unlink()
    assert key() != before
    assert (key("comp-prune"), key(name="digits")) == (other, digits)
