"""The cache of a local run's steps: an entry that is damaged, or whose results are, is as good as none.

KFP's cache has one JSON file for each step that ran. It names the results of the step, which are used again
where they exist. Here the file also contains its own digest, and the results are compared with their digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.local import cache as kfp_cache

from netslim.errors import DataError, NetslimError
from netslim.storage.atomic import read_json, sha256, write_json
from netslim.storage.digests import KEY, SUMS, check_artifact, check_digest, with_digest
from netslim_kfp.pipelines.local.artifacts_file import ArtifactsFile

__all__ = ["NOT_USED", "CheckedCache", "install"]

DIGESTS = "netslim"
"""Key of a cache file with the digests of the step's results, by path; KFP has a key for each result."""

FILES = "NETSLIM_FILES"
"""Variable in the key of `prepare_data` only: the files of an image folder may change under its path."""

NOT_USED = "Cached results of "
"""Beginning of the log's line about an entry that cannot be used; the step's name and the reason follow."""


class CheckedCache(kfp_cache.LocalCache):  # type: ignore[misc]  # kfp has no types
    """KFP's cache, with checks before anything is reused."""

    artifacts: ArtifactsFile | None = None
    """Gets the artifacts of each step whose results are reused."""

    def __init__(self, cache_root: str) -> None:
        super().__init__(cache_root)
        self._steps: dict[str, str] = {}

    def compute_key(self, component_name: str, **parts: Any) -> str:
        """The key of a step. KFP asks for it before it calls `get`, which needs the name for its message."""
        if identity := _files_identity(component_name, parts.get("arguments") or {}):
            parts["env_vars"] = {**(parts.get("env_vars") or {}), FILES: identity}
        key: str = super().compute_key(component_name, **parts)
        self._steps[key] = component_name.removeprefix("comp-")
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        """The results of a step, all of them intact; None if there are none. The reason is printed."""
        file = self._file(key)
        if not file.exists():
            return None
        try:
            _check(file)
            outputs: dict[str, Any] | None = super().get(key)
        except (NetslimError, OSError) as error:
            print(f"{NOT_USED}{self._steps.get(key, key)} are not used: {error}", flush=True)
            return None
        if self.artifacts and outputs and key in self._steps:
            found = {name: each.path for name, each in outputs.items() if isinstance(each, dsl.Artifact)}
            self.artifacts.add(self._steps[key], found)
        return outputs and {name: value for name, value in outputs.items() if name not in (DIGESTS, KEY)}

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Write the entry of a step, or replace it."""
        super().put(key, outputs)
        digests = {str(path): _digest(path) for path in _paths(outputs)}
        write_json(self._file(key), with_digest({**read_json(self._file(key)), DIGESTS: digests}))

    def _file(self, key: str) -> Path:
        return Path(self.cache_root, f"{key}.json")


def _files_identity(component_name: str, arguments: Mapping[str, Any]) -> str:
    """The identity of the files that a step reads outside of its artifacts: those of an image folder."""
    if not component_name.startswith("comp-prepare-data"):
        return ""
    from netslim.data.identity import files_identity

    return files_identity(str(arguments.get("name", "")), str(arguments.get("root", "")))


def install(artifacts: ArtifactsFile) -> None:
    """Let KFP's local runner use this cache.

    Args:
        artifacts: gets the artifacts of each step whose results are reused.
    """
    CheckedCache.artifacts = artifacts
    kfp_cache.LocalCache = CheckedCache


def _check(file: Path) -> None:
    """A DataError if the entry or one of its results is damaged, missing or of another format."""
    entry = read_json(file)
    if not isinstance(entry, dict) or KEY not in entry or not isinstance(entry.get(DIGESTS), dict):
        raise DataError("altered, or written by another version", field=str(file))
    check_digest(entry, str(file))
    for path, digest in entry[DIGESTS].items():
        check_artifact(path)
        if _digest(Path(path)) != digest:
            raise DataError("altered since the step wrote it", field=path)


def _paths(outputs: dict[str, Any]) -> Iterator[Path]:
    for value in outputs.values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dsl.Artifact):
                yield Path(each.path)


def _digest(path: Path) -> str:
    """Of a file, or of a folder: of its list of digests if it has one, else of all its files."""
    if path.is_file():
        return sha256(path)
    if (path / SUMS).is_file():
        return sha256(path / SUMS)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    text = "".join(f"{sha256(file)}  {file.relative_to(path)}\n" for file in files)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
