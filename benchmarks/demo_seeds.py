"""The results of `make demo` for several seeds: its steps in one process, without the pipeline around them.

    python -m benchmarks.demo_seeds                 # seeds 0, 1, 2; exit code 1 when a goal is missed

The goals: the last pass has at least 25 times fewer parameters and 15 times fewer FLOPs than the baseline,
its error is at most 0.6 points higher (mean over the seeds), and in passes 1 and 2 pruning alone changes the
error by at most 0.2 points. One test image is 0.125 points.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.provenance import bullets, facts, markdown
from benchmarks.stored import output_option, save
from netslim import data
from netslim.pruning.options import PruningOptions
from netslim.steps.prune import prune_step
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.train import train_step
from netslim.steps.training_request import TrainingRequest

PASSES = 3
MIN_PARAMS, MIN_FLOPS, MAX_ERROR_INCREASE, MAX_PRUNING_CHANGE = 25.0, 15.0, 0.6, 0.2
PRUNING = PruningOptions()


def demo(dataset: Path, seed: int) -> dict[str, Any]:
    """One run: errors in percent before and after pruning and after fine-tuning, and reductions, by pass."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:

        def path(name: str, index: int) -> Path:
            return Path(folder, str(index), name, "model")

        def train(stage: str, model: Path, pass_index: int, **inputs: Any) -> TrainMetrics:
            return train_step(
                TrainingRequest(
                    stage=stage,
                    dataset=str(dataset),
                    model=str(model),
                    architecture="vgg-digits",
                    preset="digits",
                    seed=seed,
                    pass_index=pass_index,
                    **inputs,
                )
            )

        wide = path("train", 0)
        base = train("base", wide, 0)
        start, passes = None, []
        for index in range(1, PASSES + 1):
            sparse, slim, tuned = (path(name, index) for name in ("train", "prune", "tune"))
            before = train("sparse", sparse, index, start=start)
            pruned = prune_step(dataset, sparse, slim, PRUNING)
            after = train("fine_tune", tuned, index, start=str(slim), teacher=str(wide))
            if index == 1:
                params, macs = pruned.before.params, pruned.before.macs
            passes.append(
                {
                    "trained": before.error,
                    "pruned": pruned.error,
                    "error": after.error,
                    "params": params / pruned.after.params,
                    "flops": macs / pruned.after.macs,
                }
            )
            start = str(tuned)
    return {"seed": seed, "base": base.error, "passes": passes, "seconds": time.process_time() - begun}


def totals(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Over all seeds: mean reductions and mean rise of the error in the last pass; the worst pruning."""
    last = [run["passes"][-1] for run in runs]
    changes = [abs(each["pruned"] - each["trained"]) for run in runs for each in run["passes"][:2]]
    return {
        "params": statistics.fmean(each["params"] for each in last),
        "flops": statistics.fmean(each["flops"] for each in last),
        "error_increase": statistics.fmean(run["passes"][-1]["error"] - run["base"] for run in runs),
        "pruning_change": max(changes),
    }


def goals(runs: list[dict[str, Any]]) -> dict[str, bool]:
    """Each goal in words, and whether it is met."""
    total = totals(runs)
    params, flops, increase, change = total.values()
    return {
        f"parameters: {params:.1f}x fewer, goal at least {MIN_PARAMS:g}x": params >= MIN_PARAMS,
        f"FLOPs: {flops:.1f}x fewer, goal at least {MIN_FLOPS:g}x": flops >= MIN_FLOPS,
        f"error: {increase:+.2f} points against the baseline, goal at most {MAX_ERROR_INCREASE:+g}": increase
        <= MAX_ERROR_INCREASE,
        f"largest change of the error by pruning in passes 1 and 2: {change:.2f} points, "
        f"goal at most {MAX_PRUNING_CHANGE:g}": change <= MAX_PRUNING_CHANGE,
    }


def page(result: Mapping[str, Any]) -> str:
    header = ["seed", "baseline"]
    for index in range(1, PASSES + 1):
        header += [f"pass {index}: trained / pruned / fine-tuned", "params / FLOPs fewer"]
    table = markdown([*header, "CPU s"], map(_row, result["runs"]))
    met = [f"- {'met' if met else 'MISSED'}: {goal}" for goal, met in goals(result["runs"]).items()]
    return "\n\n".join(["Errors in percent.", table, "\n".join(met), bullets(result["facts"])])


def _row(run: dict[str, Any]) -> list[str]:
    cells = [str(run["seed"]), f"{run['base']:.2f}"]
    for each in run["passes"]:
        errors = " / ".join(f"{each[name]:.2f}" for name in ("trained", "pruned", "error"))
        cells += [errors, f"{each['params']:.1f}x / {each['flops']:.1f}x"]
    return [*cells, f"{run['seconds']:.0f}"]


@click.command()
@click.option("--seeds", default=3, show_default=True, help="Number of seeds, from 0 on.")
@output_option
def main(seeds: int, output: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder, "digits")
        data.prepare("digits", dataset)
        runs = []
        for seed in range(seeds):
            runs.append(demo(dataset, seed))
            click.echo(f"seed {seed} done", err=True)
    result = {"facts": facts("scikit-learn"), "runs": runs}
    click.echo(page(result))
    save(result, "demo_seeds", output)
    raise SystemExit(not all(goals(runs).values()))


if __name__ == "__main__":
    main()
