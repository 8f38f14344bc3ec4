"""What the parts share: rows that are on disk as soon as they are known, time limits, and small networks."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.paper.datasets import Dataset
from netslim import models
from netslim.data import DatasetInfo, Split
from netslim.training import graph_step, trainer

__all__ = ["OUTPUT", "SMOKE", "Rows", "device", "graphs_on_a_cpu", "network", "random_images", "toy", "worst"]

SMOKE = os.environ.get("NETSLIM_GPU_SMOKE") == "1"
"""Try the script on a CPU: tiny networks, and a stand-in for CUDA graphs."""

OUTPUT = Path(os.environ.get("NETSLIM_GPU_OUTPUT", "gpu-results"))


def device() -> torch.device:
    """The GPU; in a trial of the script the CPU."""
    if SMOKE:
        return torch.device("cpu")
    assert torch.cuda.is_available(), "torch has no GPU; --smoke tries the script on a CPU"
    return torch.device("cuda", 0)


class LateError(BaseException):
    """The time is up. It is no Exception, so that nothing else catches it."""


class Rows:
    """Rows of one part, each in OUTPUT/<part>.jsonl as soon as it is known.

    Args:
        part: the name of the file.
        seconds: the time of the whole part.
    """

    def __init__(self, part: str, seconds: float) -> None:
        self.file, self.begun, self.end = OUTPUT / f"{part}.jsonl", time.time(), time.time() + seconds
        OUTPUT.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGALRM, _raise)

    @property
    def left(self) -> float:
        return self.end - time.time()

    def write(self, **row: Any) -> None:
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({**row, "at": round(time.time() - self.begun, 1)}, default=str) + "\n")
        shown = ", ".join(f"{name} {_short(value)}" for name, value in row.items() if name != "traceback")
        print(f"{self.file.stem} {time.time() - self.begun:5.1f} s  {shown}", flush=True)

    def measure(
        self, what: str, function: Callable[[], Mapping[str, Any]], *, limit: float = 60.0, **known: Any
    ) -> Mapping[str, Any]:
        """Write the row of one measurement: its result, its error, or that there was no time for it."""
        if self.left < 2:
            self.write(what=what, **known, skipped="the time is up")
            return {}
        begun = time.perf_counter()
        result: dict[str, Any] = {}
        signal.setitimer(signal.ITIMER_REAL, min(limit, self.left))
        try:
            result = dict(function())
        except LateError:
            result["skipped"] = f"not finished after {time.perf_counter() - begun:.0f} s"
        except Exception as error:
            result |= {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
            result["traceback"] = traceback.format_exc()[-3000:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.write(what=what, **known, **result, seconds=round(time.perf_counter() - begun, 2))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return result


def _raise(*_: object) -> None:
    raise LateError


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) < 160 else text[:157] + "..."


@contextmanager
def graphs_on_a_cpu() -> Iterator[None]:
    """In a trial of the script, let the CPU record steps by the tests' stand-in; else change nothing."""
    if not SMOKE:
        yield
        return
    from tests.helpers.recorded_step import record

    before = graph_step.capture_for, trainer.capture_for
    graph_step.capture_for = trainer.capture_for = lambda device: record
    try:
        yield
    finally:
        graph_step.capture_for, trainer.capture_for = before


def network(name: str, info: DatasetInfo, *, seed: int = 0, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    return models.build(
        models.resolve(
            name,
            num_classes=len(info.classes),
            in_channels=info.channels,
            image_size=info.image_size,
            **arguments,
        )
    )


def toy(count: int, *, side: int = 32, augment: str = "pad4flip") -> Dataset:
    """Bright squares in noise, one class for each of four rows: learnt in an epoch or two."""
    random = np.random.default_rng(0)
    splits, band = {}, side // 4
    for name, size in {"train": count, "val": 128, "test": 256}.items():
        labels = random.integers(0, 4, size)
        images = random.integers(0, 150, (size, side, side, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[band * label : band * (label + 1), :, label % 3] += 80
        splits[name] = Split(images, labels.astype(np.int64))
    return _dataset("toy", "abcd", splits, augment)


def random_images(count: int) -> Dataset:
    """Images of CIFAR's size, for measurements of time."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    split = Split(images, random.integers(0, 10, count))
    return _dataset("random", "0123456789", {"train": split, "test": split}, "pad4flip")


def _dataset(name: str, classes: str, splits: Mapping[str, Split], augment: str) -> Dataset:
    info = DatasetInfo(
        name=name,
        title=name,
        classes=tuple(classes),
        image_size=splits["train"].images.shape[1:3],
        channels=3,
        mean=(0.35,) * 3,
        std=(0.2,) * 3,
        sizes={each: len(split) for each, split in splits.items()},
        augment=augment,
        sha256={each: f"{name} {len(split)}" for each, split in splits.items()},
    )
    return Dataset(info, splits)


def worst(ours: nn.Module, theirs: nn.Module) -> float:
    """The largest difference of two networks' tensors, as a share of the tensor's largest value."""
    gaps = [0.0]
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        x, y = a.detach().double().cpu(), b.detach().double().cpu()
        gaps.append(float((x - y).abs().max() / y.abs().max().clamp_min(1e-6)))
    return max(gaps, key=lambda gap: (gap != gap, gap))
