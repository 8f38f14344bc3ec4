"""Checkpoints: files that are complete or not there, from which a killed training continues exactly.

A checkpoint is one safetensors file, `step-<number>-<digest>.safetensors`. Its metadata is JSON in the file's
header. The digest in its name is the SHA-256 of its content, so a truncated or altered file is recognised.
The header also identifies the training, so a retried step with another recipe, seed, dataset or starting
network does not use it. No pickle.
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

FORMAT = "netslim-checkpoint/1"  # of version 0.1.0, whose checkpoints are still read
KEPT = 2
"""Files kept: the newest, and the one before it in case the newest is damaged."""
_NAME = re.compile(r"step-(\d+)-([0-9a-f]{16})\.safetensors")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training, after `step` optimizer steps."""

    address: str
    """The file's path or s3:// address."""
    step: int
    tensors: dict[str, Tensor]
    """By name; see `netslim.training.training_state.CheckpointState`."""
    metadata: dict[str, Any]
    """JSON values: the history's rows and the best validation error."""


class Checkpoints:
    """The checkpoints of one training, in one folder.

    Args:
        root: a folder, created with the first checkpoint.
        identity: the inputs of the training, as strings by name (recipe, seed, data, ...). A checkpoint of
            another identity is refused, with the names that differ.
        shared: any number of trainings share `root`, where each has a folder named by its identity. An s3://
            folder is always shared.
    """

    def __init__(
        self, root: str | os.PathLike[str], identity: Mapping[str, str], *, shared: bool = False
    ) -> None:
        self.identity = dict(identity)
        if shared or is_s3(root):
            folder = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
            root = f"{str(root).rstrip('/')}/{folder}"
        self.root = str(root)
        self.backend = open_backend(root)
        self.refused: list[str] = []
        self._kept: list[str] = []

    @property
    def last(self) -> str | None:
        """The address of the newest checkpoint that this object wrote or accepted."""
        return self.backend.address(self._kept[-1]) if self._kept else None

    def save(self, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
        """Write a checkpoint, completely or not at all, and remove all but the last `KEPT`; its address.

        Raises:
            StorageError: the disk is full or read-only, or the bucket cannot be written.
        """
        header = {"format": FORMAT, "identity": self.identity, "step": step, "facts": dict(metadata)}
        text = json.dumps(header, allow_nan=False)
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        content = save(plain, metadata={"netslim": text})
        name = f"step-{step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        self.backend.write(name, content)
        self._kept = [kept for kept in self._kept if kept != name] + [name]
        for old in self._kept[:-KEPT]:
            self.backend.remove(old)
        self._kept = self._kept[-KEPT:]
        return self.backend.address(name)

    def latest(self) -> Checkpoint | None:
        """The newest intact checkpoint of this training; None if there is none.

        Refused files are listed with the reason in `refused` and in the log. They are not removed.

        Raises:
            StorageError: the bucket cannot be read. Starting from the beginning would lose its checkpoints.
        """
        for name in sorted(filter(_NAME.fullmatch, self.backend.names()), reverse=True):
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
        """Read a checkpoint; a TrainingError with the reason if it cannot be used."""
        address = self.backend.address(name)
        try:
            with self.backend.local(name) as path:
                digest = sha256(path)[:16]
                if digest != _NAME.fullmatch(name)[2]:  # type: ignore[index]  # `latest` has matched it
                    raise _refusal(address, "its content does not match its checksum")
                with safe_open(path, framework="pt") as content:
                    header = json.loads((content.metadata() or {})["netslim"])
                    tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise _refusal(address, f"it cannot be read ({error})") from error
        if header.get("format") != FORMAT:
            raise _refusal(address, f"its format is {header.get('format')}, not {FORMAT}")
        theirs = header["identity"]
        different = [
            name for name in {**self.identity, **theirs} if self.identity.get(name) != theirs.get(name)
        ]
        if different:
            raise _refusal(address, f"it is of another training: {', '.join(different)} differ")
        return Checkpoint(address, header["step"], tensors, header["facts"])


def _refusal(address: str, problem: str) -> TrainingError:
    remedy = "It is not used; an older one is, or training starts from the beginning"
    return TrainingError(problem, field=address, remedy=remedy)


def weights_digest(model: nn.Module | None) -> str:
    """The SHA-256 of every parameter and buffer with its name, shape and dtype; empty for no model."""
    if model is None:
        return ""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
