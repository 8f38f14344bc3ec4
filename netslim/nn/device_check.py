"""Whether a device computes: a GPU can be seen and yet not work."""

from __future__ import annotations

import torch

from netslim.errors import first_line

__all__ = ["does_not_compute"]


def does_not_compute(device: torch.device) -> str:
    """Multiply two small matrices on a device; the reason if that fails, empty if the product is right.

    It fails for example where torch has no kernels for the GPU's generation, or the driver is too old.
    """
    try:
        ones = torch.ones(8, 8, device=device)
        product = (ones @ ones).cpu()
    except RuntimeError as error:
        return first_line(error)
    return "" if bool((product == 8).all()) else "a product of 8 x 8 ones is wrong"
