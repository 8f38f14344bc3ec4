"""Whether a step got the GPUs that it was promised, asked before anything else is done."""

from __future__ import annotations

import os

from netslim.errors import PipelineError

__all__ = ["EXPECTED", "check_gpus"]

EXPECTED = "NETSLIM_EXPECTED_GPUS"  # set on a cluster only, by the step's profile (pipelines/profiles.yaml)


def check_gpus() -> None:
    """Compute a little on every promised GPU; without a promise nothing is done, and torch is not loaded.

    A cluster may start a step without its GPUs (an old KFP ignores the request, kubeflow/pipelines#11374) or
    with some that its image cannot use. It would then train for days on the CPU and look healthy.

    Raises:
        PipelineError: a promised GPU is not there or does not work; the message says what to look at.
    """
    promised = int(os.environ.get(EXPECTED) or 0)
    if not promised:
        return
    import torch

    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        remedy = "Take an image built with images/build.py --variant cuda"
        raise _missing(promised, f"this image's torch {torch.__version__} has no CUDA in it", remedy)
    found = torch.cuda.device_count()
    if found < promised:
        remedy = "Look at the pod's limits, the node's device plugin and its driver (docs/operate.md)"
        raise _missing(promised, f"torch {torch.__version__} sees {found}", remedy)
    for index in range(promised):
        try:
            torch.ones(1, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            told = str(error).strip().splitlines()[0]
            remedy = "The driver or the GPU's generation does not fit this image (docs/operate.md)"
            raise _missing(promised, f"GPU {index} does not compute ({told})", remedy) from error


def _missing(promised: int, problem: str, remedy: str) -> PipelineError:
    return PipelineError(
        f"{promised} promised, but {problem}", field="GPUs", remedy=f"{remedy}; --gpus 0 trains on the CPU"
    )
