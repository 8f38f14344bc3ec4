"""A pipeline of one small step for KFP's own local runner: it succeeds, fails, or is killed.

KFP reads annotations as objects, so this file has no `from __future__ import annotations`.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def work(model: dsl.Output[dsl.Model], ending: str = "") -> str:
    import os
    from pathlib import Path

    from netslim.errors import ConfigError
    from netslim.steps.entrypoint import step_process

    with step_process():
        if ending == "error":
            raise ConfigError("too large", field="percent", value=2, remedy="Write 0.5")
        if ending == "bug":
            raise KeyError("layers")
    if ending == "killed":
        os.kill(os.getppid(), 9)  # the shell that KFP starts
        os._exit(0)
    if ending == "exit":
        print("no space", flush=True)
        os._exit(9)
    Path(model.path).write_text("{}")
    return os.environ["NETSLIM_RUN_KEY"]


@dsl.pipeline(name="one-step")
def one_step(ending: str = "") -> None:
    work(ending=ending).set_display_name("the work")


def compile_plainly(pipeline: Any, path: Path) -> dict[str, Any]:
    """What `compile_pipeline` does, without the rules that are about the steps of netslim."""
    compiler.Compiler().compile(pipeline, str(path))
    compiled: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return compiled


@pytest.fixture
def tiny() -> Any:
    return one_step


@pytest.fixture
def compile_tiny() -> Any:
    return compile_plainly
