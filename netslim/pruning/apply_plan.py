"""Apply a plan: a slim copy of a network. The given network is not changed.

Three steps: slice every tensor (`_slice_tensors`), copy the modules around the slices (`copy_module`), and
give the layers of the copy their new widths, biases and channel selections (`_update_layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netslim.dependency.attribute_sizes import numbers_of
from netslim.errors import ModelError
from netslim.nn.channel_select import ChannelSelect, add_channel_select, remove_channel_select
from netslim.nn.module_copy import ModuleIndex, copy_module
from netslim.nn.weight_hooks import with_plain_weights
from netslim.pruning.plan import ChannelIndex, LayerEdit, Plan
from netslim.pruning.slicing import copy_tensor, kept_groups, slice_grouped_weight, slice_weight

if TYPE_CHECKING:
    from netslim.pruning.bias_compensation import Compensation

__all__ = ["AppliedPlan", "SliceFn", "apply_plan", "slim_copy", "widths_of"]

SliceFn = Callable[..., Tensor]
"""Takes a tensor of the wide network, or one of its shape, and returns a copy of the kept part."""


@dataclass(frozen=True)
class AppliedPlan:
    """A slim copy, and how its parameters follow from those of the wide network.

    Args:
        model: the slim copy.
        parameters: for each old parameter by id, the new one and the function that slices its shape.
        added: the new biases, each with the old weight of its layer.
    """

    model: nn.Module
    parameters: Mapping[int, tuple[nn.Parameter, SliceFn]]
    added: tuple[tuple[nn.Parameter, nn.Parameter], ...]


def apply_plan(model: nn.Module, plan: Plan) -> nn.Module:
    """A slim copy of `model`, which is not changed. No example input is needed and nothing is traced.

    Dtype, device, memory format, mode and `requires_grad` are those of the original; hooks are not copied.

    Raises:
        ModelError: the plan is for another network; the message names the layer and both widths.
    """
    return slim_copy(with_plain_weights(ModuleIndex.of(model))[0], plan).model


def slim_copy(index: ModuleIndex, plan: Plan, compensation: Compensation | None = None) -> AppliedPlan:
    """`apply_plan`, with the biases and constants of a compensation whose plan this is.

    Raises:
        ModelError: the plan is for another network.
    """
    slice_fns: dict[str, SliceFn] = {}
    for path, edit in plan.layers.items():
        slice_fns |= _slice_fns(path, edit, index)
    sliced, values = _slice_tensors(index, slice_fns, compensation)
    copies: dict[int, Any] = {}
    parameters = {}
    for path, tensor in index.tensors.items():
        new = sliced[path]
        if isinstance(tensor, nn.Parameter):
            new = nn.Parameter(new, tensor.requires_grad)
            parameters[id(tensor)] = new, slice_fns.get(path, copy_tensor)
        copies[id(tensor)] = new
    model = copy_module(index, copies)
    new_modules = {path: copies[id(index.modules[path])] for path in plan.layers if path in index.modules}
    added = _update_layers(new_modules, plan, values)
    old_weights = {path: index.modules[path].get_parameter("weight") for path in added}
    return AppliedPlan(model, parameters, tuple((bias, old_weights[path]) for path, bias in added.items()))


def _slice_tensors(
    index: ModuleIndex, slice_fns: Mapping[str, SliceFn], compensation: Compensation | None
) -> tuple[dict[str, Tensor], Mapping[str, Tensor]]:
    """The slim tensors by path, and the values that compensation gives to tensors of the network."""
    sliced: dict[str, Tensor] = {}
    values: Mapping[str, Tensor] = {}
    if compensation is not None:
        # Each large weight is read once: while its rows are sliced, they are added up for the bias as well.
        for path, correction in compensation.corrections.items():
            if correction.one_row_per_output:
                sliced[path] = slice_fns[path](index.tensors[path].detach(), reader=correction)
        values = compensation.values()
    for path, tensor in index.tensors.items():
        if path not in sliced:
            sliced[path] = slice_fns.get(path, copy_tensor)(values.get(path, tensor).detach())
    return sliced, values


def _update_layers(
    new_modules: Mapping[str, nn.Module], plan: Plan, values: Mapping[str, Tensor]
) -> dict[str, nn.Parameter]:
    """Set the widths of the layers of a copy, and add biases and channel selections.

    Args:
        new_modules: the copy of each module that the plan changes, by its path in the wide network.

    Returns:
        The added biases, by the path of their layer.
    """
    added: dict[str, nn.Parameter] = {}
    for path, module in new_modules.items():
        edit = plan.layers[path]
        _set_widths(module, edit)
        _set_sizes(module, edit)
        if edit.bias and module.bias is None:
            added[path] = _add_bias(module, edit, values.get(f"{path}.bias"))
        if edit.norm:
            _set_channel_select(module, edit, values.get(f"{path}.fill"))
    return added


def _slice_fns(path: str, edit: LayerEdit, index: ModuleIndex) -> dict[str, SliceFn]:
    """How the tensors of one layer are sliced, by path. The layer may lack some of them."""
    module = index.modules.get(path)
    if module is None:
        if path not in index.tensors:
            remedy = "The plan is for another network, or the network's code has changed"
            raise ModelError("the network has no such layer", field=path, remedy=remedy)
        shape = (*index.tensors[path].shape, 0, 0)
        _check_width(path, "values along its first axis", shape[0], edit.out)
        _check_width(path, "values along its second axis", shape[1], edit.in_)
        return {path: partial(slice_weight, out=edit.out, in_=edit.in_)}
    if edit.sizes:
        _check_sizes(path, module, edit)
        if edit.out is None and edit.in_ is None:
            return {}
    outputs, inputs = widths_of(path, module)
    _check_width(path, "outputs", outputs, edit.out)
    _check_width(path, "inputs", inputs, edit.in_)
    weight: SliceFn = partial(slice_weight, out=edit.out, in_=edit.in_)
    if isinstance(module, _ConvNd) and module.groups > 1:
        if not kept_groups(module, edit):
            problem = f"the plan does not leave its {module.groups} groups equally many channels"
            raise ModelError(problem, field=path, remedy="The plan is for another network")
        weight = partial(slice_grouped_weight, conv=module, edit=edit)
    elif isinstance(module, _ConvTransposeNd):
        weight = partial(slice_weight, out=edit.in_, in_=edit.out)
    vector: SliceFn = partial(slice_weight, out=edit.out)
    prefix = f"{path}." if path else ""
    vectors = {f"{prefix}{name}": vector for name in ("bias", "running_mean", "running_var")}
    return {f"{prefix}weight": weight, **vectors}


def widths_of(path: str, module: nn.Module) -> tuple[int, int]:
    """The number of outputs and inputs of a layer of a standard type.

    Raises:
        ModelError: it is of another type.
    """
    if isinstance(module, _ConvNd):
        return module.out_channels, module.in_channels
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, _BatchNorm):
        return module.num_features, 0
    if isinstance(module, nn.PReLU):
        return module.num_parameters, 0
    problem = f"the plan changes its width, but it is a {type(module).__name__}"
    raise ModelError(problem, field=path, remedy="The plan is for another network")


def _check_width(path: str, counted: str, width: int, keep: ChannelIndex | None) -> None:
    if keep is not None and keep.of != width:
        problem = f"the network has {width} {counted}, the plan is for {keep.of}"
        remedy = "Apply the plan to the network it was made for, or compose it with the plans before it"
        raise ModelError(problem, field=path, remedy=remedy)


def _check_sizes(path: str, module: nn.Module, edit: LayerEdit) -> None:
    for name, numbers in edit.sizes:
        if len(numbers_of(vars(module).get(name))) != len(numbers):
            problem = f"its attribute {name} does not hold {len(numbers)} numbers, as in the plan"
            raise ModelError(problem, field=path, remedy="The plan is for another network")


def _set_sizes(module: nn.Module, edit: LayerEdit) -> None:
    """Set attributes that state numbers of channels: one, or a list or tuple of some."""
    for name, numbers in edit.sizes:
        kind = type(vars(module)[name])
        vars(module)[name] = numbers[0] if kind is int else kind(numbers)


def _set_widths(layer: nn.Module, edit: LayerEdit) -> None:
    """Set the attributes that state the widths of a layer."""
    outputs, inputs = (keep.index.size if keep else None for keep in (edit.out, edit.in_))
    widths: dict[str, int | None] = {}
    if isinstance(layer, _ConvNd):
        widths = {"out_channels": outputs, "in_channels": inputs}
        if layer.groups > 1:
            widths["groups"] = kept_groups(layer, edit)
    elif isinstance(layer, nn.Linear):
        widths = {"out_features": outputs, "in_features": inputs}
    elif isinstance(layer, _BatchNorm):
        widths = {"num_features": outputs}
    elif isinstance(layer, nn.PReLU):
        widths = {"num_parameters": outputs}
    # `nn.Module.__setattr__` would first look for parameters and modules of that name.
    vars(layer).update({name: width for name, width in widths.items() if width})


def _add_bias(layer: nn.Module, edit: LayerEdit, values: Tensor | None) -> nn.Parameter:
    weight = layer.get_parameter("weight")
    if values is None:
        values = weight.new_zeros(edit.out.of if edit.out else widths_of("", layer)[0])
    bias = nn.Parameter(slice_weight(values.detach().to(weight), edit.out), weight.requires_grad)
    layer.register_parameter("bias", bias)
    return bias


def _set_channel_select(norm: nn.Module, edit: LayerEdit, constants: Tensor | None) -> None:
    """Add the channel selection of an edit to a BatchNorm, or remove the one that an earlier pass added.

    Args:
        constants: [width], added to the output; None for those of the earlier pass if they fit, else 0.
    """
    places = edit.places
    if edit.reads is None and places is None:
        remove_channel_select(norm)
        return
    fill = None
    if places is not None and places.constants:
        before = norm.fill if isinstance(norm, ChannelSelect) else None
        if constants is None and before is not None and len(before) == places.width:
            constants = before
        fill = norm.get_parameter("weight").new_zeros(places.width) if constants is None else constants
    channels, width = (None, 0) if places is None else (places.channels, places.width)
    add_channel_select(norm, edit.reads, channels, width, fill)
