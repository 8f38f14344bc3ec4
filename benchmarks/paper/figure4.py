"""Figure 4: the scaling factors of a whole VGG, trained with three lambdas."""

from __future__ import annotations

import torch

from benchmarks.paper.bench import Bench
from benchmarks.paper.families import Study
from benchmarks.paper.plots import COLOURS, drawn
from benchmarks.paper.result import Result, Row, Table
from benchmarks.paper.workshop import Net
from netslim.sparsity import scaling_factors

__all__ = ["figure4"]

STRENGTHS = {"lambda = 0": 0.0, "a tenth of lambda": 0.1, "lambda": 1.0}
COLUMNS = {"below 0.001, %": ".1f", "below 0.05, %": ".1f", "median": ".4f", "test error, %": ".2f"}


def figure4(bench: Bench) -> Result:
    studies = [Study.of(bench, "vgg", "cifar10", seed) for seed in bench.seeds(1)]
    nets = {name: [one.sparse(strength) for one in studies] for name, strength in STRENGTHS.items()}
    study, rows = studies[0], []
    with drawn(bench.plot("figure4.png"), f"{study.title} on {study.data.title}", (8.4, 2.6)) as figure:
        for axes, (name, made) in zip(figure.subplots(1, len(nets)), nets.items(), strict=True):
            found = [_factors(net) for net in made]
            axes.hist(found[0].numpy(), bins=50, range=(0, float(found[0].max())), color=COLOURS["one"])
            axes.set(title=name, xlabel="|scaling factor|", ylabel="channels")
            ours = {
                "below 0.001, %": [100 * float((factors < 1e-3).double().mean()) for factors in found],
                "below 0.05, %": [100 * float((factors < 5e-2).double().mean()) for factors in found],
                "median": [float(factors.median()) for factors in found],
                "test error, %": [net.error for net in made],
            }
            rows.append(Row(name, ours))
    says = [
        study.words(),
        "The paper's are 0, 1e-5 and 1e-4; it gives pictures and no numbers here. The picture is of seed 0.",
    ]
    table = Table(f"{study.title}: scaling factors", COLUMNS, rows)
    return Result("Figure 4: scaling factors", study.data.title, says, [table], ["figure4.png"])


def _factors(net: Net) -> torch.Tensor:
    return torch.cat([factor.detach().abs().flatten() for _, factor in scaling_factors(net.load().model)])
