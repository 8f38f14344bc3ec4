"""Evidence travels with the network, step by step, and nothing else passes for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from netslim import data
from netslim.errors import DataError
from netslim.steps.evaluate import evaluate_step
from netslim.steps.step_record import StepRecord, read_step_records, to_json_files
from netslim.storage.atomic import write_json

STEPS = {
    "train": StepRecord(
        {"error": 1.5, "stage": "sparse", "resumed": False}, [{"step": 1, "train/loss": 0.5}]
    ),
    "prune": StepRecord({"channels": 7}),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for name, document in to_json_files(STEPS).items():
        write_json(tmp_path / name, document)
    assert read_step_records(tmp_path) == STEPS
    assert STEPS["train"].numbers() == {"error": 1.5}


def test_a_network_of_somebody_else_has_none(tmp_path: Path) -> None:
    assert read_step_records(tmp_path) == {}


@pytest.mark.parametrize("text", ['{"train": {"facts"', "[]", '{"train": {"facts": {}}}', '{"train": 1}'])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (name,) = to_json_files({})
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        read_step_records(tmp_path)


def test_a_model_without_the_evidence_of_its_training_is_not_evaluated(tmp_path: Path) -> None:
    data.prepare("digits", tmp_path / "digits")
    (tmp_path / "onnx").mkdir()
    for name, document in to_json_files({"export": StepRecord({})}).items():
        write_json(tmp_path / "onnx" / name, document)
    with pytest.raises(DataError, match="carries evidence of export, not of train and export"):
        evaluate_step(
            tmp_path / "digits",
            tmp_path / "onnx",
            tmp_path / "ledger",
            tmp_path / "bundle",
            pass_index=1,
            passes=1,
            max_loss=1.0,
            experiment="none",
        )
    assert not (tmp_path / "ledger").exists()
