"""Datasets: prepared once into a packed, checksummed folder, and read from it by every step.

    data.prepare("cifar10", "out/cifar10", root="/datasets", validation=5000)
    dataset = data.open_dataset("out/cifar10")
    dataset.split("train").images                        # uint8[45000, 32, 32, 3]

Reading a packed dataset needs numpy and safetensors, not torch.
"""

from __future__ import annotations

from netslim.data.images import ImageFiles
from netslim.data.info import DatasetInfo, Split
from netslim.data.packed import PackedDataset, open_dataset
from netslim.data.prepare import PAPER_VALIDATION, names, prepare

__all__ = [
    "PAPER_VALIDATION",
    "DatasetInfo",
    "ImageFiles",
    "PackedDataset",
    "Split",
    "names",
    "open_dataset",
    "prepare",
]
