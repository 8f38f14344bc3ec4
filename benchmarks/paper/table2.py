"""Table 2: VGG-A for ImageNet with half of its channels pruned: the structure, and one step of real training.

ImageNet was not available, so no network is trained. Scaling factors are set by hand so that as many channels
are pruned as the paper reports, and the size of the slim network is compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import netslim
from benchmarks.paper.context import Context
from benchmarks.paper.result import Result, Row, Table
from netslim import data, models
from netslim.cost import Cost
from netslim.sparsity import scaling_factors
from netslim.training import presets
from netslim.training.train import train

__all__ = ["table2"]

COLUMNS = {
    "parameters, M": ".1f",
    "params pruned, %": ".1f",
    "FLOPs (6 x MACs), 1e10": ".2f",
    "FLOPs pruned, %": ".1f",
}
PAPER = {"baseline": (132.9, None, 4.57, None), "pruned": (23.2, 82.5, 3.18, 30.4)}
CHANNELS, NEURONS = 378, 5094  # removed of 2752 and 8192 (section 4.4)
FIRST_KEEPS = 570
NOTES = (
    "Not trained: ImageNet was not available (the paper reports 36.69 % validation error before and 36.66 % "
    "after). Only the structure is compared. The lower half of the 10,944 scaling factors is pruned; they "
    f"were set so that {CHANNELS} of 2,752 channels and {NEURONS:,} of 8,192 neurons are removed, as in the "
    "paper.",
    "The paper does not say which layers lose them. Spread evenly, fewer parameters and FLOPs are removed "
    "than the paper reports. Its number of parameters results if the first linear layer keeps about "
    f"{FIRST_KEEPS} of its 4,096 neurons. Its FLOPs are six times the MACs here, twice in its other tables.",
)


def table2(context: Context) -> Result:
    side = 32 if context.scale == "tiny" else 224
    context.seeds(1)
    torch.manual_seed(0)
    wide = models.build(models.resolve("vgg-a", num_classes=1000, in_channels=3, image_size=(side, side)))
    example = torch.zeros(1, 3, side, side)
    before = netslim.count(wide, example)
    rows = [Row("baseline", _columns(before, before), _paper("baseline"))]
    even = NEURONS // 2
    hard = 4096 - FIRST_KEEPS
    for name, first in (
        ("50 % pruned, spread evenly", even),
        (f"50 % pruned, the first linear layer keeps {FIRST_KEEPS}", hard),
    ):
        _set_factors(wide, first)
        result = netslim.prune(wide, example, percent=0.5)
        rows.append(Row(name, _columns(before, result.after), _paper("pruned")))
    del wide
    notes = [*NOTES, _one_step(context, side)]
    title = "Table 2: VGG-A for ImageNet, by structure"
    return Result(title, "none (random images for the one step)", notes, [Table("VGG-A", COLUMNS, rows)])


def _columns(before: Cost, after: Cost) -> dict[str, list[float]]:
    return {
        "parameters, M": [after.params / 1e6],
        "params pruned, %": [100 * (1 - after.params / before.params)],
        "FLOPs (6 x MACs), 1e10": [6 * after.macs / 1e10],
        "FLOPs pruned, %": [100 * (1 - after.macs / before.macs)],
    }


def _paper(row: str) -> Mapping[str, float | None]:
    return dict(zip(COLUMNS, PAPER[row], strict=True))


@torch.no_grad()
def _set_factors(model: nn.Module, first: int) -> None:
    """Make the factors to prune small: `first` of the first linear layer, the others as the paper counts."""
    layers = [factors for _, factors in scaling_factors(model)]
    convolutions, linears = layers[:-2], layers[-2:]
    channels = sum(len(factors) for factors in convolutions)
    ends = np.round(np.cumsum([len(f) for f in convolutions]) * CHANNELS / channels).astype(int)
    counts = [*np.diff(ends, prepend=0).tolist(), first, NEURONS - first]
    for factors, count in zip([*convolutions, *linears], counts, strict=True):
        factors.fill_(1.0)
        factors[:count] = 0.01


def _one_step(context: Context, side: int) -> str:
    """Train VGG-A with sparsity for one step on a folder of eight random images; the result in words."""
    folder = context.work / f"images-{side}"
    random = np.random.default_rng(0)
    for index in range(16):
        split, label = ("train", "test")[index // 8], ("left", "right")[index % 2]
        file = folder / split / label / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file)
    packed = context.work / "data" / Path(folder).name
    data.prepare("folder", packed, root=folder, size=side)
    dataset = data.open_dataset(packed)
    model = models.build(models.resolve("vgg-a", num_classes=2, in_channels=3, image_size=(side, side)))
    recipe = presets.stage("imagenet", "sparse", {"epochs": 1, "batch_size": 8, "threads": 1})
    begun = time.perf_counter()
    result = train(model, dataset, recipe, seed=0)
    spent = time.perf_counter() - begun
    return (
        f"One step of sparse training with the preset `imagenet` (lambda {result.lambda_:g}) on 8 random "
        f"images of {side} x {side} from an image folder: loss {result.history[-1]['train/loss']:.2f}, "
        f"{spent:.0f} s with the evaluation."
    )
