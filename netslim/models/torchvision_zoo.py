"""Every image classifier of torchvision, untrained, for any number of classes and input channels."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netslim.errors import ModelError
from netslim.models.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PREFIX", "build", "describe", "names"]

PREFIX = "torchvision:"

# googlenet and inception_v3 would return a tuple in train mode, and warn that their default changes.
_SINGLE_OUTPUT = {"aux_logits": False, "init_weights": True}
_DEFAULTS: dict[str, dict[str, Any]] = {"googlenet": _SINGLE_OUTPUT, "inception_v3": _SINGLE_OUTPUT}


@functools.cache
def names() -> tuple[str, ...]:
    """The names of torchvision's image classifiers, sorted (80 of them in 0.29)."""
    import torchvision.models

    return tuple(torchvision.models.list_models(module=torchvision.models))


def describe(factory: str, context: Mapping[str, Any], arguments: Mapping[str, Any]) -> Architecture:
    """The architecture of "torchvision:<classifier>"; `arguments` go to its builder."""
    name = factory.removeprefix(PREFIX)
    sizes = {key: context[key] for key in ("num_classes", "in_channels")}
    if name == "maxvit_t":  # the only network with BatchNorm whose builder needs the input's size
        sizes["input_size"] = context["image_size"]
    return Architecture(factory, sizes | _DEFAULTS.get(name, {}) | dict(arguments))


def build(name: str, *, in_channels: int = 3, **arguments: Any) -> nn.Module:
    """An untrained network whose scaling factors start at 0.5, as the paper's do (section 4.3).

    Raises:
        ModelError: there is no such classifier, its builder refuses an argument, or its stem cannot take
            `in_channels`.
    """
    import torchvision.models

    from netslim.models.init import start_scaling_factors

    if name not in names():
        raise ModelError("torchvision has no such classifier", field="model", value=name)
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision refuses {arguments} ({error})", field="model", value=name) from error
    if in_channels != 3:
        _widen_stem(model, name, in_channels)
    return start_scaling_factors(model)


def _widen_stem(model: nn.Module, name: str, in_channels: int) -> None:
    """Replace the one convolution that reads the image by a fresh one for `in_channels`."""
    from torch import nn

    stems = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3]
    if len(stems) != 1 or stems[0][1].groups != 1:
        problem = f"has no single stem to adapt to {in_channels} channels"
        remedy = "Use three-channel images, or a factory of your own that takes in_channels"
        raise ModelError(problem, field="model", value=name, remedy=remedy)
    path, old = stems[0]
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule(path, new)
