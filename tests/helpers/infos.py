"""What is known of a dataset that a test makes up."""

from __future__ import annotations

from typing import Any

from netslim.data import DatasetInfo


def info(image_size: tuple[int, int] = (2, 2), channels: int = 1, **others: Any) -> DatasetInfo:
    """Of images of this size, with whatever a test cares for and the rest of no matter."""
    fields: dict[str, Any] = {
        "name": "toy",
        "title": "toy",
        "classes": ("a", "b"),
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "sizes": {},
        "augment": "none",
        "sha256": {},
    }
    return DatasetInfo(image_size=image_size, channels=channels, **fields | others)
