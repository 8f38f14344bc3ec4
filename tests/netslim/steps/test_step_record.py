"""Step records are written and read without loss, those of 0.1.0 too, and anything else is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from netslim.errors import DataError
from netslim.results.measures import Histogram, Size
from netslim.steps.step_record import FILE, FILE_OF_0_1, StepRecord, StepRecords, read_step_records
from netslim.storage.atomic import write_json

EVIDENCE = Path(__file__).parents[2] / "data" / "0.1.0" / FILE_OF_0_1


@pytest.fixture
def old(tmp_path: Path) -> StepRecords:
    """The records of an artifact that version 0.1.0 wrote."""
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copyfile(EVIDENCE, folder / FILE_OF_0_1)
    return read_step_records(folder)


def test_evidence_of_0_1_0_is_read(old: StepRecords) -> None:
    assert old.names == ["train", "prune", "fine_tune", "export"]
    assert old.train
    assert old.prune
    assert old.fine_tune
    assert old.export
    trained = old.train.metrics
    assert (trained.stage, trained.architecture, trained.seed) == ("sparse", "vgg-digits", 0)
    assert (trained.error, trained.lambda_, trained.zero_share) == (1.3, 0.00015, 0.5)
    assert trained.recipe["pull"] == 2.0
    assert trained.gammas == Histogram(edges=(0, 0.5, 1), counts=(300, 148))
    assert [point["train/loss"] for point in old.train.history] == [0.7, 0.6]
    pruned = old.prune.metrics
    assert (pruned.error, pruned.threshold, pruned.recalibrated) == (1.5, 0.0125, True)
    assert pruned.before == Size(channels=448, params=288170, macs=2380000)
    assert pruned.after == Size(channels=247, params=72000, macs=900000)
    assert pruned.settings["percent"] == "0.5"
    assert [row.layer for row in pruned.report.rows] == ["features.1"]
    tuned = old.fine_tune.metrics
    assert (tuned.stage, tuned.resumed_at) == ("fine_tune", 40)
    assert tuned.refused_checkpoints == ("step-00000020: other weights",)
    exported = old.export.metrics
    assert exported.size == pruned.after
    assert (exported.onnx_bytes, exported.onnx_sha256, exported.onnx_weights) == (300000, "cd34", 71000)
    assert (exported.opset, exported.difference) == (18, 1e-6)
    assert exported.layer_macs == {"features.0": 600000, "head": 300000}
    assert exported.int8["shipped"] is False


def test_records_are_written_under_the_new_name_and_read_again(old: StepRecords, tmp_path: Path) -> None:
    (document,) = old.to_json_files().items()
    assert document[0] == FILE == "step_records.json"
    write_json(tmp_path / FILE, document[1])
    assert read_step_records(tmp_path) == old
    assert json.loads((tmp_path / FILE).read_text())["fine_tune"]["metrics"]["lam"] == 0.0


def test_a_new_file_is_read_before_an_old_one(old: StepRecords, tmp_path: Path) -> None:
    shutil.copyfile(EVIDENCE, tmp_path / FILE_OF_0_1)
    only_export = StepRecords(export=old.export)
    write_json(tmp_path / FILE, only_export.to_json_files()[FILE])
    assert read_step_records(tmp_path) == only_export


def test_a_network_from_elsewhere_has_no_records(tmp_path: Path) -> None:
    assert read_step_records(tmp_path) == StepRecords()
    assert read_step_records(tmp_path).names == []


def test_metrics_are_the_same_after_json_in_every_field(old: StepRecords) -> None:
    for step in dataclasses.fields(old):
        metrics: Any = getattr(old, step.name).metrics
        assert type(metrics).from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def broken(**change: Any) -> str:
    document = json.loads(EVIDENCE.read_text(encoding="utf-8"))
    document["train"]["facts"] |= change
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        '{"train": {"facts"',
        "[]",
        '{"train": {"facts": {}}}',
        '{"train": {"facts": {}, "history": []}}',
        '{"train": 1}',
        '{"cook": {"facts": {}, "history": []}}',
        broken(gammas={"edges": [0], "counts": [1]}),
        broken(surprise=1),
    ],
)
@pytest.mark.parametrize("name", [FILE, FILE_OF_0_1])
def test_a_damaged_file_is_refused_by_name(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=name):
        read_step_records(tmp_path)


def test_a_record_without_a_curve_has_an_empty_history(old: StepRecords) -> None:
    assert old.export
    assert StepRecord(old.export.metrics).history == ()
