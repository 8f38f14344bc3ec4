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
    study = Study.of(bench, "vgg", "cifar10", bench.seeds(1)[0])
    nets = {name: study.sparse(strength) for name, strength in STRENGTHS.items()}
    rows = []
    with drawn(bench.plot("figure4.png"), f"{study.title} on {study.data.title}", (8.4, 2.6)) as figure:
        for axes, (name, net) in zip(figure.subplots(1, len(nets)), nets.items(), strict=True):
            factors = _factors(net)
            axes.hist(factors.numpy(), bins=50, range=(0, float(factors.max())), color=COLOURS["one"])
            axes.set(title=name, xlabel="|scaling factor|", ylabel="channels")
            ours = {
                "below 0.001, %": [100 * float((factors < 1e-3).double().mean())],
                "below 0.05, %": [100 * float((factors < 5e-2).double().mean())],
                "median": [float(factors.median())],
                "test error, %": [net.error],
            }
            rows.append(Row(name, ours))
    says = [study.words(), "The paper's are 0, 1e-5 and 1e-4; it gives pictures and no numbers here."]
    table = Table(f"{study.title}: scaling factors", COLUMNS, rows)
    return Result("Figure 4: scaling factors", study.data.title, says, [table], ["figure4.png"])


def _factors(net: Net) -> torch.Tensor:
    return torch.cat([factor.detach().abs().flatten() for _, factor in scaling_factors(net.load().model)])
