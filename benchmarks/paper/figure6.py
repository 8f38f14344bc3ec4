"""Figure 6: the scaling factors of one layer over the epochs of sparse training, VGG."""

from __future__ import annotations

import numpy as np

from benchmarks.paper.bench import Bench
from benchmarks.paper.families import Study
from benchmarks.paper.plots import drawn
from benchmarks.paper.result import Result, Row, Table

__all__ = ["figure6"]

COLUMNS = {"largest": ".3f", "median": ".3f", "below 0.001, %": ".1f"}


def figure6(bench: Bench) -> Result:
    studies = [Study.of(bench, "vgg", "cifar10", seed) for seed in bench.seeds(1)]
    found = np.abs(np.array([one.sparse().facts["factors"] for one in studies]))  # seeds x epochs x channels
    study, factors = studies[0], found[0]
    with drawn(bench.plot("figure6.png"), f"{study.title} on {study.data.title}") as figure:
        axes = figure.subplots()
        order = np.argsort(factors[-1])
        extent = (0.5, len(factors) + 0.5, 0, factors.shape[1])
        picture = axes.imshow(
            factors[:, order].T, aspect="auto", cmap="hot", origin="lower", vmin=0, extent=extent
        )
        axes.set(xlabel="epoch", ylabel="channel, by its last factor")
        figure.colorbar(picture, label="|scaling factor|")
    rows = []
    for epoch in sorted({0, len(factors) // 2, len(factors) - 1}):
        sizes = found[:, epoch]
        values = {
            "largest": sizes.max(1).tolist(),
            "median": np.median(sizes, 1).tolist(),
            "below 0.001, %": (100 * (sizes < 1e-3).mean(1)).tolist(),
        }
        rows.append(Row(f"after epoch {epoch + 1}", values))
    number = study.family.layer[not study.full] if study.family.layer else 0
    says = [
        study.words(),
        f"The layer is convolution {number}; the paper's is VGG-19's 11th. All factors start at 0.5. "
        "The picture is of seed 0.",
    ]
    table = Table(f"{study.title}: factors of one layer", COLUMNS, rows)
    return Result("Figure 6: channels being selected", study.data.title, says, [table], ["figure6.png"])
