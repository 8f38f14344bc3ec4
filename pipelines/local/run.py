"""Run a compiled pipeline on this machine, with KFP's own runner, and show how it goes."""

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

from netslim import errors, progress
from netslim.errors import NetslimError, PipelineError
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.local.console import RunView, step_titles
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["Outcome", "run_local"]


@dataclass(frozen=True)
class Outcome:
    """How a local run went: its key in MLflow, its folder, and the titles of its steps."""

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

    Everything lands under `config.output`: `<key>/` holds the compiled pipeline and the log, `artifacts/` the
    steps' results and their cache, shared by all runs, so that a run repeats only what changed.

    Raises:
        NetslimError: a step failed; the class and the message are the step's own.
        PipelineError: a step failed without saying why; the message names the log.
    """
    key = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    output = config.output.resolve()
    folder, root = output / key, output / "artifacts"
    folder.mkdir(parents=True)
    root.mkdir(exist_ok=True)
    ir = compile_pipeline(pipeline, folder / "pipeline.yaml")
    events = root / f"{key}.events.jsonl"  # under the root, which is what a container sees of this machine
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
    with RunView(step_titles(ir), events, console) as watch:
        code = _follow(folder, environment, watch)
    events.unlink(missing_ok=True)
    if code != 0:
        raise failure(watch, folder / "log.txt")
    return Outcome(key, folder, tuple(watch.executed), tuple(watch.cached))


def _follow(folder: Path, environment: dict[str, str], watch: RunView) -> int:
    """Start the worker, copy what it says into the log, and keep the picture fresh until it ends."""
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
                watch.line(line)

        reader = threading.Thread(target=copy, daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(0.1)
                watch.poll()
        except KeyboardInterrupt:
            worker.terminate()
            raise
        return worker.wait()


def failure(watch: RunView, log: Path) -> NetslimError:
    """The error of the step that failed, as the class it was raised with."""
    if not watch.errors:
        return PipelineError(
            "a step failed without a word", field="log", value=str(log), remedy="Its last lines say more"
        )
    first = watch.errors[0]
    kind: type[NetslimError] = getattr(errors, first["kind"], PipelineError)
    return kind(first["message"].rstrip("."), remedy=f"The log is {log}")
