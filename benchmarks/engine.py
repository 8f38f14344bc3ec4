"""Time and peak memory from a model to a pruned model: netslim beside Torch-Pruning, in one process.

    python benchmarks/engine.py                      # the 58 torchvision classifiers with BatchNorm
    python benchmarks/engine.py resnet50 densenet201 --repeats 5 --output benchmarks/results/engine

Both remove half of the channels by a global ranking of |gamma| on the same random factors, each as it does by
default and on an image of the same size. They take turns, model by model. Time is CPU seconds of one thread,
which other work on the machine disturbs least, as the median of the runs. Memory is measured in a run of its
own; where that takes over 5 seconds, it is the only one. Neither recounts costs nor verifies its result.

On netslim's clock are its copy of the model, which stays as it is, and folding what removed channels sent.
Torch-Pruning changes the model it is given and folds nothing. The copy that keeps the original is timed
apart; the ratio is given without it ("faster") and with it ("with copy").
"""

from __future__ import annotations

import copy
import ctypes
import gc
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from provenance import facts, markdown
from torch import nn

import netslim
from netslim.files import write_json
from netslim.models import zoo

NO_BATCHNORM = ("alexnet", "convnext", "squeezenet", "swin", "vit")
PLAIN_VGG = ("vgg11", "vgg13", "vgg16", "vgg19")
EXTRAS = {"googlenet": {"aux_logits": True}, "inception_v3": {"aux_logits": True}}
PERCENT = 0.5
SLOW = 5.0  # seconds; what takes longer is timed once
SIDES = ("ours", "theirs")


def model_names() -> list[str]:
    """The torchvision classifiers that have BatchNorm."""
    return [n for n in zoo.names() if not n.startswith(NO_BATCHNORM) and n not in PLAIN_VGG]


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network as torchvision builds it, with random factors, and an image of the size it is made for."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two builders announce a changed default
        model = zoo.build(name, **EXTRAS.get(name, {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    side = 299 if name == "inception_v3" else 224
    return model.eval(), torch.randn(1, 3, side, side)


def slim_ours(model: nn.Module, image: torch.Tensor) -> nn.Module:
    return netslim.prune(model, image, percent=PERCENT).model


def slim_theirs(model: nn.Module, image: torch.Tensor) -> nn.Module:
    import torch_pruning

    heads = [m for m in model.modules() if getattr(m, "out_features", getattr(m, "out_channels", 0)) == 1000]
    pruner = torch_pruning.pruner.BNScalePruner(
        model,
        image,
        importance=torch_pruning.importance.BNScaleImportance(),
        global_pruning=True,
        pruning_ratio=PERCENT,
        ignored_layers=heads,
    )
    pruner.step()
    return model


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError inside the block when it takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no result in {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def resident(field: str) -> float:
    """MiB from this process's status: VmRSS (now) or VmHWM (the most since it was last reset)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def timed(make: Callable[..., nn.Module], *inputs: Any) -> tuple[nn.Module, dict[str, float]]:
    """Run once; CPU and wall seconds."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    model = make(*inputs)
    return model, {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def weighed(make: Callable[..., nn.Module], *inputs: Any) -> tuple[nn.Module, dict[str, float]]:
    """Run once; the peak of memory above what was resident before, in MiB. Times, if long."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # so that pages kept from the run before do not hide this one's
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = resident("VmRSS")
    model, times = timed(make, *inputs)
    peak = {"peak_mib": max(0.0, resident("VmHWM") - before)}
    return model, peak | times if times["cpu_s"] > SLOW else peak


def verdict(model: nn.Module, image: torch.Tensor) -> str:
    """Does the slim model run, in eval mode and in train mode (with its auxiliary heads)?"""
    with torch.no_grad():
        for mode, batch in (("eval", image), ("train", image.repeat(2, 1, 1, 1))):
            try:
                out = model.train(mode == "train")(batch)
            except Exception as error:
                return f"{mode}: {type(error).__name__}"
            if not all(torch.isfinite(part).all() for part in (out if isinstance(out, tuple) else (out,))):
                return f"{mode}: not finite"
    return "ok"


def compare(name: str, repeats: int, timeout: int) -> dict[str, Any]:
    """Take turns on one network; each side's median figures and verdict."""
    model, image = build(name)
    row: dict[str, Any] = {"model": name, "params": sum(p.numel() for p in model.parameters())}
    sides = {"ours": slim_ours, "theirs": slim_theirs}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    verdicts: dict[str, str] = {}
    for measure in (weighed, *[timed] * repeats):
        for side, slim in sides.items():
            slow = any(run.get("cpu_s", 0.0) > SLOW for run in runs[side])
            if slow or verdicts.get(side, "ok").startswith("prune"):
                continue
            own, copying = timed(copy.deepcopy, model) if side == "theirs" else (model, {"cpu_s": 0.0})
            try:
                with limited(timeout):
                    slimmed, figures = measure(slim, own, image)
            except Exception as error:
                verdicts[side] = f"prune: {type(error).__name__}"
                continue
            runs[side].append(figures | {"copy_s": copying["cpu_s"]})
            if side not in verdicts:
                verdicts[side] = verdict(slimmed, image)
                row[f"{side}_params"] = sum(p.numel() for p in slimmed.parameters())
            del slimmed, own
    for side in sides:
        row[side] = verdicts[side]
        for figure in ("cpu_s", "wall_s", "peak_mib", "copy_s"):
            values = [run[figure] for run in runs[side] if figure in run]
            row[f"{side}_{figure}"] = round(statistics.median(values), 4) if values else None
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Coverage of each side, and the ratios where both gave a model."""
    both = [row for row in rows if row["ours_cpu_s"] and row["theirs_cpu_s"]]
    faster = {row["model"]: row["theirs_cpu_s"] / row["ours_cpu_s"] for row in both}
    copied = [(row["theirs_cpu_s"] + row["theirs_copy_s"]) / row["ours_cpu_s"] for row in both]
    smaller = [row["theirs_peak_mib"] / max(row["ours_peak_mib"], 1) for row in both]
    return {
        "models": len(rows),
        "ours_ok": sum(row["ours"] == "ok" for row in rows),
        "theirs_ok": sum(row["theirs"] == "ok" for row in rows),
        "timed": len(both),
        "speedup_median": round(statistics.median(faster.values()), 2) if faster else None,
        "speedup_median_with_copy": round(statistics.median(copied), 2) if copied else None,
        "speedup_least": min(((round(s, 2), n) for n, s in faster.items()), default=None),
        "speedup_densenet201": round(faster["densenet201"], 2) if "densenet201" in faster else None,
        "peak_memory_ratio_median": round(statistics.median(smaller), 2) if smaller else None,
    }


def table(rows: list[dict[str, Any]]) -> str:
    seconds, memory = ("ours, s", "theirs, s", "faster", "with copy"), ("ours, MiB", "theirs, MiB")
    header = ("model", *seconds, *memory, "ours runs", "theirs runs")
    return markdown(header, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    ours, theirs = row["ours_cpu_s"], row["theirs_cpu_s"]
    return [
        row["model"],
        *("-" if value is None else f"{value:.3f}" for value in (ours, theirs)),
        f"{theirs / ours:.1f}x" if ours and theirs else "-",
        f"{(theirs + row['theirs_copy_s']) / ours:.1f}x" if ours and theirs else "-",
        *("-" if (peak := row[f"{side}_peak_mib"]) is None else f"{peak:.0f}" for side in SIDES),
        *(row[side] for side in SIDES),
    ]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--repeats", default=5, show_default=True, help="Timed runs of each side on each model.")
@click.option("--timeout", default=120, show_default=True, help="Seconds after which a run counts as failed.")
@click.option("--output", type=click.Path(path_type=Path), help="Write <output>.json and <output>.md.")
def main(names: tuple[str, ...], repeats: int, timeout: int, output: Path | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    compare("mobilenet_v3_small", 1, timeout)  # both sides load what they load on first use
    rows, origin = [], facts("torchvision", "torch-pruning")
    for name in names or model_names():
        rows.append(compare(name, repeats, timeout))
        click.echo("  ".join(_cells(rows[-1])))
        total = summary(rows)
        told = "\n".join(f"{key}: {value}" for key, value in (origin | total).items())
        if output:  # what is there so far, for this takes long
            write_json(output.with_suffix(".json"), {"machine": origin, "summary": total, "rows": rows})
            output.with_suffix(".md").write_text(f"{table(rows)}\n\n```\n{told}\n```\n", encoding="utf-8")
    click.echo(f"\n{table(rows)}\n\n{told}")


if __name__ == "__main__":
    main()
