"""The error, against a count by hand on a model with known answers; latency, for what must always hold."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from netslim.data.normalisation import normalise
from netslim.errors import ExportError
from netslim.onnx_export import runtime
from netslim.onnx_export.runtime import MIN_RUNS, Latency, error, latency
from tests.helpers.infos import info

INFO = info(channels=2, mean=(0.5, 0.25), std=(0.1, 0.2))


def model(path: Path, *, scale: float = 1.0, size: int = 2) -> Path:
    """Flattens [batch, 2, size, size]: its answer is the position of the largest normalised pixel."""
    scaled = helper.make_node("Mul", ["input", "scale"], ["scaled"])
    flat = helper.make_node("Flatten", ["scaled"], ["logits"])
    graph = helper.make_graph(
        [scaled, flat],
        "pixels",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2 * size * size])],
        [helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(proto, path)
    return path


def images(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 2, 2, 2), np.uint8)


def by_hand(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> list[int]:
    """The class of each image, one pixel at a time, in double precision."""
    answers = []
    for image in pixels.tolist():
        values = [
            (image[y][x][channel] / 255 - INFO.mean[channel]) / INFO.std[channel]
            for channel in range(2)
            for y in range(2)
            for x in range(2)
        ]
        answers.append(values.index(max(values)))
    return answers


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000, None])
def test_error_is_the_share_of_wrong_predictions(batch_size: int | None, tmp_path: Path) -> None:
    pixels = images(100)
    labels = np.array(by_hand(pixels), np.int64)
    labels[:23] = (labels[:23] + 1) % 8  # 23 of 100 labels made wrong
    split: Any = SimpleNamespace(images=pixels, labels=labels)
    assert error(model(tmp_path / "m.onnx"), split, INFO, batch_size=batch_size) == 23.0


def test_normalise_computes_the_formula_of_training() -> None:
    pixels = images(5)
    expected = (pixels.astype(np.float64) / 255 - np.array(INFO.mean)) / np.array(INFO.std)
    result = normalise(pixels, INFO)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(scale: float, tmp_path: Path) -> None:
    split: Any = SimpleNamespace(images=images(3), labels=np.zeros(3, np.int64))
    with pytest.raises(ExportError, match=r"m\.onnx: the model gives NaN or infinite logits from image 0"):
        error(model(tmp_path / "m.onnx", scale=scale), split, INFO)


def test_files_that_cannot_be_loaded_are_refused(tmp_path: Path) -> None:
    content = model(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "truncated.onnx").write_bytes(content[:40])
    for name in ("truncated.onnx", "absent.onnx"):
        with pytest.raises(ExportError, match=f"{name}: onnxruntime cannot load it"):
            latency(tmp_path / name, (2, 2, 2))


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not take these images"):
        latency(model(tmp_path / "m.onnx"), (2, 3, 3))


def test_each_batch_size_runs_for_the_given_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()  # each look at the clock is 1/128 s later, so each run takes that long
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(clock) / 128)
    result = latency(model(tmp_path / "m.onnx"), (2, 2, 2), batch_sizes=(1, 3), seconds=0.25)
    assert result == {n: Latency(median_ms=1000 / 128, p95_ms=1000 / 128, runs=32) for n in (1, 3)}


def test_latency_is_measured_for_each_batch_size(tmp_path: Path) -> None:
    result = latency(model(tmp_path / "m.onnx", size=64), (2, 64, 64), batch_sizes=(1, 256), seconds=0.05)
    assert set(result) == {1, 256}
    for one in result.values():
        assert 0 < one.median_ms <= one.p95_ms
        assert one.runs >= MIN_RUNS


def test_measuring_needs_no_torch() -> None:
    code = (
        "import sys, netslim.onnx_export.runtime, netslim.results.run_results; print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
