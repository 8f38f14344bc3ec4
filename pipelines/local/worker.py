"""The process that runs a compiled pipeline under KFP's own local runner.

It is a process of its own because KFP's local runner takes over the root logger and `print`, and the user's
terminal belongs to the progress bars (netslim_kfp.pipelines.local.console). Everything here goes to the
run's log.

Usage: python -m netslim_kfp.pipelines.local.worker RUN.json
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from netslim_kfp.pipelines.local import docker

__all__ = ["main"]


def main(request: str) -> int:
    """Run the pipeline a JSON file describes: ir, arguments, root, cache, runner. Returns the exit code."""
    from kfp import components, local

    wanted: dict[str, Any] = json.loads(Path(request).read_text(encoding="utf-8"))
    if wanted["runner"] == "docker":
        wanted["arguments"] = docker.absolute(wanted["arguments"])
    # Cache hits are told outside of KFP's own logging context; without a handler they would go unseen.
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", message="You may be attemp", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
    local.init(
        runner=runner(wanted),
        pipeline_root=wanted["root"],
        enable_caching=wanted["cache"],
        cache_root=str(Path(wanted["root"]) / "cache"),
    )
    pipeline = components.load_component_from_file(wanted["ir"])
    try:
        pipeline(**wanted["arguments"])
    except RuntimeError as error:  # how KFP says that a step failed; the step itself has said why
        logging.error("%s", error)
        return 1
    return 0


def runner(wanted: dict[str, Any]) -> Any:
    """KFP's runner of the kind that is wanted."""
    if wanted["runner"] == "docker":
        return docker.docker_runner(wanted)
    from kfp import local

    return local.SubprocessRunner(use_venv=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
