"""Figure 4: all scaling factors of a VGG, trained with three lambdas."""

from __future__ import annotations

import torch

from benchmarks.paper.context import Context
from benchmarks.paper.families import Study
from benchmarks.paper.networks import Net
from benchmarks.paper.plots import COLOURS, figure_file
from benchmarks.paper.result import Result, Row, Table
from netslim.sparsity import scaling_factors

__all__ = ["figure4"]

STRENGTHS = {"lambda = 0": 0.0, "a tenth of lambda": 0.1, "lambda": 1.0}
COLUMNS = {"below 0.001, %": ".1f", "below 0.05, %": ".1f", "median": ".4f", "test error, %": ".2f"}


def figure4(context: Context) -> Result:
    studies = [Study.of(context, "vgg", "cifar10", seed) for seed in context.seeds(1)]
    nets = {name: [one.sparse(strength) for one in studies] for name, strength in STRENGTHS.items()}
    study, rows = studies[0], []
    with figure_file(
        context.plot("figure4.png"), f"{study.title} on {study.data.title}", (8.4, 2.6)
    ) as figure:
        for axes, (name, made) in zip(figure.subplots(1, len(nets)), nets.items(), strict=True):
            factors = [_factors(net) for net in made]
            axes.hist(factors[0].numpy(), bins=50, range=(0, float(factors[0].max())), color=COLOURS["one"])
            axes.set(title=name, xlabel="|scaling factor|", ylabel="channels")
            ours = {
                "below 0.001, %": [100 * float((each < 1e-3).double().mean()) for each in factors],
                "below 0.05, %": [100 * float((each < 5e-2).double().mean()) for each in factors],
                "median": [float(each.median()) for each in factors],
                "test error, %": [net.error for net in made],
            }
            rows.append(Row(name, ours))
    notes = [
        study.words(),
        "The paper uses 0, 1e-5 and 1e-4, and shows pictures without numbers. The picture is of seed 0.",
    ]
    table = Table(f"{study.title}: scaling factors", COLUMNS, rows)
    return Result("Figure 4: scaling factors", study.data.title, notes, [table], ["figure4.png"])


def _factors(net: Net) -> torch.Tensor:
    return torch.cat([factor.detach().abs().flatten() for _, factor in scaling_factors(net.load().model)])
