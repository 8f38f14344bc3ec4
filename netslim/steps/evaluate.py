"""Step evaluate: measure the exported model, write its row and its bundle, log both, and decide."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netslim import data, progress, tracking
from netslim.bundle.assemble import assemble
from netslim.bundle.layout import MODEL
from netslim.errors import DataError
from netslim.onnx_export import runtime
from netslim.pruning.layer_report import LayerRow
from netslim.results.measures import Errors, Histogram, Latency, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.results.stopping_rule import should_continue
from netslim.steps.step_record import StepRecord, read_step_records

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["evaluate_step"]

BATCHES = (1, 32)

Path_ = str | os.PathLike[str]


def evaluate_step(
    dataset: Path_,
    onnx: Path_,
    ledger: Path_,
    bundle: Path_,
    *,
    previous: Path_ | None = None,
    pass_index: int,
    passes: int,
    max_loss: float,
    experiment: str,
    point: str = "",
) -> tuple[bool, dict[str, float]]:
    """Measure `onnx`/model.onnx on the test split with onnxruntime, write the ledger and the pass's bundle.

    Args:
        onnx: what export_onnx wrote, with the evidence of the pass's steps.
        previous: the ledger of the pass before.
        point: `lambda` or `percent` when this is a point of that sweep and not a pass.

    Returns:
        Whether to go on, and the row's plain numbers.

    Raises:
        DataError: `onnx` does not carry the evidence of its training.
    """
    packed = data.open_dataset(dataset)
    file = Path(onnx) / MODEL
    steps = read_step_records(onnx)
    if not {"train", "export"} <= steps.keys():
        remedy = "Export a network that the training steps made"
        told = ", ".join(steps) or "no step"
        raise DataError(
            f"carries evidence of {told}, not of train and export", field=str(onnx), remedy=remedy
        )
    with progress.bar("measuring", 3) as bar:
        error = runtime.error(file, packed.split("test"), packed.info)
        # What to go on with is not decided on test images where others are held out.
        held_out = "val" in packed.info.sizes
        error_val = runtime.error(file, packed.split("val"), packed.info) if held_out else None
        bar.advance(**{"test error": error})
        shape = (packed.info.channels, *packed.info.image_size)
        latency = runtime.latency(file, shape, batch_sizes=BATCHES)
        bar.advance()
        row = _row(pass_index, error, error_val, latency, steps, point)
        before = RunResults.load(previous) if previous else RunResults()
        known = {**_constants(packed.info, steps, point), **before.constants}
        if not point:
            known["max_error_increase"] = f"{max_loss:g}"  # which model of the run may become the champion
        before = replace(before, constants=known)
        now = before.with_row(row)
        decision = should_continue(now, passes=passes, max_error_increase=max_loss)
        now = now.with_decision(decision)
        now.save(ledger)
        whole = assemble(
            onnx,
            bundle,
            now,
            packed.info,
            onnx_weights=steps["export"].facts["weights"],
            int8=steps["export"].facts["int8"],
        )
        # After the last pass no later one brings what an outage kept back.
        retry_seconds = 30.0 if decision.continue_ else 600.0
        tracking.log_pass(now, experiment=experiment, bundle=whole, retry_seconds=retry_seconds)
        bar.advance()
    print(f"{row.title}: {decision.reason}", flush=True)
    return decision.continue_, {
        "error": error,
        "params": float(row.size.params),
        "flops": float(row.size.flops),
    }


def _row(
    index: int,
    error: float,
    error_val: float | None,
    latency: Mapping[int, runtime.Latency],
    steps: Mapping[str, StepRecord],
    point: str,
) -> PassResult:
    """The pass's row, from what was measured here and what its steps have testified."""
    size, trained = steps["export"].facts, steps["train"].facts
    pruned = steps["prune"].facts if "prune" in steps else {}
    gammas = trained["gammas"]
    curves = {trained["stage"]: tuple(steps["train"].history)}
    if "tune" in steps:
        curves["fine_tune"] = tuple(steps["tune"].history)
    return PassResult(
        index=index,
        errors=Errors(
            test=error, validation=error_val, trained=trained["error"], pruned=pruned.get("error_pruned")
        ),
        size=Size(channels=size["channels"], params=size["params"], macs=size["macs"]),
        onnx_bytes=size["bytes"],
        onnx_sha256=size["sha256"],
        measured_at=time.time_ns() // 1_000_000,
        label=_label(point, trained, pruned),
        size_before=Size(
            channels=pruned["channels_before"], params=pruned["params_before"], macs=pruned["macs_before"]
        )
        if pruned
        else None,
        threshold=pruned.get("threshold"),
        near_zero_share=trained["near_zero_share"],
        latency={
            batch: Latency(median_ms=one.median_ms, p95_ms=one.p95_ms) for batch, one in latency.items()
        },
        layer_macs=size.get("layer_macs", {}),
        layers=tuple(LayerRow.from_json(row) for row in pruned["report"]["rows"]) if pruned else (),
        gammas=Histogram(edges=tuple(gammas["edges"]), counts=tuple(gammas["counts"])),
        curves=curves,
    )


def _label(point: str, trained: Mapping[str, Any], pruned: Mapping[str, Any]) -> str:
    """How a point of a sweep is called; a pass needs no label."""
    if point == "lambda":
        return f"lambda {trained['lam']:.3g}"
    return f"{point} {pruned['settings'][point]}" if point else ""


def _constants(info: DatasetInfo, steps: Mapping[str, StepRecord], point: str) -> dict[str, str]:
    """What identifies the run, as far as this pass knows it: MLflow's params."""
    trained = steps["train"].facts
    found = {
        "architecture": trained["architecture"],
        "dataset": info.title,
        "seed": trained["seed"],
        "sweep": point,
        **{f"{trained['stage']}/{name}": value for name, value in trained["recipe"].items()},
    }
    if "prune" in steps:
        found |= {f"prune/{name}": value for name, value in steps["prune"].facts["settings"].items()}
    if "tune" in steps:
        found |= {f"fine_tune/{name}": value for name, value in steps["tune"].facts["recipe"].items()}
    return {name: str(value) for name, value in found.items() if value not in ("", {})}
