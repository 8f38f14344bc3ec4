"""The whole pipeline through KFP's own runner, as a user starts it: `netslim run`.

Few epochs keep it short; the numbers are those of a barely trained network, and none of them matters here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import onnxruntime
import pytest
from click.testing import CliRunner

from netslim import tracking
from netslim.cli.verify import verify
from netslim.errors import TrainingError
from tests.helpers.processes import environment_without

pytestmark = pytest.mark.slow

CONFIG = """\
base: {epochs: 2}
sparse: {epochs: 2, total_shrinkage: 0.2}
tune: {epochs: 2}
max_loss: 100
passes: 2
"""
BASELINE = ["baseline: train", "baseline: export ONNX", "baseline: evaluate"]
STEPS = ("train sparse", "prune", "fine-tune", "export ONNX", "evaluate")


def steps_of(index: int) -> list[str]:
    return [f"pass {index}: {step}" for step in STEPS]


@dataclass
class Ran:
    """One `netslim run`: its exit code, what it printed, and where its results are."""

    code: int
    shown: str
    output: Path

    def steps(self, mark: str) -> set[str]:
        return {match[1].strip() for match in re.finditer(rf"^  {mark} +(.+?)(?:  |$)", self.shown, re.M)}

    @property
    def found(self) -> tracking.RecordedRun:
        return tracking.read_run(tracking.default_uri(self.output), "netslim/digits")


def netslim(output: Path, *options: str) -> Ran:
    config = output.parent / "run.yaml"
    config.write_text(CONFIG)
    environment = environment_without("MLFLOW_")
    command = [sys.executable, "-m", "netslim", "run", "--config", str(config), "--output", str(output)]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=output.parent,
        env={**environment, "COLUMNS": "200"},
    )
    return Ran(done.returncode, done.stdout + done.stderr, output)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    ran = netslim(tmp_path_factory.mktemp("e2e") / "out")
    assert ran.code == 0, ran.shown
    return ran


def test_every_step_of_both_passes_ran_once(first: Ran) -> None:
    expected = ["prepare data", *BASELINE, *steps_of(1), *steps_of(2), "finish"]
    assert first.steps("done") == set(expected)
    assert first.steps("cached") == set()


def test_the_results_in_mlflow_are_those_of_the_run(first: Ran) -> None:
    rows = first.found.results.rows
    assert first.found.status == "FINISHED"
    assert [row.index for row in rows] == [0, 1, 2]
    for wide, slim in pairwise(rows):
        assert slim.size_before is not None
        assert slim.size_before.channels == wide.size.channels
        assert wide.size.channels - slim.size.channels == wide.size.channels // 2, (
            "exactly half of the channels go in a pass"
        )
        assert slim.size.params < wide.size.params
        assert slim.size.macs < wide.size.macs
    assert rows[-1].reason.startswith("done: 2 of 2 passes")
    assert [row.continue_ for row in rows] == [True, True, False]


def test_the_user_gets_bundles_that_verify_and_a_report(first: Ran) -> None:
    (folder,) = [path.parent for path in first.output.glob("*/report.html")]
    models = sorted(folder.glob("*/model.onnx"))
    assert [model.parent.name for model in models] == ["pass-00", "pass-01", "pass-02"]
    assert sorted((model.stat().st_size for model in models), reverse=True) == [
        m.stat().st_size for m in models
    ]
    for model in models:
        session = onnxruntime.InferenceSession(model)
        assert session.get_inputs()[0].shape == ["batch", 1, 8, 8]
        assert session.get_modelmeta().custom_metadata_map["pass"] == str(int(model.parent.name[-2:]))
        told = CliRunner().invoke(verify, [str(model.parent)])
        assert told.exit_code == 0, told.output
    for shown in ("baseline", "pass 1", "pass 2", "pass-00/model.onnx", "report.html", "mlflow ui --backend"):
        assert shown in first.shown


def test_a_failed_run_goes_on_with_other_settings_and_too_high_an_error_stops_it_early(first: Ran) -> None:
    """Nothing before the fine-tuning, whose settings change, is run again; no step of pass 2 is run."""
    kept = {
        "prepare data",
        "baseline: train",
        "baseline: export ONNX",
        "pass 1: train sparse",
        "pass 1: prune",
    }
    failed = netslim(first.output, "--tune", "lr=1e30", "--max-error-increase", "0")
    assert failed.code == TrainingError.exit_code, failed.shown
    assert failed.steps("cached") == kept
    assert failed.steps("done") == {"baseline: evaluate", "finish"}
    assert failed.steps("failed") == {"pass 1: fine-tune"}
    assert failed.found.status == "FAILED"
    assert [row.index for row in failed.found.results.rows] == [0]
    message = failed.shown.splitlines()[-1]
    assert message.startswith("netslim: ")
    assert "Traceback" not in failed.shown

    mended = netslim(first.output, "--tune", "lr=1e-6", "--max-error-increase", "0")
    assert mended.code == 0, mended.shown
    assert mended.steps("cached") == kept
    assert mended.steps("done") == {"baseline: evaluate", *steps_of(1), "finish"} - kept
    assert mended.found.status == "FINISHED"
    rows = mended.found.results.rows
    assert [row.index for row in rows] == [0, 1], "cached steps are in MLflow all the same"
    assert rows[-1].reason.startswith("stopped: error")
    assert "more than the 0 allowed" in " ".join(mended.shown.split())
