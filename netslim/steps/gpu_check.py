"""Checks that a step has the GPUs of its profile, before any other work."""

from __future__ import annotations

import os

from netslim.errors import PipelineError

__all__ = ["DETERMINISTIC", "EXPECTED", "GRAPHS", "check_gpus", "promised"]

EXPECTED = "NETSLIM_EXPECTED_GPUS"
"""Environment variable: how many GPUs the step's profile asks for. Only steps on a cluster have it."""

GRAPHS = "NETSLIM_GRAPHS"
"""Environment variable: `off` for trainings without CUDA graphs, which give the same weights."""

DETERMINISTIC = "NETSLIM_DETERMINISTIC"
"""Environment variable: `on` for trainings with torch's deterministic algorithms."""


def promised() -> int:
    """The number of GPUs of the step's profile; 0 without a profile, as on a laptop."""
    return int(os.environ.get(EXPECTED) or 0)


def check_gpus() -> None:
    """Multiply two matrices on every promised GPU. Without a promise nothing is done, and torch not loaded.

    A process that torchrun started checks its own GPU only.

    A cluster may start a step without its GPUs (an old KFP ignores the request, kubeflow/pipelines#11374) or
    with GPUs that its image cannot use. Without this check the step would train for days on the CPU.

    Raises:
        PipelineError: a promised GPU is missing or does not compute; the remedy names the likely cause.
    """
    wanted = promised()
    if not wanted:
        return
    import torch

    from netslim.nn.device_check import does_not_compute

    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        remedy = "Take an image built with images/build.py --variant cuda"
        raise _missing(wanted, f"this image's torch {torch.__version__} was built without CUDA", remedy)
    visible = torch.cuda.device_count()
    if visible < wanted:
        remedy = "Look at the pod's limits, the node's device plugin and its driver (docs/operate.md)"
        raise _missing(wanted, f"torch {torch.__version__} sees {visible}", remedy)
    own = os.environ.get("LOCAL_RANK")
    for index in range(wanted) if own is None else [int(own)]:
        if problem := does_not_compute(torch.device("cuda", index)):
            remedy = "The driver or the GPU's generation does not fit this image (docs/operate.md)"
            raise _missing(wanted, f"GPU {index} does not compute ({problem})", remedy)


def _missing(wanted: int, problem: str, remedy: str) -> PipelineError:
    return PipelineError(
        f"{wanted} promised, but {problem}", field="GPUs", remedy=f"{remedy}; --gpus 0 trains on the CPU"
    )
