"""Table 3: the MLP on MNIST, by the paper's recipe and by ours, and what each part of ours is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.paper.bench import Bench
from benchmarks.paper.controls import filter_pruned, from_scratch
from benchmarks.paper.datasets import Dataset, held_out, part
from benchmarks.paper.result import Result, Row, Table
from benchmarks.paper.schemes import SCHEMES, STAGES, Scheme, choose, slim
from benchmarks.paper.workshop import Net, NotMadeError

__all__ = ["table3"]

VALIDATION = 10_000
WIDE = 784 * 500 + 500 * 300 + 300 * 10 + 10 + 2 * (500 + 300)  # parameters of the baseline
COLUMNS = {"test error, %": ".2f", "params pruned, %": ".1f", "CPU s": ".0f"}
PAPER = {
    "baseline": {"test error, %": 1.43},
    "fine-tuned": {"test error, %": 1.49, "params pruned, %": 84.4},
}
# What is changed in a scheme, one thing at a time.
ABLATIONS = {
    "ours": {
        "subgradient instead of proximal": ("sparse", {"penalty": "l1"}),
        "not adversarial": ("fine_tune", {"adversarial": 0.0}),
        "distilled": ("fine_tune", {"distill": 0.9}),
        "not distilled": ("fine_tune", {"distill": 0.0}),
    },
}
CONTROLLED = ("the paper's recipe", "ours")


def table3(bench: Bench) -> Result:
    data = bench.data("mnist")
    schemes = SCHEMES
    if bench.scale == "tiny":
        data, schemes = part(data, 1000), {name: _tiny(scheme) for name, scheme in SCHEMES.items()}
    choosing = held_out(data, len(data.split("train")) * VALIDATION // 60_000)
    tables, seeds = [], bench.seeds(3)
    trials: list[Row] = []
    for name, scheme in schemes.items():
        try:
            chosen, tried = choose(bench.shop, choosing, scheme, name)
        except NotMadeError:
            continue
        trials += [
            Row(
                f"{name}, {trial.setting}{' (chosen)' if trial.chosen else ''}",
                {"validation error, %": trial.errors},
            )
            for trial in tried
        ]
        if rows := _rows(bench, data, chosen, name, seeds):
            tables.append(Table(f"{name[0].upper()}{name[1:]}", COLUMNS, rows))
    tables.append(Table("Choices, on the held-out images", {"validation error, %": ".2f"}, trials))
    return Result(
        "Table 3: an MLP on MNIST, 784-500-300-10 slimmed to 784-100-60-10", data.title, SAYS, tables
    )


SAYS = (
    f"Every open setting was chosen on {VALIDATION:,} of the 60,000 training images, held out, with seeds "
    "that are none of those reported; the networks reported were then trained anew on all 60,000. The paper "
    "gives no lambda for MNIST. CPU s is the time to make that one network from the one it starts with, on "
    "one thread. Settings were chosen one after the other, in the table's order.",
    "The controls: the slim structure trained from new weights, as the slim network is fine-tuned, for twice "
    "the epochs (the budget of 'Scratch-B' in Liu et al. 2019, which is at most doubled), and neurons of the "
    "baseline pruned by the L1 norm of their weights (Li et al. 2017, the method of the paper's supplement), "
    "then fine-tuned alike.",
)


def _rows(bench: Bench, data: Dataset, scheme: Scheme, name: str, seeds: Sequence[int]) -> list[Row]:
    shop, tune = bench.shop, scheme.recipe("fine_tune")

    def stage(of: Scheme, which: str, label: str = name) -> Callable[[int], Net]:
        return lambda seed: getattr(slim(shop, data, of, seed, label), which)

    def scratch(seed: int) -> Net:
        run = slim(shop, data, scheme, seed, name)
        return from_scratch(shop, data, run.base, run.cut, tune, seed)

    def by_norm(seed: int) -> Net:
        base = slim(shop, data, scheme, seed, name).base
        return filter_pruned(shop, data, base, tune, seed, teacher=base, percent=0.8)

    nets = {
        "baseline": stage(scheme, "base"),
        "trained with sparsity": stage(scheme, "sparse"),
        "pruned, not fine-tuned": stage(scheme, "cut"),
        "fine-tuned": stage(scheme, "tuned"),
    }
    for says, (where, fields) in ABLATIONS.get(name, {}).items():
        other = scheme.having(where, **fields)
        if any(other.recipe(stage) != scheme.recipe(stage) for stage in STAGES):  # else it was chosen itself
            nets[f"fine-tuned, {says}"] = stage(other, "tuned", f"{name}, {says}")
    if name in CONTROLLED:
        nets |= {"control: from scratch": scratch, "control: L1-norm pruning": by_norm}
    return [_row(row, made) for row, net in nets.items() if (made := bench.made(seeds, net))]


def _row(name: str, nets: Sequence[Net]) -> Row:
    values = {
        "test error, %": [net.error for net in nets],
        "params pruned, %": [100 * (1 - net.facts["params"] / WIDE) for net in nets],
        "CPU s": [net.facts["cpu_seconds"] for net in nets],
    }
    return Row(name, values, PAPER.get(name, {}))


def _tiny(scheme: Scheme) -> Scheme:
    quick = [choice for choice in scheme.open if choice[1] != "epochs"]
    short = replace(scheme, open=quick).having("shared", epochs=1, batch_size=100)
    for stage in STAGES:
        short = short.having(stage, epochs=1)
    return short
