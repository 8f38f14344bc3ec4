"""A process ends with the one that started it, also with a shell between them; exit codes have words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from netslim.child_process import ENVIRONMENT, exit_text

NOTED = """
import signal, sys, time
from netslim.child_process import end_with_parent
signal.signal(signal.SIGTERM, lambda *_: print("terminated", flush=True))
end_with_parent(0.2)
print("ready", flush=True)
while True:
    time.sleep(60)
"""
KILLED = """
import time
from netslim.child_process import kill_with_parent
kill_with_parent(0)
print("ready", flush=True)
time.sleep(60)
"""


def started(code: str, *before: str, asked: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*before, sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **({ENVIRONMENT: "1"} if asked else {})},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("before", [(), ("sh", "-c", '"$@"; exit $?', "sh")], ids=["alone", "shell"])
def test_the_end_of_the_pipe_is_sigterm_and_later_sigkill(before: tuple[str, ...]) -> None:
    with started(NOTED, *before) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        assert process.stdout.read() == "terminated\n"
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)


def test_without_a_handler_sigterm_ends_the_process() -> None:
    with started(NOTED.replace("signal.signal", "(lambda *_: 0)")) as process:
        process.communicate()
    assert process.returncode == -signal.SIGTERM


def test_only_sigkill_where_the_process_has_work_to_do_at_the_end() -> None:
    with started(KILLED, asked=False) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_was_not_asked_does_not_watch_its_input() -> None:
    code = "from netslim.child_process import end_with_parent as e; e(); print('ready', flush=True); input()"
    with started(code, asked=False) as process:
        process.communicate("a line\n")
    assert process.returncode == 0


@pytest.mark.parametrize(("loaded", "frozen"), [("json", "True"), ("triton", "False")])
def test_nothing_is_searched_for_garbage_at_the_end_unless_triton_would_print_leaks(
    loaded: str, frozen: str
) -> None:
    code = f"""
import atexit, gc, sys
from netslim.child_process import exit_quickly
atexit.register(lambda: print(gc.get_freeze_count() > 1000))  # runs after those registered later
exit_quickly()
sys.modules["{loaded}"] = None
print(gc.get_freeze_count())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", frozen]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-9, "ended by SIGKILL (signal 9)"),
        (137, "ended by SIGKILL (signal 9)"),
        (-11, "ended by SIGSEGV (signal 11)"),
        (143, "ended by SIGTERM (signal 15)"),
        (0, "ended with exit code 0"),
        (9, "ended with exit code 9"),
        (128, "ended with exit code 128"),
        (255, "ended with exit code 255"),
    ],
)
def test_an_exit_code_in_words(code: int, text: str) -> None:
    assert exit_text(code) == text
