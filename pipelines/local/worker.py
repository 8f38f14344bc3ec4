"""The process that runs a compiled pipeline under KFP's own local runner.

It is a process of its own because KFP's local runner redirects the root logger and `print`, while the user's
terminal shows progress bars (netslim_kfp.pipelines.local.console). Its output is written to the run's log.
It ends with the process that started it, and at SIGTERM. The running step ends first, and no other starts.

Usage: python -m netslim_kfp.pipelines.local.worker RUN.json
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from netslim.child_process import GRACE, end_with_parent, exit_quickly
from netslim.tracking.destination import KEY
from netslim_kfp.pipelines.local import docker
from netslim_kfp.pipelines.local.artifacts_file import ArtifactsFile
from netslim_kfp.pipelines.local.steps import StepProcesses

__all__ = ["SLACK", "main"]

SLACK = 5.0
"""Seconds that this process may take to end after its last step."""


def main(request: str) -> int:
    """Run a compiled pipeline.

    Args:
        request: a JSON file with the keys ir, titles, arguments, root, workspace, cache and runner, and for
            docker environment.

    Returns:
        The exit code: 1 when a step failed, 143 when the run was stopped.
    """
    end_with_parent(GRACE + SLACK)
    exit_quickly()
    from kfp import components, local

    from netslim_kfp.pipelines.local import cache

    wanted: dict[str, Any] = json.loads(Path(request).read_text(encoding="utf-8"))
    artifacts = ArtifactsFile(Path(request).with_name("artifacts.json"), wanted["titles"])
    steps = StepProcesses(wanted["titles"], artifacts)
    steps.install()
    if wanted["runner"] == "docker":
        wanted["arguments"] = docker.absolute(wanted["arguments"])
        steps.install_for_containers(partial(docker.stop_containers, wanted["environment"][KEY]))
    cache.install(artifacts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: steps.stop())
    # KFP logs cache hits outside of its own logging context; without a handler they would be lost.
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", message="You may be attemp", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
    local.init(
        runner=runner(wanted),
        pipeline_root=wanted["root"],
        workspace_root=wanted["workspace"],
        enable_caching=wanted["cache"],
        cache_root=str(Path(wanted["root"]) / "cache"),
    )
    pipeline = components.load_component_from_file(wanted["ir"])
    try:
        pipeline(**wanted["arguments"])
    except RuntimeError as error:  # KFP's error for a failed step; the step has written its own
        logging.error("%s", error)
        return 128 + signal.SIGTERM if steps.stopped else 1
    return 0


def runner(wanted: dict[str, Any]) -> Any:
    """KFP's runner of the kind that the request names."""
    if wanted["runner"] == "docker":
        return docker.docker_runner(wanted)
    from kfp import local

    return local.SubprocessRunner(use_venv=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
