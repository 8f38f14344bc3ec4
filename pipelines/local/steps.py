"""The processes of a local run's steps: started, stopped together, and their exit codes printed.

KFP's own local runner cannot stop a step, and keeps of its exit code only whether it is 0.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from netslim import progress
from netslim.child_process import ENVIRONMENT, GRACE, exit_text
from netslim.errors import PipelineError
from netslim_kfp.pipelines.local.artifacts_file import ArtifactsFile, written_by

__all__ = ["EXIT", "StepProcesses"]

EXIT = "The process of the step "
"""Beginning of the log's line about a step that failed; `exit_text` follows."""

STOPPED = 128 + signal.SIGTERM  # exit code of a step that is not started, because the run is being stopped
MEMORY = "The system kills processes when memory runs out: free some, or lower batch_size"


class StepProcesses:
    """Starts the processes of steps, and stops all that run.

    Args:
        titles: the title of each step by the name of its component.
        artifacts: gets the artifacts of each step that succeeds.
    """

    def __init__(self, titles: Mapping[str, str], artifacts: ArtifactsFile) -> None:
        self.titles, self.artifacts = titles, artifacts
        self.stopped = False
        self._stop_containers: Callable[[], None] | None = None
        self._running: set[subprocess.Popen[str]] = set()

    def install(self) -> None:
        """Let KFP's runner for processes start its steps by `run`."""
        from kfp.local import subprocess_task_handler

        subprocess_task_handler.run_local_subprocess = self.run

    def install_for_containers(self, stop: Callable[[], None]) -> None:
        """Let KFP's runner for containers start none after `stop`, and print how each ended.

        Args:
            stop: stops the containers that run.
        """
        from kfp.local import docker_task_handler

        start = docker_task_handler.run_docker_container

        def run(**arguments: Any) -> int:
            if self.stopped:
                return STOPPED
            code: int = start(**arguments)
            self._ended(code, arguments["command"])
            return code

        docker_task_handler.run_docker_container = run
        self._stop_containers = stop

    def run(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run a step to its end, print its output, and return its exit code. KFP calls this.

        The step ends with this process (netslim.child_process). Processes that it leaves behind are killed.
        After `stop` no step is started.
        """
        if self.stopped:
            return STOPPED
        with subprocess.Popen(
            full_command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",  # a step may print the bytes of any file
            env={**os.environ, **(env_vars or {}), ENVIRONMENT: "1"},
            process_group=0,
        ) as process:
            self._running.add(process)
            try:
                if self.stopped:  # between the first look and now
                    _ask_to_end(process)
                assert process.stdout is not None
                for line in process.stdout:
                    print(line, end="")
                code = process.wait()
            except BaseException:
                _ask_to_end(process)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
                raise
            finally:
                _kill_group(process)
                self._running.discard(process)
        print("\n")
        self._ended(code, full_command)
        return code

    def stop(self) -> None:
        """End all steps: SIGTERM now, SIGKILL after `GRACE` seconds. This does not wait for their end."""
        self.stopped = True
        for process in list(self._running):
            _ask_to_end(process)
            killer = threading.Timer(GRACE, _kill_group, [process])
            killer.daemon = True
            killer.start()
        if self._stop_containers:
            threading.Thread(target=self._stop_containers).start()

    def _ended(self, code: int, command: list[str]) -> None:
        """Write what a step wrote, or print how it failed. One that a signal ended wrote no error itself."""
        name, paths = written_by(command)
        if code == 0:
            self.artifacts.add(name, paths)
            return
        print(f"{EXIT}{exit_text(code)}")
        if "signal" in exit_text(code) and not self.stopped:
            title, remedy = self.titles.get(name, name), MEMORY if "SIGKILL" in exit_text(code) else None
            error = PipelineError(exit_text(code), field="step", value=title, remedy=remedy)
            progress.emit_event("failed", step=title)
            progress.emit_event("error", **error.to_json())


def _ask_to_end(process: subprocess.Popen[str]) -> None:
    """SIGTERM to the step; not to its group, because processes that load its images would end first.

    Where a shell is between, SIGTERM ends that, and the end of the pipe the step.
    """
    process.terminate()
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the step and of the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
