"""Check that a network has the widths to which a plan leads."""

from __future__ import annotations

from torch import nn

from netslim.errors import ModelError
from netslim.nn.module_copy import ModuleIndex
from netslim.pruning.apply_plan import widths_of
from netslim.pruning.plan import Plan

__all__ = ["check_slimmed"]

_REMEDY = (
    "Give the plan from the wide network to this one; after several passes it is first.plan.then(second.plan)"
)


def check_slimmed(model: nn.Module, plan: Plan) -> None:
    """Compare the widths of a slim network with those that a plan leaves.

    The widths of the wide network are not known here, so the plan of the last of several passes is accepted.

    Raises:
        ModelError: the network lacks a layer of the plan, or a layer has another width.
    """
    index = ModuleIndex.of(model)
    for path, edit in plan.layers.items():
        if edit.out is None and edit.in_ is None:
            continue
        if path in index.modules:
            outputs, inputs = widths_of(path, index.modules[path])
        elif path in index.tensors:
            outputs, inputs = (*index.tensors[path].shape, 0, 0)[:2]
        else:
            raise ModelError("the network has no such layer", field=path, remedy=_REMEDY)
        for counted, width, keep in (("outputs", outputs, edit.out), ("inputs", inputs, edit.in_)):
            if keep is not None and keep.index.size != width:
                problem = f"the network has {width} {counted}, the plan leaves {keep.index.size}"
                raise ModelError(problem, field=path, remedy=_REMEDY)
