"""The process that runs a compiled pipeline under KFP's own local runner.

It is a process of its own because KFP's local runner takes over the root logger and `print`, and the user's
terminal belongs to the progress bars (pipelines.watch). Everything here goes to the run's log.

Usage: python -m pipelines.worker RUN.json
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(request: str) -> int:
    """Run the pipeline a JSON file describes: ir, arguments, root, cache, runner. Returns the exit code."""
    from kfp import components, local

    wanted: dict[str, Any] = json.loads(Path(request).read_text(encoding="utf-8"))
    # Cache hits are told outside of KFP's own logging context; without a handler they would go unseen.
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", message="You may be attemp", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
    local.init(
        runner=runner(wanted["runner"], wanted["environment"]),
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


def runner(kind: str, environment: dict[str, str]) -> Any:
    """KFP's runner of that kind. A container sees nothing of the host's environment, so it is handed over."""
    from kfp import local

    if kind == "docker":
        return local.DockerRunner(
            user=f"{os.getuid()}:{os.getgid()}",  # so that the host's user owns the artifacts
            shm_size="2g",
            network_mode="host",  # the tracking server may be a process of this host
            environment={"HOME": "/tmp", **environment},
        )
    return local.SubprocessRunner(use_venv=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
