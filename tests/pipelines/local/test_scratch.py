"""Temporary files are removed at the end of a run, and those of a run that was killed at the next start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netslim_kfp.pipelines.local.scratch import EVENTS, events_file, scratch_folder

HOLD = """
import sys, tempfile
from pathlib import Path
from netslim_kfp.pipelines.local.scratch import events_file, scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder() as scratch, events_file(Path(sys.argv[2])) as events:
    (scratch / "left").touch()
    print(scratch, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@contextmanager
def other_run(temporary: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds what a run holds."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(temporary), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def test_a_folder_is_removed_with_all_that_is_in_it(temporary: Path) -> None:
    def stopped_run() -> None:
        with scratch_folder() as scratch:
            (scratch / "of a step").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_run()
    assert not list(temporary.iterdir())


def test_only_what_a_killed_run_left_is_removed(temporary: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (temporary / "netslim-run-of-no-one").symlink_to(tmp_path)
    (temporary / "of another program").touch()
    with (
        other_run(temporary, output / "running") as (_, of_running),
        other_run(temporary, output / "killed") as (killed, of_killed),
    ):
        killed.kill()
        killed.wait()
        assert (of_killed / "left").exists()
        assert (output / "killed" / EVENTS).exists()
        (output / "mine").mkdir()
        keys: list[str] = []
        with scratch_folder() as scratch, events_file(output / "mine", keys.append) as events:
            assert keys == ["killed"]
            assert set(temporary.iterdir()) - {of_running, scratch} == {
                temporary / "netslim-run-of-no-one",
                temporary / "of another program",
            }
            assert (of_running / "left").exists()
            assert {file.parent.name for file in output.glob(f"*/{EVENTS}")} == {"running", "mine"}
            assert events == output / "mine" / EVENTS
        assert not events.exists()
        assert (output / "running" / EVENTS).exists()
