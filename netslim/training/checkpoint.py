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
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from netslim.errors import TrainingError
from netslim.storage.atomic import sha256
from netslim.storage.backends import open_backend
from netslim.storage.s3 import is_s3

__all__ = ["Checkpoint", "Checkpoints", "weights_digest"]

FORMAT = "netslim-checkpoint/1"
KEPT = 2
"""Files kept: the newest, and the one before it in case the newest is damaged."""
_NAME = re.compile(r"step-(\d+)-([0-9a-f]{16})\.safetensors")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training: tensors by name, and facts that are plain JSON."""

    where: str
    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training, in one place.

    Args:
        root: a folder, made when the first checkpoint is written; or an s3:// folder that any number of
            trainings share, each in a folder of its own below it, named by its identity.
        identity: what the training is made of, as strings by name (recipe, seed, data, ...). A checkpoint of
            another identity is refused, with the names that differ.
    """

    def __init__(self, root: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.identity = dict(identity)
        if is_s3(root):
            own = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
            root = f"{str(root).rstrip('/')}/{own}"
        self.place = open_backend(root)
        self.refused: list[str] = []
        self._kept: list[str] = []

    @property
    def last(self) -> str | None:
        """Where the newest checkpoint lies that was written or accepted here."""
        return self.place.address(self._kept[-1]) if self._kept else None

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
        """Write a checkpoint, whole or not at all, and remove all but the last `KEPT`.

        Raises:
            StorageError: the disk is full or read-only, or the bucket cannot be written.
        """
        header = {"format": FORMAT, "identity": self.identity, "step": step, "facts": dict(facts)}
        text = json.dumps(header, allow_nan=False)
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        content = save(plain, metadata={"netslim": text})
        name = f"step-{step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        self.place.write(name, content)
        self._kept = [kept for kept in self._kept if kept != name] + [name]
        for old in self._kept[:-KEPT]:
            self.place.remove(old)
        self._kept = self._kept[-KEPT:]
        return self.place.address(name)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and belongs to this training; None: begin at the beginning.

        Those that are not are named with the reason in `refused` and in the log, and left where they are.

        Raises:
            StorageError: the bucket cannot be read. Beginning anew would lose what may be in it.
        """
        for name in sorted(filter(_NAME.fullmatch, self.place.names()), reverse=True):
            try:
                checkpoint = self._read(name)
            except TrainingError as error:
                self.refused.append(str(error))
                _log.warning("checkpoint refused: %s", error)
                continue
            self._kept = [name]
            return checkpoint
        return None

    def _read(self, name: str) -> Checkpoint:
        """Read a checkpoint, or say in a TrainingError why it cannot be taken."""
        where = self.place.address(name)
        try:
            with self.place.local(name) as path:
                digest = sha256(path)[:16]
                if digest != _NAME.fullmatch(name)[2]:  # type: ignore[index]  # `latest` has matched it
                    raise _unfit(where, "its content does not match its checksum")
                with safe_open(path, framework="pt") as content:
                    header = json.loads((content.metadata() or {})["netslim"])
                    tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise _unfit(where, f"it cannot be read ({error})") from error
        if header.get("format") != FORMAT:
            raise _unfit(where, f"its format is {header.get('format')}, not {FORMAT}")
        theirs = header["identity"]
        foreign = [
            part for part in {**self.identity, **theirs} if self.identity.get(part) != theirs.get(part)
        ]
        if foreign:
            raise _unfit(where, f"it is of another training: {', '.join(foreign)} differ")
        return Checkpoint(where, header["step"], tensors, header["facts"])


def _unfit(where: str, problem: str) -> TrainingError:
    remedy = "It is not used; an older one is, or training starts from the beginning"
    return TrainingError(problem, field=where, remedy=remedy)


def weights_digest(model: nn.Module | None) -> str:
    """The SHA-256 of every parameter and buffer with its name, shape and dtype; empty for no model."""
    if model is None:
        return ""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
