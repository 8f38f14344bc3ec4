"""A local run whose only step waits for SIGTERM, as a long training does, or for a file named "finish".

KFP reads annotations as objects, so this file has no `from __future__ import annotations`.
"""

import io
import json
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl
from rich.console import Console

from netslim.errors import NetslimError
from netslim_kfp.pipelines.compiler.minify import MODULE, START
from netslim_kfp.pipelines.local import run as local
from netslim_kfp.pipelines.run_config import RunConfig

BODY = """
import os, sys, time
from pathlib import Path
from netslim_kfp.components.step import step

@step("train")
def wait(folder: str) -> None:
    from netslim.steps.entrypoint import step_process
    from netslim.tracking.live_curves import live_curves
    from netslim.training.signals import stop_on_sigterm

    room = Path(folder)
    with step_process(), live_curves(room / "history", pass_index=1, stage="sparse", experiment="e"):
        Path(os.environ["TMPDIR"], "left by the step").touch()
        with stop_on_sigterm() as stop:
            (room / "waiting").write_text(str(os.getpid()))
            while not stop.requested and not (room / "finish").exists():
                time.sleep(0.02)
            if stop.requested:
                (room / "checkpoint").touch()
"""


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def wait(folder: str) -> None:
    pass


@dsl.pipeline(name="waiting")
def waiting(folder: str) -> None:
    wait(folder=folder).set_display_name("the training")


def compile_waiting(pipeline: Any, path: Path) -> dict[str, Any]:
    """The step starts as those of netslim do, but for the module that its function is in."""
    compiler.Compiler().compile(pipeline, str(path))
    compiled: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    (executor,) = compiled["deploymentSpec"]["executors"].values()
    module = "\n".join(MODULE.splitlines()[:-1]) + BODY
    executor["container"]["command"] = ["sh", "-ec", START, module]
    path.write_text(yaml.safe_dump(compiled), encoding="utf-8")
    return compiled


def main(folder: str) -> int:
    """Run the pipeline with its output in `folder`/out; the exit code is that of `netslim run`."""
    setattr(local, "compile_pipeline", compile_waiting)  # noqa: B010  # its type is another
    try:
        local.run_local(
            waiting,
            {"folder": folder},
            RunConfig(output=Path(folder, "out"), gpus=0),
            tracking_uri="http://someone:secret@127.0.0.1:9",
            console=Console(file=io.StringIO(), width=100),
            stopped=lambda key: print("stopped:", key, flush=True),
        )
    except KeyboardInterrupt:
        return 130
    except NetslimError as error:
        print(json.dumps(error.to_json()))
        return error.exit_code
    return 0
