"""Are results of the GPU right: beside a CPU, by NCCL, in the steps of the pipeline, by `netslim doctor`?"""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import netslim
from benchmarks.gpu.check_runs import MIXED, SMALL, recipe, run
from benchmarks.gpu.common import SMOKE, device, network, worst
from benchmarks.paper.datasets import Dataset
from netslim.training.device import model_on_device
from netslim.training.loaders.in_memory import ordered
from netslim.training.precision import float32_products
from netslim.training.train import train


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


def precisions_are_those_of_their_names(data: Dataset) -> dict[str, Any]:
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
    # After one epoch the error is still high; then the steps only have to end.
    ok = SMOKE or fine.error < 10
    return {"ok": ok, "errors": [sparse.error, pruned.error, fine.error]}


def doctor() -> dict[str, Any]:
    # Not as a command, because commands are found by an installed package; here the sources are used.
    command = [sys.executable, "-c", "from netslim.cli.doctor import doctor; doctor()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stdout.splitlines() if "GPU" in line or "torch " in line]
    return {"ok": device().type == "cpu" or "computes" in done.stdout, "lines": lines}
