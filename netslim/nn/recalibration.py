"""New running statistics for BatchNorm, estimated from data ("precise BN").

After pruning, the running statistics describe the network as it was before. Wu and Johnson, "Rethinking
'Batch' in BatchNorm" (2021), section 3, estimate them again from some batches without training.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import DataError
from netslim.nn.modes import eval_mode

__all__ = ["recalibrate"]


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate the running statistics of every BatchNorm again, as the mean over batches; in place.

    Each batch counts equally, whatever its size. All other modules are in eval mode meanwhile; afterwards
    each module has the mode that it had.

    Args:
        batches: inputs as the model takes them, float32[N, ...] for most models; N above 1.

    Raises:
        DataError: there is no batch.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    with eval_mode(model), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean over all batches
                norm.train()
            for batch in batches:
                model(batch)
                seen += 1
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    if not seen:
        raise DataError("there is none", field="batches", remedy="Give at least one batch of inputs")
