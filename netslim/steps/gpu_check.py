"""Whether a step got the GPUs that it was promised, asked before anything else is done."""

from __future__ import annotations

import os

from netslim.errors import PipelineError, first_line

__all__ = ["EXPECTED", "check_gpus", "promised"]

EXPECTED = (
    "NETSLIM_EXPECTED_GPUS"  # set on a cluster only, by the step's profile (pipelines/cluster/profiles.yaml)
)


def promised() -> int:
    """How many GPUs this step was promised; 0 without a promise, as on a laptop."""
    return int(os.environ.get(EXPECTED) or 0)


def check_gpus() -> None:
    """Compute a little on every promised GPU; without a promise nothing is done, and torch is not loaded.

    A process that torchrun has started computes on its own only.

    A cluster may start a step without its GPUs (an old KFP ignores the request, kubeflow/pipelines#11374) or
    with some that its image cannot use. It would then train for days on the CPU and look healthy.

    Raises:
        PipelineError: a promised GPU is not there or does not work; the message says what to look at.
    """
    wanted = promised()
    if not wanted:
        return
    import torch

    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        remedy = "Take an image built with images/build.py --variant cuda"
        raise _missing(wanted, f"this image's torch {torch.__version__} has no CUDA in it", remedy)
    found = torch.cuda.device_count()
    if found < wanted:
        remedy = "Look at the pod's limits, the node's device plugin and its driver (docs/operate.md)"
        raise _missing(wanted, f"torch {torch.__version__} sees {found}", remedy)
    own = os.environ.get("LOCAL_RANK")
    for index in range(wanted) if own is None else [int(own)]:
        try:
            torch.ones(1, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            remedy = "The driver or the GPU's generation does not fit this image (docs/operate.md)"
            raise _missing(wanted, f"GPU {index} does not compute ({first_line(error)})", remedy) from error


def _missing(wanted: int, problem: str, remedy: str) -> PipelineError:
    return PipelineError(
        f"{wanted} promised, but {problem}", field="GPUs", remedy=f"{remedy}; --gpus 0 trains on the CPU"
    )
