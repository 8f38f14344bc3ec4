"""Step evaluate: measure the exported model, log results, report and bundle, decide on another pass."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from netslim import data, progress, report, tracking
from netslim.bundle.assemble import assemble
from netslim.bundle.layout import MODEL
from netslim.errors import DataError
from netslim.results.best_model import best_model
from netslim.results.confusion import ConfusionMatrix
from netslim.results.measures import Errors, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.results.stopping_rule import should_continue
from netslim.steps.measure_model import Measured, measure
from netslim.steps.run_constants import run_constants
from netslim.steps.step_metrics import ExportMetrics, TrainMetrics
from netslim.steps.step_record import StepRecord, StepRecords, read_step_records
from netslim.storage.atomic import sha256, write_bytes, write_json
from netslim.storage.digests import REMEDY, check_digests

__all__ = ["Evaluation", "evaluate_step"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Evaluation:
    """The outcome of the step: whether another pass is worth running, and what KFP shows of this one.

    `summary` is a line for the end of the step's log.
    """

    continue_: bool
    error: float
    size: Size
    confusion: ConfusionMatrix
    summary: str


def evaluate_step(
    dataset: StrPath,
    onnx: StrPath,
    results: StrPath,
    bundle: StrPath,
    *,
    previous: StrPath | None = None,
    wide: StrPath | None = None,
    page: StrPath | None = None,
    overview: StrPath | None = None,
    confusion: StrPath | None = None,
    pass_index: int,
    passes: int,
    max_error_increase: float,
    experiment: str,
    run_name: str = "",
    point: str = "",
    points: int = 0,
) -> Evaluation:
    """Measure `onnx`/model.onnx with onnxruntime, and write the results of the run and the pass's bundle.

    The results, the bundle and the report so far are logged to MLflow. The evaluation that ends the run also
    closes it there as FINISHED, names the model to take, and registers it. An outage of the tracking server
    fails nothing: what it did not accept is kept, and logged later (netslim.tracking).

    Args:
        dataset: a packed dataset. The test error is reported; the validation error decides, if there is one.
        onnx: the artifact of export_onnx, with the records of the pass's steps.
        results: file to write the results of all passes so far to.
        bundle: folder to write the bundle to.
        previous: the results file of the pass before.
        wide: the artifact of export_onnx of the wide network, to compare latencies with; None for the wide
            network itself.
        page: file to write the report so far to, as HTML.
        overview: file to write a short Markdown overview of this pass to.
        confusion: file to write the confusion matrix of the test images to, as JSON.
        passes: how many passes the user asked for.
        max_error_increase: how many percentage points the error may be above the baseline's.
        run_name: the run's name in MLflow, where NETSLIM_RUN_NAME is not set.
        point: `lambda` or `percent` for a point of that sweep; empty for a pass.
        points: how many points the sweep has; 0 where that is not known.

    Raises:
        DataError: `onnx` has no record of its training and export, or an input was altered.
    """
    packed = data.open_dataset(dataset)
    digests = check_digests(onnx)
    steps = _required_records(onnx)
    _check_model(Path(onnx) / MODEL, digests.get(MODEL), steps.export.metrics.onnx_sha256)
    if wide is not None:
        check_digests(wide)
    with progress.bar("measuring", 4) as bar:
        wide_file = None if wide is None else Path(wide, MODEL)
        measured = measure(Path(onnx) / MODEL, packed, bar, wide=wide_file)
        earlier = RunResults.load(previous) if previous else RunResults()
        constants = {**run_constants(packed.info, steps.records, point=point), **earlier.constants}
        if not point:
            constants.setdefault("passes", str(passes))
            constants["max_error_increase"] = f"{max_error_increase:g}"
        elif points:
            constants["points"] = str(points)
        row = _pass_result(pass_index, measured, steps, _label(point, steps.records))
        run = replace(earlier, constants=constants, origin=_origin(experiment, run_name)).with_row(row)
        decision = should_continue(run, passes=passes, max_error_increase=max_error_increase)
        run = run.with_decision(decision)
        run.save(results)
        exported = steps.export.metrics
        finished = assemble(
            onnx, bundle, run, packed.info, onnx_weights=exported.onnx_weights, int8=exported.int8
        )
        html = report.html(run).encode()
        if page is not None:
            write_bytes(page, html)
        if overview is not None:
            write_bytes(overview, report.overview(run).encode())
        if confusion is not None:
            write_json(confusion, asdict(measured.confusion))
        bar.advance()
        logged = tracking.log_pass(
            run,
            experiment=experiment,
            bundle=finished,
            page=html,
            # One pass has waited for the server. The next ones try once, so the waits of a run do not add up.
            patience=0.0 if earlier.unlogged else tracking.PATIENCE,
        )
        if logged is None:
            replace(run, unlogged=(*run.unlogged, row.title)).save(results)
        bar.advance()
    print(f"{row.title}: {decision.reason}", flush=True)
    if run.ended and (best := best_model(run)):
        print(best.sentence, flush=True)
    if logged and logged.registered:
        print(f"registered as {logged.registered}", flush=True)
    return Evaluation(decision.continue_, row.errors.test, row.size, measured.confusion, _summary(row))


def _origin(experiment: str, run_name: str) -> dict[str, str]:
    """Where the run is to be logged, for a results file that is logged later; empty without a run key."""
    key = tracking.run_key()
    if key is None:
        return {}
    return {"experiment": experiment, "key": key, "name": tracking.run_name(otherwise=run_name)}


def _summary(row: PassResult) -> str:
    """`test error 2.13 %, 1,204 channels, 68,050 parameters, 693,760 FLOPs, 2.1x faster than ...`."""
    size = row.size
    text = (
        f"test error {row.errors.test:.2f} %, {size.channels:,} channels, {size.params:,} parameters, "
        f"{size.flops:,} FLOPs"
    )
    if row.speedup:
        text += f", {row.speedup[max(row.speedup)]:.1f}x faster than the wide network"
    return text


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


def _check_model(file: Path, digest: str | None, recorded: str) -> None:
    """The ONNX file is the one that was exported.

    Args:
        digest: its SHA-256, if it was computed already. Artifacts of version 0.1.0 have no SHA256SUMS.
        recorded: the one in the record of the export.
    """
    if not file.is_file() or (digest or sha256(file)) != recorded:
        problem = "missing, truncated or altered: its SHA-256 is not the one that the export recorded"
        raise DataError(problem, field=str(file), remedy=REMEDY)


def _pass_result(index: int, measured: Measured, steps: _RequiredRecords, label: str) -> PassResult:
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
        wide_latency=measured.wide_latency,
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
