"""Run a compiled pipeline on this machine with KFP's own local runner, and show its progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from netslim import progress
from netslim.errors import NetslimError, PipelineError
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.local.console import RunView, step_titles
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
) -> Outcome:
    """Compile `pipeline` and run it to its end.

    All files are written below `config.output`. `<key>/` holds the compiled pipeline and the log.
    `artifacts/` holds the results of the steps and their cache; all runs share it, so that an unchanged step
    is not run again.

    Args:
        pipeline: the pipeline function.
        arguments: the values of its inputs.
        config: where and how to run.
        tracking_uri: the MLflow server of the steps.
        console: where progress is drawn.

    Raises:
        NetslimError: a step failed; the class and the message are those of the step.
        PipelineError: a step failed and wrote no error message; the message names the log.
    """
    key = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    output = config.output.resolve()
    folder, root = output / key, output / "artifacts"
    folder.mkdir(parents=True)
    root.mkdir(exist_ok=True)
    ir = compile_pipeline(pipeline, folder / "pipeline.yaml")
    events = root / f"{key}.events.jsonl"  # below the root, which containers see
    environment = {
        **config.environment(),
        "MLFLOW_TRACKING_URI": tracking_uri,
        "NETSLIM_RUN_KEY": key,
        progress.ENVIRONMENT: str(events),
    }
    request = {
        "ir": str(folder / "pipeline.yaml"),
        "arguments": arguments,
        "root": str(root),
        "cache": config.cache,
        "runner": config.runner,
        "environment": environment,
    }
    (folder / "run.json").write_text(json.dumps(request, indent=1), encoding="utf-8")
    with RunView(step_titles(ir), events, console) as view:
        code = _follow(folder, environment, view)
    events.unlink(missing_ok=True)
    if code != 0:
        raise failure(view, folder / "log.txt")
    return Outcome(key, folder, tuple(view.executed), tuple(view.cached))


def _follow(folder: Path, environment: dict[str, str], view: RunView) -> int:
    """Start the worker, copy its output into the log, and draw until it ends. Returns its exit code."""
    command = [sys.executable, "-m", "netslim_kfp.pipelines.local.worker", str(folder / "run.json")]
    with (
        (folder / "log.txt").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        ) as worker,
    ):

        def copy() -> None:
            assert worker.stdout is not None
            for line in worker.stdout:
                log.write(line)
                log.flush()
                view.line(line)

        reader = threading.Thread(target=copy, daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(0.1)
                view.poll()
        except KeyboardInterrupt:
            worker.terminate()
            raise
        return worker.wait()


def failure(view: RunView, log: Path) -> NetslimError:
    """The error of the step that failed first, with its class, and the path of the log in its remedy."""
    if not view.errors:
        problem, remedy = "a step failed and wrote no error message", "Read its last lines"
        return PipelineError(problem, field="log", value=str(log), remedy=remedy)
    error = view.errors[0]
    advice = error.remedy or ""
    stop = "" if not advice or advice.endswith(("?", ".")) else "."
    remedy = f"{advice}{stop} The log is {log}".strip()
    return type(error)(error.problem, field=error.field, value=error.value, remedy=remedy)
