"""Run a compiled pipeline on this machine with KFP's own local runner, and show its progress."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from netslim import progress
from netslim.child_process import exit_text
from netslim.errors import NetslimError, PipelineError
from netslim.storage.atomic import storage_errors
from netslim.storage.backends import CHECKPOINTS
from netslim.tracking.destination import KEY, NAME, URI
from netslim.tracking.journal import JOURNAL, journal_of
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.local import docker
from netslim_kfp.pipelines.local.console import RunView, step_titles
from netslim_kfp.pipelines.local.follow import follow
from netslim_kfp.pipelines.local.scratch import events_file, scratch_folder
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["Outcome", "run_local"]


@dataclass(frozen=True)
class Outcome:
    """A finished local run: its key in MLflow, its folder, and the titles of its steps."""

    key: str
    folder: Path
    executed: tuple[str, ...]
    cached: tuple[str, ...]


def run_local(
    pipeline: Callable[..., Any],
    arguments: dict[str, Any],
    config: RunConfig,
    *,
    tracking_uri: str,
    console: Console,
    stopped: Callable[[str], object] = len,
) -> Outcome:
    """Compile `pipeline` and run it to its end.

    All files are written below `config.output`. `<key>/` holds the compiled pipeline and the log.
    `artifacts/` holds the results of the steps and their cache; all runs share it, so that an unchanged step
    is not run again. `checkpoints/` holds those of unfinished trainings, from which the next run continues.

    Args:
        pipeline: the pipeline function.
        arguments: the values of its inputs.
        config: where and how to run.
        tracking_uri: the MLflow server of the steps.
        console: where progress is drawn.
        stopped: called with the run's key when it was stopped by Ctrl-C or SIGTERM. Before the first step it
            is also called with the key of each earlier run in this output folder that was killed.

    Raises:
        NetslimError: a step failed; the class and the message are those of the step.
        PipelineError: a step, or the process that runs the steps, ended without an error message.
        StorageError: the output cannot be written.
    """
    key = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    output = config.output.resolve()
    folder, root = output / key, output / "artifacts"
    with storage_errors(folder):
        folder.mkdir(parents=True)
        root.mkdir(exist_ok=True)
    titles = step_titles(compile_pipeline(pipeline, folder / "pipeline.yaml"))
    checkpoints = os.environ.get(CHECKPOINTS) or str(output / "checkpoints")
    with events_file(folder, stopped) as events, scratch_folder() as scratch, ExitStack() as stack:
        if config.runner == "docker":
            stack.callback(docker.stop_containers, key)  # where the worker was killed
        settings = {
            **config.environment(),
            CHECKPOINTS: checkpoints,
            KEY: key,
            NAME: config.run_name(),
            JOURNAL: str(journal_of(output)),  # also in containers, which see the output folder
            progress.ENVIRONMENT: str(events),
        }
        request = {
            "ir": str(folder / "pipeline.yaml"),
            "titles": titles,
            "arguments": arguments,
            "root": str(root),
            "workspace": str(scratch / "workspace"),
            "cache": config.cache,
            "runner": config.runner,
            "environment": settings,
        }
        _write_privately(folder / "run.json", json.dumps(request, indent=1))
        command = [sys.executable, "-m", "netslim_kfp.pipelines.local.worker", str(folder / "run.json")]
        # The server's address may contain a password, so it is in no file.
        environment = {**os.environ, **settings, URI: tracking_uri, "TMPDIR": str(scratch)}
        # A result in the cache needs no checkpoint. Without the cache they are kept until the run succeeds.
        trained: Callable[[Collection[Path]], object] = _remove if config.cache else len
        with RunView(titles, events, console, trained) as view:
            try:
                code = follow(command, environment, folder / "log.txt", view)
            except (KeyboardInterrupt, SystemExit):
                stopped(key)
                raise
    if code != 0:
        raise failure(view, folder / "log.txt", code)
    _remove(view.checkpoints)
    return Outcome(key, folder, tuple(view.executed), tuple(view.cached))


def _remove(folders: Collection[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _write_privately(file: Path, text: str) -> None:
    """Only the user may read it: the arguments of a run can contain what is not for others."""
    with storage_errors(file):
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")


def failure(view: RunView, log: Path, code: int) -> NetslimError:
    """The error of the step that failed first, with its class, and the path of the log in its remedy.

    Args:
        code: the exit code of the worker process: 1 where a step failed.
    """
    if code != 1 or not view.errors:  # it was killed, and the step with it, or it failed itself
        problem = f"the process that runs the steps {exit_text(code)}"
        return PipelineError(problem, field="log", value=str(log), remedy="Read its last lines")
    error = view.errors[0]
    advice = error.remedy or ""
    stop = "" if not advice or advice.endswith(("?", ".")) else "."
    remedy = f"{advice}{stop} The log is {log}".strip()
    return type(error)(error.problem, field=error.field, value=error.value, remedy=remedy)
