"""Time and peak memory from a model to a pruned model: netslim beside Torch-Pruning, in one process.

    python -m benchmarks.engine                      # the 58 torchvision classifiers with BatchNorm
    python -m benchmarks.engine resnet50 densenet201 --repeats 5

Both remove half of the channels by a global ranking of |gamma|, with the same random factors, their default
options and an image of the same size. They take turns, model by model. Time is CPU seconds of one thread,
because other work on the machine disturbs it least; the median of the runs is reported. Memory is measured in
a separate run. If that run takes over 5 seconds, it is the only run. Costs are not counted and results are
not verified on either side.

netslim's time includes its copy of the model, which it does not change, and bias compensation. Torch-Pruning
changes the model in place and does not compensate. The copy that its user needs to keep the original is timed
separately; the ratio is given without it ("faster") and with it ("with copy").
"""

from __future__ import annotations

import copy
import ctypes
import gc
import math
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

import netslim
from benchmarks.provenance import bullets, facts, markdown
from benchmarks.stored import output_option, save
from netslim.models import torchvision_zoo

NO_BATCHNORM = ("alexnet", "convnext", "squeezenet", "swin", "vit")
PLAIN_VGG = ("vgg11", "vgg13", "vgg16", "vgg19")
EXTRAS = {"googlenet": {"aux_logits": True}, "inception_v3": {"aux_logits": True}}
PERCENT = 0.5
SLOW = 5.0  # seconds; a run that takes longer is not repeated
SIDES = ("ours", "theirs")


def model_names() -> list[str]:
    """The torchvision classifiers that have BatchNorm."""
    return [n for n in torchvision_zoo.names() if not n.startswith(NO_BATCHNORM) and n not in PLAIN_VGG]


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network as torchvision builds it, with random factors, and an image of its usual size."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two builders announce a changed default
        model = torchvision_zoo.build(name, **EXTRAS.get(name, {}))
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


def measure_time(make: Callable[..., nn.Module], *inputs: Any) -> tuple[nn.Module, dict[str, float]]:
    """Run once; CPU and wall seconds."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    model = make(*inputs)
    return model, {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def measure_memory(make: Callable[..., nn.Module], *inputs: Any) -> tuple[nn.Module, dict[str, float]]:
    """Run once; the peak of resident memory above the level before, in MiB. A slow run is also timed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else pages kept from the run before are reused and not counted
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = resident("VmRSS")
    model, times = measure_time(make, *inputs)
    peak = {"peak_mib": max(0.0, resident("VmHWM") - before)}
    return model, peak | times if times["cpu_s"] > SLOW else peak


def run_check(model: nn.Module, image: torch.Tensor) -> str:
    """ "ok" if the slim model runs in eval mode and in train mode (with auxiliary heads), else the reason."""
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
    """Take turns on one network; each side's median figures, and whether its slim model runs."""
    model, image = build(name)
    row: dict[str, Any] = {"model": name, "params": sum(p.numel() for p in model.parameters())}
    sides = {"ours": slim_ours, "theirs": slim_theirs}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    checks: dict[str, str] = {}
    for measure in (measure_memory, *[measure_time] * repeats):
        for side, slim in sides.items():
            slow = any(run.get("cpu_s", 0.0) > SLOW for run in runs[side])
            if slow or checks.get(side, "ok").startswith("prune"):
                continue
            if side == "theirs":
                original, copying = measure_time(copy.deepcopy, model)
            else:
                original, copying = model, {"cpu_s": 0.0}
            try:
                with limited(timeout):
                    slimmed, figures = measure(slim, original, image)
            except Exception as error:
                checks[side] = f"prune: {type(error).__name__}"
                continue
            runs[side].append(figures | {"copy_s": copying["cpu_s"]})
            if side not in checks:
                checks[side] = run_check(slimmed, image)
                row[f"{side}_params"] = sum(p.numel() for p in slimmed.parameters())
            del slimmed, original
    for side in sides:
        row[side] = checks[side]
        for figure in ("cpu_s", "wall_s", "peak_mib", "copy_s"):
            values = [run[figure] for run in runs[side] if figure in run]
            row[f"{side}_{figure}"] = round(statistics.median(values), 4) if values else None
    return row


@dataclass(frozen=True)
class Totals:
    """How many models each side prunes, and Torch-Pruning's time and memory over netslim's where both do."""

    models: int
    ours: int
    theirs: int
    faster: dict[str, float]
    """Ratio of the times, by model."""
    faster_median: float
    faster_median_with_copy: float
    memory_median: float


def totals(rows: list[dict[str, Any]]) -> Totals:
    both = [row for row in rows if row["ours_cpu_s"] and row["theirs_cpu_s"]]
    faster = {row["model"]: row["theirs_cpu_s"] / row["ours_cpu_s"] for row in both}
    with_copy = [(row["theirs_cpu_s"] + row["theirs_copy_s"]) / row["ours_cpu_s"] for row in both]
    memory = [row["theirs_peak_mib"] / max(row["ours_peak_mib"], 1) for row in both]
    return Totals(
        models=len(rows),
        ours=sum(row["ours"] == "ok" for row in rows),
        theirs=sum(row["theirs"] == "ok" for row in rows),
        faster=faster,
        faster_median=statistics.median(faster.values()) if faster else math.nan,
        faster_median_with_copy=statistics.median(with_copy) if with_copy else math.nan,
        memory_median=statistics.median(memory) if memory else math.nan,
    )


def page(result: Mapping[str, Any]) -> str:
    total = totals(result["rows"])
    lines = [
        f"- netslim gives a working model for {total.ours} of {total.models} classifiers, Torch-Pruning for "
        f"{total.theirs}",
    ]
    if total.faster:
        least, ratios = min(total.faster, key=total.faster.__getitem__), list(total.faster.values())
        lines += [
            f"- of the {len(total.faster)} that both prune, netslim is faster on "
            f"{sum(ratio > 1 for ratio in ratios)}, at least 5 times on {sum(r >= 5 for r in ratios)}",
            f"- median {total.faster_median:.2f} times faster, with copy {total.faster_median_with_copy:.2f}",
            f"- least {total.faster[least]:.2f} times faster ({least})",
            f"- median {total.memory_median:.1f} times less memory",
        ]
    return "\n\n".join([table(result["rows"]), "\n".join(lines), bullets(result["facts"])])


def table(rows: list[dict[str, Any]]) -> str:
    names = ("netslim", "Torch-Pruning")
    seconds, memory = (f"{name}, s" for name in names), (f"{name}, MiB" for name in names)
    header = ("model", *seconds, "faster", "with copy", *memory, *(f"{name} runs" for name in names))
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
@output_option
def main(names: tuple[str, ...], repeats: int, timeout: int, output: Path | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    compare("mobilenet_v3_small", 1, timeout)  # the first use of each side imports modules
    result: dict[str, Any] = {"facts": facts("torchvision", "torch-pruning"), "rows": []}
    for name in names or model_names():
        result["rows"].append(compare(name, repeats, timeout))
        click.echo("  ".join(_cells(result["rows"][-1])), err=True)
        save(result, "engine", output)  # after each model, because all of them take long
    click.echo(page(result))


if __name__ == "__main__":
    main()
