"""Checkpoints: whole files that prove themselves, so a killed training goes on as if nothing had happened.

A checkpoint is one safetensors file, `step-<number>-<digest>.safetensors`. Its facts are JSON in the file's
header, and its name carries the SHA-256 of its content: a torn or altered file cannot pass for a good one.
It also says which training it belongs to, so that a retried step with another recipe, seed, dataset or
starting network does not take it up. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from netslim.errors import TrainingError
from netslim.files import atomic_file, sha256

__all__ = ["Checkpoint", "Checkpoints", "weights_digest"]

FORMAT = "netslim-checkpoint/1"
KEPT = 2
"""Files kept: the newest, and the one before it in case the newest is damaged."""
_NAME = re.compile(r"step-(\d+)-([0-9a-f]{16})\.safetensors")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training: tensors by name, and facts that are plain JSON."""

    path: Path
    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training, in one folder.

    Args:
        directory: made when the first checkpoint is written.
        identity: what the training is made of, as strings by name (recipe, seed, data, ...). A checkpoint of
            another identity is refused, with the names that differ.
    """

    def __init__(self, directory: Path, identity: Mapping[str, str]) -> None:
        self.directory, self.identity = directory, dict(identity)
        self.refused: list[str] = []
        self._kept: list[Path] = []

    @property
    def last(self) -> Path | None:
        """The newest checkpoint that was written or accepted here."""
        return self._kept[-1] if self._kept else None

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
        """Write a checkpoint, whole or not at all, and remove all but the last `KEPT`.

        Raises:
            StorageError: the disk is full or read-only.
        """
        header = {"format": FORMAT, "identity": self.identity, "step": step, "facts": dict(facts)}
        text = json.dumps(header, allow_nan=False)
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        content = save(plain, metadata={"netslim": text})
        path = self.directory / f"step-{step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        with atomic_file(path) as draft:
            draft.write_bytes(content)
        self._kept = [kept for kept in self._kept if kept != path] + [path]
        for old in self._kept[:-KEPT]:
            old.unlink(missing_ok=True)
        self._kept = self._kept[-KEPT:]
        return path

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and belongs to this training; None: begin at the beginning.

        Those that are not are named with the reason in `refused` and in the log, and left where they are.
        """
        found = [path for path in self.directory.glob("step-*.safetensors") if _NAME.fullmatch(path.name)]
        for path in sorted(found, reverse=True):
            try:
                checkpoint = _read(path, self.identity)
            except TrainingError as error:
                self.refused.append(str(error))
                _log.warning("checkpoint refused: %s", error)
                continue
            self._kept = [path]
            return checkpoint
        return None


def weights_digest(model: nn.Module | None) -> str:
    """The SHA-256 of every parameter and buffer with its name, shape and dtype; empty for no model."""
    if model is None:
        return ""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(path: Path, identity: Mapping[str, str]) -> Checkpoint:
    """Read a checkpoint, or say in a TrainingError why it cannot be taken."""
    name = _NAME.fullmatch(path.name)
    assert name is not None
    remedy = "It is not used; an older one is, or training starts from the beginning"
    try:
        if sha256(path)[:16] != name[2]:
            raise TrainingError("its content does not match its checksum", field=str(path), remedy=remedy)
        with safe_open(path, framework="pt") as content:
            header = json.loads((content.metadata() or {})["netslim"])
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise TrainingError(f"it cannot be read ({error})", field=str(path), remedy=remedy) from error
    if header.get("format") != FORMAT:
        problem = f"its format is {header.get('format')}, not {FORMAT}"
        raise TrainingError(problem, field=str(path), remedy=remedy)
    theirs = header["identity"]
    foreign = [part for part in {**identity, **theirs} if identity.get(part) != theirs.get(part)]
    if foreign:
        problem = f"it is of another training: {', '.join(foreign)} differ"
        raise TrainingError(problem, field=str(path), remedy=remedy)
    return Checkpoint(path, header["step"], tensors, header["facts"])
