"""Local runs of small pipelines in processes of their own, which a test can stop and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.processes import environment_without

__all__ = ["ROOT", "Forks", "LocalRun", "alive", "descendants", "forks"]

ROOT = Path(__file__).parents[2]

SERVER = """
import os, sys
from {module} import main
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        folder, *arguments = line.split()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(folder + "/output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1); os.dup2(output, 2)
        try:
            sys.exit(main(folder, *arguments))
        except SystemExit as error:
            sys.stdout.flush(); sys.stderr.flush()
            os._exit(error.code if isinstance(error.code, int) else error.code is not None)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class LocalRun:
    """A run that a fork of the server makes. What it prints is in the file `folder`/output."""

    def __init__(self, server: subprocess.Popen[str], folder: Path, arguments: tuple[str, ...]) -> None:
        self.server, self.folder = server, folder
        folder.mkdir(exist_ok=True)
        assert server.stdin is not None
        print(folder, *arguments, file=server.stdin, flush=True)
        self.pid = self._number()

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code, when it has ended."""
        return self._number()

    @property
    def shown(self) -> str:
        return (self.folder / "output").read_text()

    def _number(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


class Forks:
    """Starts runs one after the other. A fork costs no import of KFP."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self.server = server

    def start(self, folder: Path, *arguments: str) -> LocalRun:
        return LocalRun(self.server, folder, arguments)


@contextmanager
def forks(module: str, temporary: Path) -> Iterator[Forks]:
    """A process with `main` of `module` imported; each run is a fork that calls main(folder, *arguments).

    Args:
        temporary: an existing folder for the temporary files of the runs.
    """
    with subprocess.Popen(
        [sys.executable, "-c", SERVER.format(module=module)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment_without("MLFLOW_", "NETSLIM_"), "TMPDIR": str(temporary)},
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield Forks(server)
        finally:
            for pid in [*descendants(server.pid), server.pid]:  # of a test that failed
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> dict[int, str]:
    """The processes that `pid` started, and those that these started; their commands by number."""
    table = subprocess.run(
        ["ps", "-eww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in table.splitlines()]
    children: dict[int, list[tuple[int, str]]] = {}
    for row in rows:
        if not row[2].startswith("Z"):
            children.setdefault(int(row[1]), []).append((int(row[0]), row[3] if len(row) > 3 else ""))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child, command in children.get(waiting.pop(), []):
            found[child] = command
            waiting.append(child)
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of `pids` that run."""
    shown = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    rows = [line.split() for line in shown.splitlines()]
    return {int(pid) for pid, state in rows if not state.startswith("Z")}
