"""Checks of `netslim doctor`: is torch's version one that netslim asks for, and does each GPU compute?"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

__all__ = ["gpus", "outside_bounds", "required_torch"]

Check = tuple[bool | None, str, str]
"""Whether it passed (None for an optional part that is not there), its name, and details."""


def required_torch() -> str:
    """The versions of torch that netslim's package asks for, such as `<2.16,>=2.13`; empty if unknown."""
    try:
        requirements = importlib.metadata.requires("netslim") or []
    except importlib.metadata.PackageNotFoundError:  # run from the sources, without an installation
        return ""
    bounds = [re.match(r"torch\s*([<>=][^;]*)", each) for each in requirements]
    return next((found[1].strip() for found in bounds if found), "")


def outside_bounds(version: str, bounds: str) -> bool:
    """Whether a version is below a `>=` or not below a `<` of `bounds`."""
    own = _numbers(version)
    for sign, bound in re.findall(r"(>=|<)\s*([\d.]+)", bounds):
        if (own < _numbers(bound)) == (sign == ">="):
            return True
    return False


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version's release: (2, 11, 0) for `2.11.0+cu130`."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()


def gpus() -> Iterator[Check]:
    """One check for each GPU, or one in all where there is none. Each GPU multiplies two matrices."""
    try:
        import torch
    except ModuleNotFoundError:
        yield None, "GPU", "unknown without torch"
        return
    from netslim.nn.device_check import does_not_compute

    if not torch.cuda.is_available():
        yield None, "GPU", f"none; the CPU is used with {torch.get_num_threads()} threads"
        return
    for index in range(torch.cuda.device_count()):
        problem = does_not_compute(torch.device("cuda", index))
        name = torch.cuda.get_device_name(index)
        remedy = "install a torch for this GPU and its driver"
        detail = f"{name} does not compute ({problem}): {remedy}" if problem else f"{name} computes"
        yield not problem, f"GPU {index}", detail
