"""The steps of one pass, one after another: each artifact contains the records of all steps before it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

import netslim
from netslim import data
from netslim.bundle.verify import verify
from netslim.errors import DataError, ModelError
from netslim.models import artifact
from netslim.onnx_export import runtime
from netslim.pruning.options import PruningOptions
from netslim.results.run_results import RunResults
from netslim.steps.evaluate import evaluate_step
from netslim.steps.export import export_step
from netslim.steps.prune import prune_step
from netslim.steps.step_record import StepRecords, read_step_records
from netslim.steps.train import train_step
from netslim.storage.atomic import write_json
from netslim.storage.digests import write_digests
from tests.helpers.training_step import training_request


@pytest.fixture(scope="module")
def steps(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the artifacts `sparse`, `slim`, `tuned` and `onnx` of a short first pass."""
    folder = tmp_path_factory.mktemp("pass")
    sparse = replace(
        training_request(dataset, folder / "sparse", epochs=1), stage="sparse", strength="lam=0.001"
    )
    train_step(sparse)
    prune_step(dataset, folder / "sparse", folder / "slim", PruningOptions(percent=0.25))
    tune = training_request(dataset, folder / "tuned", epochs=1)
    train_step(replace(tune, stage="fine_tune", start=str(folder / "slim")))
    export_step(dataset, folder / "tuned", folder / "onnx", pass_index=1)
    return folder


def evaluated(dataset: Path, onnx_folder: Path, output: Path, *, point: str = "") -> RunResults:
    evaluate_step(
        dataset,
        onnx_folder,
        output / "results.json",
        output / "bundle",
        wide=onnx_folder,
        page=output / "report.html",
        overview=output / "summary.md",
        confusion=output / "confusion.json",
        pass_index=1,
        passes=2,
        max_error_increase=100.0,
        experiment="netslim/test",
        point=point,
    )
    return RunResults.load(output / "results.json")


def test_each_artifact_has_the_records_of_the_steps_before_it(steps: Path) -> None:
    names = {name: read_step_records(steps / name).names for name in ("sparse", "slim", "tuned", "onnx")}
    assert names == {
        "sparse": ["train"],
        "slim": ["train", "prune"],
        "tuned": ["train", "prune", "fine_tune"],
        "onnx": ["train", "prune", "fine_tune", "export"],
    }


def test_training_records_what_was_trained(steps: Path) -> None:
    record = read_step_records(steps / "sparse").train
    assert record
    assert (record.metrics.stage, record.metrics.lambda_, record.metrics.seed) == ("sparse", 0.001, 3)
    assert len(record.history) == record.metrics.recipe["epochs"] == 1
    model = artifact.load_model(steps / "sparse").model
    gammas = torch.cat([gamma.detach() for _, gamma in netslim.sparsity.scaling_factors(model)])
    assert sum(record.metrics.gammas.counts) == gammas.numel()
    assert record.metrics.zero_share == float((gammas == 0).double().mean())


def test_pruning_removes_the_share_of_its_options(steps: Path) -> None:
    record = read_step_records(steps / "slim").prune
    assert record
    before, after = record.metrics.before.channels, record.metrics.after.channels
    assert after == before - before // 4
    assert record.metrics.settings["percent"] == "0.25"
    slim = artifact.load_model(steps / "slim")
    assert netslim.count(slim.model, torch.zeros(1, 1, 8, 8)).params == record.metrics.after.params
    assert slim.plan.digest == record.metrics.plan_digest


def test_a_new_pass_begins_with_new_records(steps: Path, dataset: Path, tmp_path: Path) -> None:
    request = training_request(dataset, tmp_path / "model", epochs=1)
    train_step(replace(request, stage="sparse", start=str(steps / "tuned")))
    assert read_step_records(tmp_path / "model").names == ["train"]


def test_the_export_computes_what_the_model_computes(steps: Path, dataset: Path) -> None:
    record = read_step_records(steps / "onnx").export
    assert record
    file = steps / "onnx" / "model.onnx"
    assert file.stat().st_size == record.metrics.onnx_bytes
    packed = data.open_dataset(dataset)
    tuned = read_step_records(steps / "tuned").fine_tune
    assert tuned
    assert runtime.error(file, packed.split("test"), packed.info) == pytest.approx(tuned.metrics.error)
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert metadata["pass"] == "1"
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]


def test_evaluate_makes_the_result_of_the_pass_from_the_records(
    steps: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    results = evaluated(dataset, steps / "onnx", tmp_path)
    records = read_step_records(steps / "onnx")
    assert records.train
    assert records.prune
    assert records.fine_tune
    assert records.export
    (row,) = results.rows
    assert row.size == records.export.metrics.size
    assert row.size_before == records.prune.metrics.before
    assert row.errors.trained == records.train.metrics.error
    assert row.errors.pruned == records.prune.metrics.error
    assert row.errors.test == pytest.approx(records.fine_tune.metrics.error)
    assert set(row.curves) == {"sparse", "fine_tune"}
    assert (row.label, row.continue_) == ("", True)
    assert results.max_error_increase == 100.0
    assert results.constants["prune/percent"] == "0.25"
    assert results.constants["sparse/epochs"] == results.constants["fine_tune/epochs"] == "1"
    assert (results.constants["model"], results.constants["lambda"]) == ("vgg-digits", "0.001")
    assert results.constants["sparse/lam"] == results.constants["sparse/lambda"] == "0.001"
    assert set(row.speedup) == {1, 32}  # the "wide" network is the model itself
    latency = json.loads((tmp_path / "bundle" / "latency.json").read_text())
    assert latency["wide_batches"]["32"]["median_ms"] == row.wide_latency[32].median_ms
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")
    assert (tmp_path / "summary.md").read_text().startswith("## Pass 1\n\nContinues: pass 2 of 2 follows.")
    counts = json.loads((tmp_path / "confusion.json").read_text())["counts"]
    wrong = sum(map(sum, counts)) - sum(counts[k][k] for k in range(10))
    assert 100 * wrong / 797 == pytest.approx(row.errors.test)
    verify(tmp_path / "bundle")


@pytest.mark.parametrize(("point", "label"), [("lambda", "lambda 0.001"), ("percent", "percent 0.25")])
def test_a_point_of_a_sweep_has_a_label_and_no_allowed_increase(
    point: str, label: str, steps: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    results = evaluated(dataset, steps / "onnx", tmp_path, point=point)
    assert results.rows[0].label == label
    assert results.max_error_increase is None
    assert results.constants["sweep"] == point


def test_a_model_without_the_record_of_its_training_is_not_evaluated(
    steps: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "onnx").mkdir()
    only_export = StepRecords(export=read_step_records(steps / "onnx").export)
    for name, document in only_export.to_json_files().items():
        write_json(tmp_path / "onnx" / name, document)
    with pytest.raises(DataError, match="has records of export, but needs those of train and export"):
        evaluated(dataset, tmp_path / "onnx", tmp_path)
    assert not (tmp_path / "results.json").exists()


def damaged_copy(folder: Path, name: str, to: Path) -> Path:
    """A copy of an artifact with one bit of one file flipped."""
    shutil.copytree(folder, to)
    content = bytearray((to / name).read_bytes())
    content[len(content) // 2] ^= 1
    (to / name).write_bytes(content)
    return to


EXPORTED = ("model.onnx", "model.preproc.onnx", "labels.txt", "samples.safetensors", "signature.json")


@pytest.mark.parametrize("name", [*EXPORTED, "slimming.json", "step_records.json", "SHA256SUMS"])
def test_no_bundle_is_made_of_a_damaged_export(name: str, steps: Path, dataset: Path, tmp_path: Path) -> None:
    damaged = damaged_copy(steps / "onnx", name, tmp_path / "damaged")
    with pytest.raises(DataError, match=r"SHA256SUMS.*Run the step that wrote it again"):
        evaluated(dataset, damaged, tmp_path)
    assert not (tmp_path / "results.json").exists()
    assert not (tmp_path / "bundle").exists()


def test_an_export_without_digests_is_checked_against_its_record(
    steps: Path, dataset: Path, tmp_path: Path
) -> None:
    """Version 0.1.0 wrote no SHA256SUMS, but it recorded the digest of model.onnx."""
    damaged = damaged_copy(steps / "onnx", "model.onnx", tmp_path / "damaged")
    (damaged / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=r"model.onnx: .*not the one that the export recorded"):
        evaluated(dataset, damaged, tmp_path)


def test_an_export_with_digests_is_checked_against_its_record_too(
    steps: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is not read a second time for that."""
    replaced = damaged_copy(steps / "onnx", "model.onnx", tmp_path / "replaced")
    write_digests(replaced)
    monkeypatch.setattr("netslim.steps.evaluate.sha256", lambda file: pytest.fail(f"reads {file} again"))
    with pytest.raises(DataError, match=r"model.onnx: .*not the one that the export recorded"):
        evaluated(dataset, replaced, tmp_path)


@pytest.mark.parametrize("name", ["architecture.json", "step_records.json", "weights.safetensors"])
def test_no_step_reads_a_damaged_model(name: str, steps: Path, dataset: Path, tmp_path: Path) -> None:
    damaged = damaged_copy(steps / "slim", name, tmp_path / "damaged")
    tune = replace(training_request(dataset, tmp_path / "tuned", epochs=1), start=str(damaged))
    calls = (
        lambda: train_step(replace(tune, stage="fine_tune")),
        lambda: prune_step(dataset, damaged, tmp_path / "pruned", PruningOptions(percent=0.25)),
        lambda: export_step(dataset, damaged, tmp_path / "onnx", pass_index=1),
    )
    for call in calls:
        with pytest.raises(ModelError, match=f"{name}: truncated or altered"):
            call()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["damaged"]


def test_no_step_reads_a_damaged_dataset_or_damaged_results(
    steps: Path, dataset: Path, tmp_path: Path
) -> None:
    damaged = damaged_copy(dataset, "dataset.json", tmp_path / "damaged")
    with pytest.raises(DataError, match=r"dataset.json: truncated or altered"):
        export_step(damaged, steps / "tuned", tmp_path / "onnx", pass_index=1)
    RunResults(constants={"seed": "3"}).save(tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace('"seed": "3"', '"seed": "2"'))
    with pytest.raises(DataError, match=r"results.json: altered: its SHA-256"):
        RunResults.load(tmp_path / "results.json")
