"""What a training step is asked for in tests: a small network, so gently that rounding stays small."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def arguments(dataset: Path, model: Path, **recipe: Any) -> dict[str, Any]:
    return {
        "stage": "base",
        "dataset": str(dataset),
        "model": str(model),
        "architecture": "vgg-digits",
        "architecture_args": {},
        "preset": "digits",
        "overrides": {"threads": 1, "precision": "fp32", "lr": 1e-3, **recipe},
        "seed": 3,
        "pass_index": 0,
    }
