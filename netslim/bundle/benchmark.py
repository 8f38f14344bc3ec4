"""Measure time, memory and size of models in onnxruntime, side by side on this machine.

The models run in turns, so other load on the machine affects all of them alike. Their ratios are therefore
more reliable than their milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netslim.bundle.layout import model_file
from netslim.errors import BundleError
from netslim.onnx_export.runtime import Latency, input_shape, latencies

__all__ = ["BATCH_SIZES", "ModelMeasurement", "compare"]

BATCH_SIZES = (1, 32)

# Run in a new process, which does nothing but load the model and run it. VmHWM is the peak memory of that
# process alone; getrusage would start with the peak of the process that started it.
_MEMORY_SCRIPT = """
import json, re, sys
import numpy, onnxruntime

def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.log_severity_level = 4
before = peak_kib()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
shape = json.loads(sys.argv[3])
for _ in range(2):
    session.run(None, {session.get_inputs()[0].name: numpy.zeros(shape, numpy.float32)})
print(peak_kib() - before)
"""


@dataclass(frozen=True)
class ModelMeasurement:
    """The measurements of one model.

    Args:
        path: the ONNX file.
        latency: by batch size.
        peak_kib: KiB of memory that loading and running the model add to a process, by batch size.
        bytes: the size of the file.
    """

    path: Path
    latency: dict[int, Latency]
    peak_kib: dict[int, int]
    bytes: int


def compare(
    models: Sequence[str | os.PathLike[str]],
    *,
    threads: int = 1,
    seconds: float = 2.0,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> list[ModelMeasurement]:
    """Measure models in turns.

    Args:
        models: folders of bundles, or ONNX files with an input float32 [batch, C, H, W].
        threads: threads of onnxruntime.
        seconds: run time for each model and batch size.

    Raises:
        BundleError: a model does not exist, or its memory cannot be measured.
        ExportError: onnxruntime cannot load or run a model.
    """
    files = [model_file(model) for model in models]
    shapes = {file: input_shape(file) for file in files}
    times = latencies(shapes, batch_sizes=batch_sizes, threads=threads, seconds=seconds)
    return [
        ModelMeasurement(
            path=file,
            latency=times[file],
            peak_kib={batch: _peak_kib(file, threads, (batch, *shapes[file])) for batch in batch_sizes},
            bytes=file.stat().st_size,
        )
        for file in files
    ]


def _peak_kib(file: Path, threads: int, shape: tuple[int, ...]) -> int:
    command = [sys.executable, "-c", _MEMORY_SCRIPT, str(file), str(threads), json.dumps(shape)]
    child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or ["the process died"]
        raise BundleError(f"its memory cannot be measured ({lines[-1]})", field=str(file))
    return max(1, int(child.stdout))
