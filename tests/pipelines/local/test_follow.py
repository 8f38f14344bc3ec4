"""The worker is read to its end whatever fails here, and ends with the process that reads it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from netslim_kfp.pipelines.local import follow as follow_module
from netslim_kfp.pipelines.local.console import RunView
from netslim_kfp.pipelines.local.follow import follow

LONG = [
    "sh",
    "-c",
    "echo 'Task a cache hit'; yes 'words of the step' | head -n 9999; echo 'Task b cache hit'",
]
"""Prints 180 kB. A pipe holds 64 kB."""


def view(folder: Path, file: Any = None) -> RunView:
    return RunView({}, folder / "events", Console(file=file or io.StringIO(), width=200))


def test_all_that_is_printed_is_in_the_log_and_on_screen(tmp_path: Path) -> None:
    drawn = view(tmp_path)
    assert (
        follow(
            ["sh", "-c", "printf 'Task a cache hit\\n\\377\\n'; exit 3"], os.environ, tmp_path / "log", drawn
        )
        == 3
    )
    assert (tmp_path / "log").read_bytes() == b"Task a cache hit\n\xff\n"
    assert drawn.cached == ["a"]


@pytest.mark.parametrize("log", ["/dev/full", "no folder/log"])
def test_a_log_that_cannot_be_written_is_a_warning_and_stops_nothing(tmp_path: Path, log: str) -> None:
    if log == "/dev/full" and not Path(log).exists():  # macOS
        log = "/"
    drawn = view(tmp_path)
    assert follow(LONG, os.environ, tmp_path / log, drawn) == 0
    assert drawn.cached == ["a", "b"]
    assert isinstance(drawn.console.file, io.StringIO)
    assert "is incomplete: " in drawn.console.file.getvalue()


class Broken(io.StringIO):
    """A screen that cannot be written from its second line on."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        if "cached" in self.getvalue() and "\n" in self.getvalue():
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "No space left on device"), KeyboardInterrupt()]
)
def test_a_screen_that_fails_ends_the_worker(tmp_path: Path, error: BaseException) -> None:
    command = ["sh", "-c", f"echo $$ > {tmp_path}/pid; while :; do echo Task a cache hit; done"]
    drawn = view(tmp_path, Broken(error))
    drawn.console.on_broken_pipe = lambda: sys.exit(1)  # type: ignore[method-assign]  # Rich's closes fd 1
    with pytest.raises(SystemExit if isinstance(error, BrokenPipeError) else type(error)):
        follow(command, os.environ, tmp_path / "log", drawn)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_sigterm_ends_the_worker_and_then_this_process(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    trap = f"trap 'echo ended > {tmp_path}/ended; exit' TERM"
    command = ["sh", "-c", f"{trap}; sleep 0.3; kill -TERM {os.getpid()}; while :; do sleep 0.05; done"]
    with pytest.raises(SystemExit) as stopped:
        follow(command, os.environ, tmp_path / "log", view(tmp_path))
    assert stopped.value.code == 143
    assert (tmp_path / "ended").read_text() == "ended\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "GRACE", 0.2)
    monkeypatch.setattr(follow_module, "SLACK", 0.2)
    command = ["sh", "-c", "trap '' TERM; echo Task a cache hit; while :; do sleep 0.1; done"]
    drawn = view(tmp_path)
    drawn.cached = Interrupt()
    with pytest.raises(KeyboardInterrupt):
        follow(command, os.environ, tmp_path / "log", drawn)


class Interrupt(list[str]):
    """A list that is interrupted by Ctrl-C when it gets its first item."""

    def append(self, item: str) -> None:
        raise KeyboardInterrupt


def test_a_program_that_stops_reading_stops_the_run(tmp_path: Path) -> None:
    """As `netslim run | head -1`, with the real console."""
    script = f"""
import os
from pathlib import Path
from rich.console import Console
from netslim_kfp.pipelines.local.console import RunView
from netslim_kfp.pipelines.local.follow import follow
follow({LONG!r}, os.environ, Path({str(tmp_path / "log")!r}), RunView({{}}, Path("no events"), Console()))
"""
    shell = f"{sys.executable} - | head -1"
    done = subprocess.run(
        ["sh", "-c", shell], input=script, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["cached", "a"]
    assert "Traceback" not in done.stderr
