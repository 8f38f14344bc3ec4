"""The screen shows what KFP's log and the events of the steps contain."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from netslim import progress
from netslim.errors import ConfigError, DataError
from netslim.steps.entrypoint import step_process
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.local.console import RunView, step_titles
from netslim_kfp.pipelines.slimming.pipeline import build

TITLES = {"prune": "pass 1: prune", "train-sparse-2": "pass 1: train sparse"}
LOG = [
    "00:00:01 - INFO - Executing task \x1b[96m'train-sparse-2'\x1b[0m\n",
    "    some words of the step\n",
    "00:00:09 - INFO - Task \x1b[96m'train-sparse-2'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m\n",
    "Task prune cache hit (key=0123); reusing cached outputs\n",
]


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), width=100)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_steps_are_counted_and_printed(tmp_path: Path, screen: Console) -> None:
    with RunView(TITLES, tmp_path / "events", screen) as view:
        for line in LOG:
            view.line(line)
    assert (view.executed, view.cached) == (["pass 1: train sparse"], ["pass 1: prune"])
    assert "done" in shown(screen)
    assert "cached pass 1: prune" in shown(screen)


def test_the_values_of_a_bar_are_printed_beside_the_step(
    tmp_path: Path, screen: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    with RunView(TITLES, tmp_path / "events", screen) as view:
        view.line(LOG[0])
        with progress.bar("sparse training", 10) as bar:
            bar.advance(4, error=1.25)
            view.poll()
            assert view.progress.tasks[0].completed == 4
            assert view.progress.tasks[0].total == 10
        view.line(LOG[2])
    assert "error 1.25" in shown(screen)


def test_an_incomplete_line_is_read_later(tmp_path: Path, screen: Console) -> None:
    events = tmp_path / "events"
    whole = json.dumps({"event": "error", **DataError("no").to_json()}) + "\n"
    events.write_text(whole[:20])
    with RunView(TITLES, events, screen) as view:
        view.poll()
        assert view.errors == []
        events.write_text(whole)
        view.poll()
        view.poll()
    assert [type(error) for error in view.errors] == [DataError]


def test_a_steps_mistake_becomes_an_event_and_an_exit_code(
    tmp_path: Path, screen: Console, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))

    with pytest.raises(SystemExit) as caught, step_process():
        raise ConfigError("too large", field="percent", value=2)
    assert caught.value.code == ConfigError.exit_code
    assert "netslim: percent = 2: too large." in capsys.readouterr().err
    with RunView(TITLES, tmp_path / "events", screen) as view:
        view.poll()
    assert str(view.errors[0]) == "percent = 2: too large."


def test_every_step_has_a_title_under_both_of_its_names(tmp_path: Path) -> None:
    ir = compile_pipeline(build(3), tmp_path / "ir.yaml")
    titles = step_titles(ir)
    executed = {name.removeprefix("exec-") for name in ir["deploymentSpec"]["executors"]}
    assert executed <= set(titles)
    assert len(set(titles.values())) == len(executed) == 20
    assert titles["prune-3"] == "pass 3: prune"


FAILED = "00:00:09 - ERROR - Task 'train-sparse-2' finished with status FAILURE\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["    MemoryError\n", "\n", "    The process of the step ended with exit code 1\n"],
            "step = pass 1: train sparse: ended with exit code 1 after the line 'MemoryError'.",
        ),
        (["    of a container\n"], "step = pass 1: train sparse: failed after the line 'of a container'."),
    ],
)
def test_a_step_that_wrote_no_error_is_named_with_its_end(
    tmp_path: Path, screen: Console, lines: list[str], message: str
) -> None:
    later = [
        "Executing task 'prune'\n",
        "    words of another step\n",
        FAILED.replace("train-sparse-2", "prune"),
    ]
    with RunView(TITLES, tmp_path / "events", screen) as view:
        for line in ["    words before the first step\n", LOG[0], *lines, FAILED, *later]:
            view.line(line)
    assert str(view.errors[0]) == message
    assert "pass 1: prune" in str(view.errors[1])


def test_the_steps_own_error_is_the_first_one(
    tmp_path: Path, screen: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    with RunView(TITLES, tmp_path / "events", screen) as view:
        view.line(LOG[0])
        progress.emit_event("error", **DataError("no images").to_json())
        view.line("    The process of the step ended with exit code 3\n")
        view.line(FAILED)
    assert [str(error) for error in view.errors] == ["no images."]


def test_results_that_cannot_be_reused_are_one_line(tmp_path: Path, screen: Console) -> None:
    with RunView(TITLES, tmp_path / "events", screen) as view:
        view.line("Cached results of prune are not used: [out]/model: truncated or altered.\n")
    (line,) = shown(screen).splitlines()
    assert line.split(maxsplit=4) == ["damaged", "pass", "1:", "prune", line.split(maxsplit=4)[4]]
    assert line.endswith("its cached results are not used: [out]/model: truncated or altered.")


def test_the_checkpoints_of_a_step_are_passed_on_when_it_has_ended_well(
    tmp_path: Path, screen: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    passed_on: list[set[Path]] = []
    with RunView(TITLES, tmp_path / "events", screen, lambda folders: passed_on.append(set(folders))) as view:
        for step, end in (("good", LOG[2]), ("killed", FAILED), ("other", LOG[2])):
            view.line(LOG[0])
            if step != "other":
                progress.emit_event("checkpoints", folder=f"kept/{step}")
            view.line(end)
    assert passed_on == [{Path("kept/good")}, set()]
    assert view.checkpoints == {Path("kept/good"), Path("kept/killed")}


def test_a_line_that_a_killed_process_left_incomplete_is_skipped(tmp_path: Path, screen: Console) -> None:
    events = tmp_path / "events"
    whole = json.dumps({"event": "error", **DataError("no").to_json()}) + "\n"
    events.write_text(whole[:20] + whole + whole)
    with RunView(TITLES, events, screen) as view:
        view.poll()
    assert [str(error) for error in view.errors] == ["no."]
