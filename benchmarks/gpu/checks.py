"""Is everything computed right on the GPU? Each check is a row with `ok`.

python -m benchmarks.gpu.checks SECONDS
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.check_results import (
    as_on_a_cpu,
    doctor,
    one_process_by_nccl,
    precisions_are_those_of_their_names,
    prunes,
    steps_of_the_pipeline,
)
from benchmarks.gpu.check_runs import MIXED, SMALL
from benchmarks.gpu.check_training import (
    auto_takes_a_fast_precision,
    diverges,
    graph_has_the_bits_of_steps,
    resumes,
    same_twice,
    the_host_does_not_wait,
    trains_without,
)
from benchmarks.gpu.common import Rows, device, graphs_on_a_cpu, toy

VARIANTS: Mapping[str, dict[str, Any]] = {
    "l1, step": {"lambda_": 1e-3},
    "smooth-l1, cosine": {"lambda_": 1e-3, "penalty": "smooth-l1", "schedule": "cosine"},
    "proximal": {"total_shrinkage": 0.5, "penalty": "proximal"},
    "distillation": {"distill": 0.5, "label_smoothing": 0.1},
    "affine, val": {"augment": "affine", "select": "val"},
}


def environment() -> dict[str, Any]:
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    facts |= {"python": platform.python_version(), "cores": os.cpu_count()}
    if device().type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {"gpu": properties.name, "memory GiB": round(properties.total_memory / 2**30)}
        facts |= {"capability": f"{properties.major}.{properties.minor}"}
        facts |= {"cudnn": torch.backends.cudnn.version()}
    return facts


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
        rows.measure("precision auto", lambda: auto_takes_a_fast_precision(data))
        rows.measure("the host does not wait", lambda: the_host_does_not_wait(data))
        rows.measure("divergence", lambda: diverges(data))
    rows.measure("as on a CPU, in float64", lambda: as_on_a_cpu(data))
    rows.measure("float32 and TF32", lambda: precisions_are_those_of_their_names(data))
    for name in names:
        rows.measure("pruned as on a CPU", partial(prunes, data, name, 0.5), network=name)
    rows.measure("one process by NCCL", lambda: one_process_by_nccl(data))
    rows.measure("steps of the pipeline", steps_of_the_pipeline)
    rows.measure("netslim doctor", doctor)


if __name__ == "__main__":
    main(float(sys.argv[1]))
