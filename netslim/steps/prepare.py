"""Step prepare_data: pack the original files into one dataset with checksums."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from netslim import data, progress

__all__ = ["prepare", "summary"]


def prepare(
    output: str | os.PathLike[str],
    *,
    name: str,
    root: str = "",
    download: bool = False,
    validation: int = 0,
    size: int = 0,
    title: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Pack dataset `name` into the folder `output`; see `netslim.data.prepare` for the arguments.

    Returns:
        The metadata that KFP shows beside the artifact: the title and the number of images of each split.
    """
    with progress.bar("packing", 1) as bar:
        info = data.prepare(
            name,
            output,
            root=root or None,
            download=download,
            validation=validation,
            size=size or None,
            title=title or None,
            seed=seed,
        )
        bar.advance(**info.sizes)
    return {"title": info.title, "classes": len(info.classes), **info.sizes}


def summary(metadata: Mapping[str, Any]) -> str:
    """The result of `prepare` in a line: `digits (8 x 8), 10 classes, images: 1,000 train, 797 test`."""
    sizes = ", ".join(
        f"{metadata[split]:,} {split}" for split in ("train", "val", "test") if split in metadata
    )
    return f"{metadata['title']}, {metadata['classes']} classes, images: {sizes}"
