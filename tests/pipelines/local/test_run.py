"""A local run from its start to its end: the files it leaves, the cache, and the error of a failed step."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from netslim.errors import ConfigError, NetslimError, PipelineError
from netslim_kfp.pipelines.local import run as local
from netslim_kfp.pipelines.run_config import RunConfig

pytestmark = pytest.mark.slow  # each run starts KFP in a process, which starts the step in another


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Any, compile_tiny: Any) -> Any:
    """Runs the pipeline of one step, with its results below `tmp_path / "out"`."""
    monkeypatch.setattr(local, "compile_pipeline", compile_tiny)

    def started(ending: str) -> local.Outcome:
        return local.run_local(
            tiny,
            {"ending": ending},
            RunConfig(output=tmp_path / "out", gpus=0),
            tracking_uri="sqlite:///nowhere.db",
            console=Console(file=io.StringIO(), width=100),
        )

    return started


def test_an_unchanged_step_runs_once_and_then_comes_from_the_cache(start: Any, tmp_path: Path) -> None:
    first, second = start(""), start("")
    assert (first.executed, first.cached) == (("the work",), ())
    assert (second.executed, second.cached) == ((), ("the work",))
    assert first.key != second.key
    assert first.folder == tmp_path / "out" / first.key
    request = json.loads((first.folder / "run.json").read_text())
    assert request["arguments"] == {"ending": ""}
    assert request["environment"]["NETSLIM_RUN_KEY"] == first.key
    assert request["environment"]["NETSLIM_EXPECTED_GPUS"] == "0"
    assert "finished with status" in (first.folder / "log.txt").read_text()
    assert not list((tmp_path / "out" / "artifacts").glob("*.jsonl")), "the events are read and removed"
    (written,) = (tmp_path / "out" / "artifacts").glob("one-step-*/work/model")
    for run in (first, second):
        artifacts = json.loads((run.folder / "artifacts.json").read_text())
        assert (run.folder / artifacts["the work"]["model"]).resolve() == written.resolve()


@pytest.mark.parametrize(
    ("ending", "kind", "message"),
    [
        ("error", ConfigError, r"^percent = 2: too large\. Write 0\.5\. The log is .*log\.txt\.$"),
        ("bug", PipelineError, r"^KeyError: 'layers'\. This is a bug in netslim\. The log is .*log\.txt\.$"),
        (
            "killed",
            PipelineError,
            r"^step = the work: ended by SIGKILL \(signal 9\)\. The system kills processes when memory runs",
        ),
        (
            "exit",
            PipelineError,
            r"^step = the work: ended with exit code 9 after the line 'no space'\. The log",
        ),
    ],
)
def test_a_failed_step_is_an_error_of_its_own_class(
    start: Any, ending: str, kind: type[NetslimError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        start(ending)
