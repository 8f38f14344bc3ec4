"""Is everything computed right on the GPU? Each check is a row with `ok`.

python -m benchmarks.gpu.checks SECONDS
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import netslim
from benchmarks.gpu.common import SMOKE, Rows, device, graphs_on_a_cpu, network, toy, worst
from benchmarks.paper.datasets import Dataset
from netslim.errors import TrainingError
from netslim.training.device import model_on_device
from netslim.training.loaders.in_memory import ordered
from netslim.training.precision import float32_products
from netslim.training.recipe import Recipe
from netslim.training.step_runner import TRIAL_PAYS
from netslim.training.train import TrainResult, train
from netslim.training.trainer import Trainer

SMALL: Mapping[str, dict[str, Any]] = {
    "vgg11-small": {"width": 0.125 if SMOKE else 0.25},
    "resnet164": {"depth": 11},
    "densenet40": {"depth": 10},
}
MIXED = "fp32" if SMOKE else "bf16"
"""CPUs without bfloat16 need seconds for a step with it."""
VARIANTS: Mapping[str, dict[str, Any]] = {
    "l1, step": {"lambda_": 1e-3},
    "smooth-l1, cosine": {"lambda_": 1e-3, "penalty": "smooth-l1", "schedule": "cosine"},
    "proximal": {"total_shrinkage": 0.5, "penalty": "proximal"},
    "distillation": {"distill": 0.5, "label_smoothing": 0.1},
    "affine, val": {"augment": "affine", "select": "val"},
}


def recipe(**changes: Any) -> Recipe:
    return Recipe(
        **({"epochs": 3, "batch_size": 32 if SMOKE else 64, "lr": 0.05, "precision": "fp32"} | changes)
    )


@contextmanager
def log_of_graphs() -> Iterator[list[str]]:
    """The reasons that the log has for steps without a graph."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, log = Handler(), logging.getLogger("netslim.training")
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)


class WithDropout(nn.Module):
    """A network whose training needs the GPU's random numbers; and, if asked for, does what no graph can."""

    def __init__(self, inner: nn.Module, odd: str = "") -> None:
        super().__init__()
        self.dropout, self.inner, self.odd = nn.Dropout(0.1), inner, odd

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.inner(self.dropout(images))
        if self.training and self.odd == "reads" and outputs.mean().item() > 1e9:
            return outputs * 0
        if self.training and self.odd == "waits" and images.is_cuda:
            torch.cuda.synchronize()  # torch's watch for waits does not see it: the recording breaks off
        if self.training and self.odd == "draws":
            return outputs * (1 + random.random() / 100)
        return outputs


def run(
    data: Dataset, settings: Recipe, name: str = "vgg11-small", *, odd: str = "", **how: Any
) -> tuple[nn.Module, TrainResult, list[str]]:
    model = WithDropout(network(name, data.info, **SMALL[name]), odd)
    teacher = network(name, data.info, seed=9, **SMALL[name]) if settings.distill else None
    with log_of_graphs() as reasons:
        result = train(model, cast(Any, data), settings, seed=3, teacher=teacher, device=device(), **how)
    return model, result, reasons


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours)


def environment() -> dict[str, Any]:
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    facts |= {"python": platform.python_version(), "cores": os.cpu_count()}
    if device().type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {"gpu": properties.name, "memory GiB": round(properties.total_memory / 2**30)}
        facts |= {"capability": f"{properties.major}.{properties.minor}"}
        facts |= {"cudnn": torch.backends.cudnn.version()}
    return facts


def graph_has_the_bits_of_steps(data: Dataset, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """With and without a graph. Deterministic, because two equal trainings in float32 differ otherwise."""
    settings = recipe(**changes)
    graph, result, reasons = run(data, settings, name, deterministic=True)
    steps, _, _ = run(data, settings, name, deterministic=True, graphs=False)
    gap = worst(graph, steps)
    return {
        "ok": same_bits(graph, steps) and not reasons,
        "apart": gap,
        "reasons": reasons,
        "error": result.error,
    }


def resumes(data: Dataset, changes: dict[str, Any], deterministic: bool) -> dict[str, Any]:
    settings = recipe(**changes)
    unbroken, expected, _ = run(data, settings, deterministic=deterministic)

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        kept: dict[str, Any] = {
            "checkpoint_dir": folder,
            "checkpoint_every": 0,
            "deterministic": deterministic,
        }
        try:
            run(data, settings, on_epoch=stop, **kept)
        except KeyboardInterrupt:
            model, result, reasons = run(data, settings, **kept)
    ok = same_bits(model, unbroken) and result.resumed_at > 0 and not reasons
    return {
        "ok": ok,
        "apart": worst(model, unbroken),
        "resumed at": result.resumed_at,
        "error": expected.error,
    }


def as_on_a_cpu(data: Dataset) -> dict[str, Any]:
    """A few steps in float64, where a mistake is larger than rounding. The rates are exact in float32."""

    class Double(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network("vgg11-small", data.info, width=0.125)
            self.double()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.double())

    settings = recipe(epochs=1, lr=2.0**-5, lambda_=2.0**-7, schedule="constant")
    results = []
    for place in (device(), torch.device("cpu")):
        torch.manual_seed(0)
        model = Double()
        train(model, cast(Any, data), settings, seed=3, device=place)
        results.append(model)
    gap = worst(*results)
    return {"ok": gap < 1e-5, "apart": gap}


def precisions_mean_what_they_say(data: Dataset) -> dict[str, Any]:
    """Logits of the GPU beside those of the CPU: true float32 is near, TF32 is not."""
    model = network("resnet164", data.info, depth=11).eval()
    images, _ = next(ordered(data.split("test"), data.info, batch_size=128))
    before = _switches()
    with torch.no_grad():
        expected = model(images)
        gaps = {}
        with model_on_device(model, device()):
            for name in ("fp32", "tf32"):
                with float32_products(device(), tf32=name == "tf32"):
                    logits = model(images.to(device())).cpu()
                gaps[name] = float((logits - expected).abs().max() / expected.abs().max())
    on_gpu = device().type == "cuda"
    ok = gaps["fp32"] < 1e-5 and (not on_gpu or gaps["tf32"] > 5 * gaps["fp32"]) and before == _switches()
    return {"ok": ok, **gaps}


def _switches() -> tuple[str, str]:
    backends: Any = torch.backends
    return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision


def auto_is_told(data: Dataset) -> dict[str, Any]:
    epochs = 1 if SMOKE else TRIAL_PAYS // (len(data.split("train")) // 64) + 1
    _, result, reasons = run(data, recipe(epochs=epochs, precision="auto"))
    ok = result.precision in (("bf16", "tf32") if device().type == "cuda" else ("bf16", "fp32"))
    return {"ok": ok and not reasons, "precision": result.precision}


def nobody_waits(data: Dataset) -> dict[str, Any]:
    """The host does not wait for the GPU, neither in a step by step training nor with a graph."""
    model = network("vgg11-small", data.info, width=0.25)
    found = {}
    for graphs in (False, True):
        with model_on_device(model, device()):
            model.train()
            settings = recipe(lambda_=1e-3, precision=MIXED)
            training = Trainer(model, data, settings, seed=0, teacher=None, device=device(), graphs=graphs)
            units = list(training.units(0))
            training.train_step(units[0])
            on_gpu = device().type == "cuda"
            if on_gpu:
                torch.cuda.set_sync_debug_mode("error")
            try:
                for unit in units[1:5]:
                    training.train_step(unit)
                found[f"graphs {graphs}"] = "no wait"
            except RuntimeError as error:
                found[f"graphs {graphs}"] = str(error)[:200]
            finally:
                if on_gpu:
                    torch.cuda.set_sync_debug_mode("default")
            training.runner.close()
    return {"ok": set(found.values()) == {"no wait"}, **found}


def trains_without(data: Dataset, odd: str) -> dict[str, Any]:
    """What no graph can hold trains as without graphs, and the log says why; dropout still works."""
    random.seed(1)
    model, _, reasons = run(data, recipe(precision=MIXED), odd=odd, deterministic=True)
    random.seed(1)
    expected, _, _ = run(data, recipe(precision=MIXED), odd=odd, deterministic=True, graphs=False)
    return {
        "ok": bool(reasons) and worst(model, expected) < 0.05,
        "reasons": reasons,
        "apart": worst(model, expected),
    }


def diverges(data: Dataset) -> dict[str, Any]:
    try:
        run(data, recipe(lr=1e20))
    except TrainingError as error:
        return {"ok": "became NaN" in str(error)}
    return {"ok": False}


def same_twice(data: Dataset) -> dict[str, Any]:
    first, second = (run(data, recipe(), "resnet164", deterministic=True)[0] for _ in range(2))
    return {"ok": same_bits(first, second)}


def prunes(data: Dataset, name: str, percent: float) -> dict[str, Any]:
    """On the GPU the plan is that of the CPU; the slim network computes the same there."""
    model = network(name, data.info, **SMALL[name]).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.1, 1.0)
    images, _ = next(ordered(data.split("test"), data.info, batch_size=8))
    on_cpu = netslim.prune(copy.deepcopy(model), images[:1], percent=percent)
    on_gpu = netslim.prune(model.to(device()), images[:1].to(device()), percent=percent)
    with torch.no_grad(), float32_products(device(), tf32=False):
        expected = on_cpu.model.eval()(images)
        gap = float(
            (on_gpu.model.eval()(images.to(device())).cpu() - expected).abs().max() / expected.abs().max()
        )
    same_plan = on_cpu.plan.digest == on_gpu.plan.digest
    return {"ok": same_plan and gap < 1e-3, "same plan": same_plan, "apart": gap}


def one_process_by_nccl(data: Dataset) -> dict[str, Any]:
    """What several processes do, by one: NCCL, DistributedDataParallel, and no graph."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from netslim.training import distributed

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    backend = "cpu:gloo,cuda:nccl" if device().type == "cuda" else "gloo"
    alone, _, _ = run(data, recipe(epochs=1, precision=MIXED), "resnet164", graphs=False)
    dist.init_process_group(backend, rank=0, world_size=1)
    parallel = distributed.parallel
    distributed.parallel = lambda model: DistributedDataParallel(
        model, broadcast_buffers=False, static_graph=True
    )
    try:
        total = distributed.dist.all_reduce
        sums = torch.ones(3, dtype=torch.float64, device=device())
        total(sums)
        model, _, _ = run(data, recipe(epochs=1, precision=MIXED), "resnet164", graphs=False)
    finally:
        distributed.parallel = parallel
        dist.destroy_process_group()
    return {"ok": sums.tolist() == [1.0] * 3 and worst(model, alone) < 0.5, "apart": worst(model, alone)}


def steps_of_the_pipeline() -> dict[str, Any]:
    """Train, prune and fine-tune the digits as the pipeline does; needs scikit-learn."""
    if importlib.util.find_spec("sklearn") is None:
        return {"skipped": "scikit-learn is not installed"}
    from netslim import data
    from netslim.pruning.options import PruningOptions
    from netslim.steps.prune import prune_step
    from netslim.steps.train import train_step
    from netslim.steps.training_request import TrainingRequest

    with tempfile.TemporaryDirectory() as folder:
        packed, place = Path(folder, "digits"), Path(folder)
        data.prepare("digits", packed)
        common: dict[str, Any] = {"dataset": str(packed), "preset": "digits", "seed": 1, "pass_index": 1}
        common["recipe_overrides"] = {"epochs": 1 if SMOKE else 10, "precision": "auto"}
        wide, slim, tuned = (str(place / name / "model") for name in ("wide", "slim", "tuned"))
        sparse = train_step(TrainingRequest(stage="sparse", model=wide, architecture="vgg-digits", **common))
        pruned = prune_step(packed, wide, slim, PruningOptions(percent=0.3))
        fine = train_step(TrainingRequest(stage="fine_tune", model=tuned, start=slim, **common))
    # One epoch teaches nothing: then the steps only have to end.
    ok = SMOKE or fine.error < 10
    return {"ok": ok, "errors": [sparse.error, pruned.error, fine.error]}


def doctor() -> dict[str, Any]:
    # Not as a command, because commands are found by an installed package; here the sources are used.
    command = [sys.executable, "-c", "from netslim.cli.doctor import doctor; doctor()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stdout.splitlines() if "GPU" in line or "torch " in line]
    return {"ok": device().type == "cpu" or "computes" in done.stdout, "lines": lines}


def main(seconds: float) -> None:
    on_gpu = device().type == "cuda"
    rows, data = Rows("checks", seconds), toy(1024 if on_gpu else 130)
    rows.measure("environment", environment)
    precisions = ("bf16", "tf32", "fp32") if on_gpu else ("fp32",)
    names = list(SMALL) if on_gpu else ["vgg11-small"]
    with graphs_on_a_cpu() if not on_gpu else nullcontext():
        for name in names:
            for precision in precisions:
                changes = {"precision": precision, "lambda_": 1e-3}
                rows.measure(
                    "a graph gives the bits of the steps",
                    partial(graph_has_the_bits_of_steps, data, name, changes),
                    network=name,
                    precision=precision,
                )
        for name, changes in VARIANTS.items():
            if on_gpu or name == "proximal":
                rows.measure(
                    "a graph gives the bits of the steps",
                    partial(graph_has_the_bits_of_steps, data, "vgg11-small", changes),
                    variant=name,
                )
        rows.measure(f"resumed, {MIXED}", lambda: resumes(data, {"precision": MIXED}, False))
        if on_gpu:
            rows.measure("resumed, fp32, deterministic", lambda: resumes(data, {}, True))
            rows.measure("two deterministic trainings", lambda: same_twice(data))
        for odd in ("reads", "draws", "waits") if on_gpu else ("draws",):
            rows.measure("trains without a graph", partial(trains_without, data, odd), network=odd)
        rows.measure("precision auto", lambda: auto_is_told(data))
        rows.measure("the host does not wait", lambda: nobody_waits(data))
        rows.measure("divergence", lambda: diverges(data))
    rows.measure("as on a CPU, in float64", lambda: as_on_a_cpu(data))
    rows.measure("float32 and TF32", lambda: precisions_mean_what_they_say(data))
    for name in names:
        rows.measure("pruned as on a CPU", partial(prunes, data, name, 0.5), network=name)
    rows.measure("one process by NCCL", lambda: one_process_by_nccl(data))
    rows.measure("steps of the pipeline", steps_of_the_pipeline)
    rows.measure("netslim doctor", doctor)


if __name__ == "__main__":
    main(float(sys.argv[1]))
