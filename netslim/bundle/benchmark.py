"""How fast and how large models are in onnxruntime, one beside the other on this machine, now.

The models take turns, run by run, so that whatever else the machine does hits them alike, and the ratio of
two of them means something where their milliseconds do not.
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

__all__ = ["BATCHES", "Measured", "compare"]

BATCHES = (1, 32)

# What a model costs in memory is seen from the outside: a process that did nothing but load and run it.
_PEAK = """
import json, re, sys
import numpy, onnxruntime

def peak():  # not getrusage: that begins with what the process had that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.log_severity_level = 4
before = peak()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
shape = json.loads(sys.argv[3])
for _ in range(2):
    session.run(None, {session.get_inputs()[0].name: numpy.zeros(shape, numpy.float32)})
print(peak() - before)
"""


@dataclass(frozen=True)
class Measured:
    """One model: milliseconds by batch size, KiB that loading and running it adds to a process by batch size,
    and the bytes of its file."""

    path: Path
    latency: dict[int, Latency]
    peak_kib: dict[int, int]
    bytes: int


def compare(
    models: Sequence[str | os.PathLike[str]],
    *,
    threads: int = 1,
    seconds: float = 2.0,
    batch_sizes: Sequence[int] = BATCHES,
) -> list[Measured]:
    """Measure models, given as bundles or ONNX files, in turns; `seconds` for each model and batch size.

    Raises:
        BundleError: there is no model, or it cannot be measured.
        ExportError: onnxruntime cannot load or run it.
    """
    files = [model_file(model) for model in models]
    shapes = {file: input_shape(file) for file in files}
    times = latencies(shapes, batch_sizes=batch_sizes, threads=threads, seconds=seconds)
    return [
        Measured(
            file,
            times[file],
            {batch: _peak(file, threads, (batch, *shapes[file])) for batch in batch_sizes},
            file.stat().st_size,
        )
        for file in files
    ]


def _peak(file: Path, threads: int, shape: tuple[int, ...]) -> int:
    command = [sys.executable, "-c", _PEAK, str(file), str(threads), json.dumps(shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it died"])[-1]
        raise BundleError(f"its memory cannot be measured ({last})", field=str(file))
    return max(1, int(done.stdout))
