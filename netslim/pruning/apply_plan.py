"""Apply a plan: a narrower copy of a network. Nothing given is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netslim.errors import ModelError
from netslim.nn.channel_select import ChannelSelect
from netslim.nn.module_copy import ModuleIndex, copy_module
from netslim.pruning.plan import ChannelIndex, LayerEdit, Plan
from netslim.pruning.slicing import copy_tensor, slice_grouped_weight, slice_weight

if TYPE_CHECKING:
    from netslim.pruning.bias_compensation import Compensation

__all__ = ["AppliedPlan", "apply_plan", "slim_copy"]

Cut = Callable[..., Tensor]


@dataclass(frozen=True)
class AppliedPlan:
    """What was done.

    Args:
        model: the slim copy.
        parameters: for each old parameter by id, the new one and how tensors of the old shape are narrowed.
        added: the new biases, each with the old weight of its layer.
    """

    model: nn.Module
    parameters: Mapping[int, tuple[nn.Parameter, Cut]]
    added: tuple[tuple[nn.Parameter, nn.Parameter], ...]


def apply_plan(model: nn.Module, plan: Plan) -> nn.Module:
    """A slim copy of `model`, which stays as it is. No example input is needed and nothing is traced.

    Raises:
        ModelError: the plan is for another network; the message names the layer and both widths.
    """
    return slim_copy(ModuleIndex.of(model), plan).model


def slim_copy(tree: ModuleIndex, plan: Plan, folded: Compensation | None = None) -> AppliedPlan:
    """Make a slim copy of a network; dtype, device, memory format, mode and `requires_grad` stay, hooks go.

    Args:
        folded: what makes up for the removed channels; `plan` is its plan.

    Raises:
        ModelError: the plan is for another network.
    """
    modules, tensors = tree.modules, tree.tensors
    cuts: dict[str, Cut] = {}
    for path, edit in plan.layers.items():
        cuts |= _cuts(path, edit, modules, tensors)
    ready: dict[str, Tensor] = {}
    values: Mapping[str, Tensor] = {}
    if folded is not None:  # large weights are read once, to narrow them and to see what they lose
        seen: dict[str, list[Any]] = {path: [] for path, loss in folded.losses.items() if loss.by_rows}
        for path, found in seen.items():
            ready[path] = cuts[path](tensors[path].detach(), seen=_noted(found, folded.losses[path].of))
        values = folded.values(seen)
    copies: dict[int, Any] = {}
    parameters = {}
    for path, tensor in tensors.items():
        cut = cuts.get(path, copy_tensor)
        slim = ready[path] if path in ready else cut(values.get(path, tensor).detach())
        if isinstance(tensor, nn.Parameter):
            slim = nn.Parameter(slim, tensor.requires_grad)
            parameters[id(tensor)] = slim, cut
        copies[id(tensor)] = slim
    model = copy_module(tree, copies)
    added: list[tuple[nn.Parameter, nn.Parameter]] = []
    replaced: dict[nn.Module, nn.Module] = {}
    for path, edit in plan.layers.items():
        if path not in modules:
            continue
        place = copies[id(modules[path])]
        layer = place.layer if isinstance(place, ChannelSelect) else place
        _refit(layer, edit)
        if edit.bias and layer.bias is None:
            bias = _add_bias(layer, edit, values.get(f"{path}.bias"))
            added.append((bias, modules[path].get_parameter("weight")))
        if edit.norm:
            wrapped = _wrap(layer, edit, values.get(f"{path}.fill"))
            if wrapped is not place:
                replaced[place] = wrapped
    if replaced:
        _replace(model, replaced)
    return AppliedPlan(model, parameters, tuple(added))


def _noted(found: list[Any], of: Callable[[Tensor], Any]) -> Callable[[Tensor], None]:
    return lambda rows: found.append(of(rows))


def _cuts(
    path: str, edit: LayerEdit, modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]
) -> dict[str, Cut]:
    """How the tensors of one layer are narrowed, by path; some of the paths it may not have."""
    module = modules.get(path)
    if module is None:
        if path not in tensors:
            remedy = "The plan is for another network, or the network's code has changed"
            raise ModelError("the network has no such layer", field=path, remedy=remedy)
        shape = (*tensors[path].shape, 0, 0)
        _must_fit(path, "values along its first axis", shape[0], edit.out)
        _must_fit(path, "values along its second axis", shape[1], edit.into)
        return {path: partial(slice_weight, out=edit.out, into=edit.into)}
    if isinstance(module, ChannelSelect):
        path, module = f"{path}.layer", module.layer
    out, into = _widths(path, module)
    _must_fit(path, "outputs", out, edit.out)
    _must_fit(path, "inputs", into, edit.into)
    weight: Cut = partial(slice_weight, out=edit.out, into=edit.into)
    if isinstance(module, _ConvNd) and module.groups > 1:
        weight = partial(slice_grouped_weight, conv=module, edit=edit)
    elif isinstance(module, _ConvTransposeNd):
        weight = partial(slice_weight, out=edit.into, into=edit.out)
    vector: Cut = partial(slice_weight, out=edit.out)
    lead = f"{path}." if path else ""
    vectors = {f"{lead}{name}": vector for name in ("bias", "running_mean", "running_var")}
    return {f"{lead}weight": weight, **vectors}


def _widths(path: str, module: nn.Module) -> tuple[int, int]:
    """The number of outputs and inputs of a layer of standard type."""
    if isinstance(module, _ConvNd):
        return module.out_channels, module.in_channels
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, _BatchNorm):
        return module.num_features, 0
    if isinstance(module, nn.PReLU):
        return module.num_parameters, 0
    problem = f"the plan narrows it, but it is a {type(module).__name__}"
    raise ModelError(problem, field=path, remedy="The plan is for another network")


def _must_fit(path: str, what: str, have: int, keep: ChannelIndex | None) -> None:
    if keep is not None and keep.of != have:
        problem = f"the network has {have} {what}, the plan is for {keep.of}"
        remedy = "Apply the plan to the network it was made for, or compose it with the plans before it"
        raise ModelError(problem, field=path, remedy=remedy)


def _refit(layer: nn.Module, edit: LayerEdit) -> None:
    """Make a layer of the copy know its new widths."""
    out, into = (keep.index.size if keep else None for keep in (edit.out, edit.into))
    widths: dict[str, int | None] = {}
    if isinstance(layer, _ConvNd):
        widths = {"out_channels": out, "in_channels": into}
        if layer.groups > 1 and layer.groups == layer.in_channels:
            widths["groups"] = into  # depthwise: as many groups as channels
    elif isinstance(layer, nn.Linear):
        widths = {"out_features": out, "in_features": into}
    elif isinstance(layer, _BatchNorm):
        widths = {"num_features": out}
    elif isinstance(layer, nn.PReLU):
        widths = {"num_parameters": out}
    # Past nn.Module.__setattr__, which looks for parameters and modules of that name first.
    vars(layer).update({name: width for name, width in widths.items() if width})


def _add_bias(layer: nn.Module, edit: LayerEdit, bias: Tensor | None) -> nn.Parameter:
    weight = layer.get_parameter("weight")
    if bias is None:
        bias = weight.new_zeros(edit.out.of if edit.out else _widths("", layer)[0])
    added = nn.Parameter(slice_weight(bias.detach().to(weight), edit.out), weight.requires_grad)
    layer.register_parameter("bias", added)
    return added


def _wrap(layer: nn.Module, edit: LayerEdit, fill: Tensor | None) -> nn.Module:
    """The layer with a selection before it and a narrow branch behind it, as far as it needs them."""
    if edit.reads is None and edit.places is None:
        return layer
    places = edit.places
    wrapped = ChannelSelect(
        layer,
        edit.reads,
        places.channels if places else None,
        width=places.width if places else 0,
        fill=places is not None and places.fill,
    )
    if wrapped.fill is not None and fill is not None:
        wrapped.fill.copy_(fill)
    return wrapped.train(layer.training)


def _replace(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put other modules in the places of some, wherever they are registered."""
    parents = list(model.modules())
    for parent in parents:
        for name, child in parent.named_children():
            if child in new and parent is not new[child]:
                setattr(parent, name, new[child])
