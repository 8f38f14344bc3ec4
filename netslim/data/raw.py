"""A dataset before it is packed, and the checks that every dataset must pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from netslim.data.info import Split
from netslim.errors import DataError

__all__ = ["Source", "check"]


@dataclass(frozen=True)
class Source:
    """Splits "train" and "test", perhaps "val", as they come from the publisher or from a folder."""

    title: str
    classes: tuple[str, ...]
    augment: str
    splits: dict[str, Split] = field(repr=False)


def check(source: Source) -> None:
    """Check that labels fit the classes, that images have one size, and that every class has training images.

    Raises:
        DataError: one of them is not so.
    """
    shape = source.splits["train"].images.shape[1:]
    for name, split in source.splits.items():
        if not len(split):
            raise DataError("has no images", field=f"{source.title}, {name}")
        if split.images.shape[1:] != shape:
            problem = (
                f"images are {split.images.shape[1:]}, the training images {shape} (height, width, channels)"
            )
            raise DataError(problem, field=f"{source.title}, {name}", remedy="Give a size to resize to")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= len(source.classes):
            problem = f"labels from {low} to {high} for {len(source.classes)} classes"
            raise DataError(problem, field=f"{source.title}, {name}", remedy="Labels start at 0")
    present = np.bincount(source.splits["train"].labels, minlength=len(source.classes))
    empty = [label for label, count in zip(source.classes, present, strict=True) if not count]
    if empty:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        remedy = "Add images, remove the class, or draw fewer validation images"
        raise DataError(f"no training images of class {shown}", field=source.title, remedy=remedy)
