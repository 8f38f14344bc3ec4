"""Figure 6: the scaling factors of one layer over the epochs of sparse training, VGG."""

from __future__ import annotations

import numpy as np

from benchmarks.paper.context import Context
from benchmarks.paper.families import Study
from benchmarks.paper.plots import figure_file
from benchmarks.paper.result import Result, Row, Table

__all__ = ["figure6"]

COLUMNS = {"largest": ".3f", "median": ".3f", "below 0.001, %": ".1f"}


def figure6(context: Context) -> Result:
    studies = [Study.of(context, "vgg", "cifar10", seed) for seed in context.seeds(1)]
    stored = [one.sparse().facts["factors"] for one in studies]
    factors = np.abs(np.array(stored))  # seeds x epochs x channels
    study, first = studies[0], factors[0]
    with figure_file(context.plot("figure6.png"), f"{study.title} on {study.data.title}") as figure:
        axes = figure.subplots()
        order = np.argsort(first[-1])
        extent = (0.5, len(first) + 0.5, 0, first.shape[1])
        picture = axes.imshow(
            first[:, order].T, aspect="auto", cmap="hot", origin="lower", vmin=0, extent=extent
        )
        axes.set(xlabel="epoch", ylabel="channel, by its last factor")
        figure.colorbar(picture, label="|scaling factor|")
    rows = []
    for epoch in sorted({0, len(first) // 2, len(first) - 1}):
        sizes = factors[:, epoch]
        values = {
            "largest": sizes.max(1).tolist(),
            "median": np.median(sizes, 1).tolist(),
            "below 0.001, %": (100 * (sizes < 1e-3).mean(1)).tolist(),
        }
        rows.append(Row(f"after epoch {epoch + 1}", values))
    number = study.family.layer[not study.full] if study.family.layer else 0
    notes = [
        study.words(),
        f"The layer is convolution {number}; in the paper it is convolution 11 of VGG-19. All factors start "
        "at 0.5. The picture is of seed 0.",
    ]
    table = Table(f"{study.title}: factors of one layer", COLUMNS, rows)
    return Result("Figure 6: channels being selected", study.data.title, notes, [table], ["figure6.png"])
