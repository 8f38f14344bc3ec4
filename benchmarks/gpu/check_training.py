"""Is a training on the GPU right: with graphs, resumed, without waits, diverged?"""

from __future__ import annotations

import random
import tempfile
from typing import Any

import torch

from benchmarks.gpu.check_runs import MIXED, recipe, run, same_bits
from benchmarks.gpu.common import SMOKE, device, network, worst
from benchmarks.paper.datasets import Dataset
from netslim.errors import TrainingError
from netslim.training.device import model_on_device
from netslim.training.step_runner import TRIAL_PAYS
from netslim.training.trainer import Trainer


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


def auto_takes_a_fast_precision(data: Dataset) -> dict[str, Any]:
    epochs = 1 if SMOKE else TRIAL_PAYS // (len(data.split("train")) // 64) + 1
    _, result, reasons = run(data, recipe(epochs=epochs, precision="auto"))
    ok = result.precision in (("bf16", "tf32") if device().type == "cuda" else ("bf16", "fp32"))
    return {"ok": ok and not reasons, "precision": result.precision}


def the_host_does_not_wait(data: Dataset) -> dict[str, Any]:
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
    """What no graph can hold trains as without graphs, with the reason in the log; dropout still works."""
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
