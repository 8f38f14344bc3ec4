"""What the demo promises, over seeds: its steps in one process, without the pipeline around them.

    python benchmarks/demo_seeds.py                 # seeds 0, 1, 2; exit code 1 when a promise is broken

The promises: the last pass has at least 25 times fewer parameters and 15 times fewer FLOPs than the baseline,
at an error within 0.6 points of it (mean over the seeds), and in passes 1 and 2 pruning itself changes the
error by no more than 0.2 points. One test image is 0.125 points.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from provenance import facts, markdown

from netslim import data
from netslim.files import write_json
from netslim.steps.prune import prune_step
from netslim.steps.train import train_step

PASSES = 3
PARAMS, FLOPS, LOSS, JUMP = 25.0, 15.0, 0.6, 0.2
PRUNING: dict[str, Any] = {
    "percent": "0.5",
    "target": {},
    "scope": "global",
    "policy": "auto",
    "max_layer_percent": 0.5,
    "min_channels": 1,
    "channel_multiple": 1,
    "compensate": True,
}


def demo(dataset: Path, seed: int) -> dict[str, Any]:
    """One run: errors in percent before and after pruning and after fine-tuning, and reductions, by pass."""
    shared: dict[str, Any] = {"preset": "digits", "overrides": {}, "seed": seed}
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:

        def at(name: str, index: int) -> Path:
            return Path(folder, str(index), name, "model")

        wide = at("train", 0)
        base = train_step("base", dataset, wide, architecture="vgg-digits", pass_index=0, **shared)
        start, passes = None, []
        for index in range(1, PASSES + 1):
            trained, pruned, tuned = (at(name, index) for name in ("train", "prune", "tune"))
            fresh = {"start": start} if start else {"architecture": "vgg-digits"}
            before = train_step("sparse", dataset, trained, pass_index=index, **fresh, **shared)
            cut = prune_step(dataset, trained, pruned, pass_index=index, **PRUNING)
            after = train_step(
                "fine_tune", dataset, tuned, start=pruned, teacher=wide, pass_index=index, **shared
            )
            if index == 1:
                params, macs = cut["params_before"], cut["macs_before"]
            passes.append(
                {
                    "trained": before["error"],
                    "pruned": cut["error_pruned"],
                    "error": after["error"],
                    "params": params / cut["params"],
                    "flops": macs / cut["macs"],
                }
            )
            start = tuned
    return {"seed": seed, "base": base["error"], "passes": passes, "seconds": time.process_time() - begun}


def verdicts(runs: list[dict[str, Any]]) -> dict[str, bool]:
    """Each promise, and whether it is kept."""
    last = [run["passes"][-1] for run in runs]
    params, flops = (statistics.fmean(each[name] for each in last) for name in ("params", "flops"))
    loss = statistics.fmean(run["passes"][-1]["error"] - run["base"] for run in runs)
    jump = max(abs(each["pruned"] - each["trained"]) for run in runs for each in run["passes"][:2])
    return {
        f"parameters {params:.1f}x fewer, at least {PARAMS:g}x": params >= PARAMS,
        f"FLOPs {flops:.1f}x fewer, at least {FLOPS:g}x": flops >= FLOPS,
        f"error {loss:+.2f} points against the baseline, at most {LOSS:+g}": loss <= LOSS,
        f"pruning changes the error by {jump:.2f} points at worst in passes 1 and 2, at most {JUMP:g}": jump
        <= JUMP,
    }


def row(run: dict[str, Any]) -> list[str]:
    cells = [str(run["seed"]), f"{run['base']:.2f}"]
    for each in run["passes"]:
        errors = " / ".join(f"{each[name]:.2f}" for name in ("trained", "pruned", "error"))
        cells += [errors, f"{each['params']:.1f}x / {each['flops']:.1f}x"]
    return [*cells, f"{run['seconds']:.0f}"]


@click.command()
@click.option("--seeds", default=3, show_default=True, help="How many, from 0 on.")
@click.option("--output", type=click.Path(path_type=Path), help="Write NAME.json and NAME.md.")
def main(seeds: int, output: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder, "digits")
        data.prepare("digits", dataset)
        runs = []
        for seed in range(seeds):
            runs.append(demo(dataset, seed))
            click.echo(f"seed {seed} done", err=True)
    header = ["seed", "baseline"]
    for index in range(1, PASSES + 1):
        header += [f"pass {index}: trained / pruned / tuned", "params / FLOPs fewer"]
    told, promises = facts("scikit-learn"), verdicts(runs)
    lines = [f"- {'kept' if kept else 'BROKEN'}: {promise}" for promise, kept in promises.items()]
    lines += [f"- {name}: {value}" for name, value in told.items()]
    text = "\n".join(["Errors in percent.\n", markdown([*header, "CPU s"], map(row, runs)), "", *lines])
    print(f"\n{text}")
    if output:
        write_json(output.with_suffix(".json"), {"facts": told, "runs": runs})
        output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    raise SystemExit(not all(promises.values()))


if __name__ == "__main__":
    main()
