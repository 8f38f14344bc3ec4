"""Step evaluate: measure the exported model, write and upload results and bundle, decide on another pass."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from netslim import data, progress, tracking
from netslim.bundle.assemble import assemble
from netslim.bundle.layout import MODEL
from netslim.errors import DataError
from netslim.onnx_export import runtime
from netslim.results.measures import Errors, Latency, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.results.stopping_rule import should_continue
from netslim.steps.step_metrics import ExportMetrics, TrainMetrics
from netslim.steps.step_record import StepRecord, StepRecords, read_step_records
from netslim.storage.atomic import sha256
from netslim.storage.digests import REMEDY, check_digests

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, PackedDataset

__all__ = ["Evaluation", "evaluate_step"]

BATCHES = (1, 32)
RETRY_SECONDS, RETRY_SECONDS_AFTER_LAST_PASS = 30.0, 600.0

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Evaluation:
    """The outcome of the step: whether another pass is worth running, and what KFP shows of this one."""

    continue_: bool
    error: float
    size: Size


def evaluate_step(
    dataset: StrPath,
    onnx: StrPath,
    results: StrPath,
    bundle: StrPath,
    *,
    previous: StrPath | None = None,
    pass_index: int,
    passes: int,
    max_error_increase: float,
    experiment: str,
    point: str = "",
) -> Evaluation:
    """Measure `onnx`/model.onnx with onnxruntime, and write the results of the run and the pass's bundle.

    Args:
        dataset: a packed dataset. The test error is reported; the validation error decides, if there is one.
        onnx: the artifact of export_onnx, with the records of the pass's steps.
        results: file to write the results of all passes so far to.
        bundle: folder to write the bundle to.
        previous: the results file of the pass before.
        passes: how many passes the user asked for.
        max_error_increase: how many percentage points the error may be above the baseline's.
        point: `lambda` or `percent` for a point of that sweep; empty for a pass.

    Raises:
        DataError: `onnx` has no record of its training and export, or an input was altered.
        TrackingError: the tracking server refuses the results.
    """
    packed = data.open_dataset(dataset)
    check_digests(onnx)
    steps = _required_records(onnx)
    _check_model(Path(onnx) / MODEL, steps.export.metrics.onnx_sha256)
    with progress.bar("measuring", 3) as bar:
        measured = _measure(Path(onnx) / MODEL, packed, bar)
        earlier = RunResults.load(previous) if previous else RunResults()
        constants = {**_constants(packed.info, steps.records, point), **earlier.constants}
        if not point:
            constants["max_error_increase"] = f"{max_error_increase:g}"
        row = _pass_result(pass_index, measured, steps, _label(point, steps.records))
        run = replace(earlier, constants=constants).with_row(row)
        decision = should_continue(run, passes=passes, max_error_increase=max_error_increase)
        run = run.with_decision(decision)
        run.save(results)
        exported = steps.export.metrics
        finished = assemble(
            onnx, bundle, run, packed.info, onnx_weights=exported.onnx_weights, int8=exported.int8
        )
        # No later pass uploads what is missing after the last one, so that one waits longer for a server.
        retry_seconds = RETRY_SECONDS if decision.continue_ else RETRY_SECONDS_AFTER_LAST_PASS
        tracking.log_pass(run, experiment=experiment, bundle=finished, retry_seconds=retry_seconds)
        bar.advance()
    print(f"{row.title}: {decision.reason}", flush=True)
    return Evaluation(decision.continue_, row.errors.test, row.size)


@dataclass(frozen=True)
class _RequiredRecords:
    """The records of a pass, with the two that every pass has."""

    train: StepRecord[TrainMetrics]
    export: StepRecord[ExportMetrics]
    records: StepRecords


def _required_records(onnx: StrPath) -> _RequiredRecords:
    records = read_step_records(onnx)
    if records.train is None or records.export is None:
        steps = ", ".join(records.names) or "no step"
        problem = f"has records of {steps}, but needs those of train and export"
        raise DataError(problem, field=str(onnx), remedy="Export a network that the training steps made")
    return _RequiredRecords(records.train, records.export, records)


def _check_model(file: Path, recorded: str) -> None:
    """The ONNX file is the one that was exported; artifacts of version 0.1.0 have no SHA256SUMS."""
    if not file.is_file() or sha256(file) != recorded:
        problem = "missing, truncated or altered: its SHA-256 is not the one that the export recorded"
        raise DataError(problem, field=str(file), remedy=REMEDY)


@dataclass(frozen=True)
class _Measured:
    """What this step measures on the exported model."""

    error: float
    error_validation: float | None
    latency: Mapping[int, Latency]


def _measure(file: Path, packed: PackedDataset, bar: progress.Bar) -> _Measured:
    """Errors in percent on the test and the validation split, and latencies by batch size."""
    info = packed.info
    error = runtime.error(file, packed.split("test"), info)
    validation = runtime.error(file, packed.split("val"), info) if "val" in info.sizes else None
    bar.advance(1, **{"test error": error})
    times = runtime.latency(file, (info.channels, *info.image_size), batch_sizes=BATCHES)
    bar.advance()
    latency = {batch: Latency(median_ms=one.median_ms, p95_ms=one.p95_ms) for batch, one in times.items()}
    return _Measured(error, validation, latency)


def _pass_result(index: int, measured: _Measured, steps: _RequiredRecords, label: str) -> PassResult:
    """The result of the pass, from the measurements of this step and the records of the earlier steps."""
    trained, exported = steps.train.metrics, steps.export.metrics
    pruned = steps.records.prune.metrics if steps.records.prune else None
    tuned = steps.records.fine_tune
    return PassResult(
        index=index,
        size=exported.size,
        errors=Errors(
            test=measured.error,
            validation=measured.error_validation,
            trained=trained.error,
            pruned=pruned.error if pruned else None,
        ),
        onnx_bytes=exported.onnx_bytes,
        onnx_sha256=exported.onnx_sha256,
        measured_at=time.time_ns() // 1_000_000,
        label=label,
        size_before=pruned.before if pruned else None,
        threshold=pruned.threshold if pruned else None,
        near_zero_share=trained.near_zero_share,
        latency=measured.latency,
        layer_macs=exported.layer_macs,
        layers=pruned.report.rows if pruned else (),
        gammas=trained.gammas,
        curves={trained.stage: steps.train.history, **({"fine_tune": tuned.history} if tuned else {})},
    )


def _label(point: str, records: StepRecords) -> str:
    """The name of a point of a sweep, such as `percent 0.5`; empty for a pass."""
    if point == "lambda" and records.train:
        return f"lambda {records.train.metrics.lambda_:.3g}"
    if point == "percent" and records.prune:
        return f"percent {records.prune.metrics.settings['percent']}"
    return ""


def _constants(info: DatasetInfo, records: StepRecords, point: str) -> dict[str, str]:
    """The settings of the run as far as the records of this pass contain them: MLflow's params."""
    constants: dict[str, object] = {"dataset": info.title, "sweep": point}
    if records.train:
        trained = records.train.metrics
        constants |= {"architecture": trained.architecture, "seed": trained.seed}
        constants |= {f"{trained.stage}/{name}": value for name, value in trained.recipe.items()}
    if records.prune:
        constants |= {f"prune/{name}": value for name, value in records.prune.metrics.settings.items()}
    if records.fine_tune:
        recipe = records.fine_tune.metrics.recipe
        constants |= {f"fine_tune/{name}": value for name, value in recipe.items()}
    return {name: str(value) for name, value in constants.items() if value not in ("", {})}
