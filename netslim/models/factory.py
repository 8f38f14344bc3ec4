"""Make an architecture from a name, and a network from an architecture: find the factory and call it.

A factory outside netslim and torchvision is Python code of somebody, which is imported and called here.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netslim.errors import ModelError, NetslimError, first_line
from netslim.models import torchvision_zoo
from netslim.models.architecture import Architecture
from netslim.models.registry import CATALOGUE, check_name

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "describe", "is_user_code", "resolve"]


def resolve(
    name: str, *, num_classes: int, in_channels: int, image_size: tuple[int, int], **arguments: Any
) -> Architecture:
    """The architecture for a dataset's classes and images.

    Args:
        name: one of `names()`; a torchvision classifier ("resnet50", or "torchvision:vgg19" where the bare
            name is one of netslim's); or "package.module:callable", which gets those of the keyword arguments
            below that it accepts.
        num_classes: number of outputs.
        in_channels: channels of an image.
        image_size: height and width of an image, in pixels.
        arguments: further arguments of the factory (`depth=29`, `hidden=[100, 60]`); all must be accepted.

    Raises:
        ModelError: the name is unknown, or the factory does not take one of `arguments`.
    """
    factory = check_name(name)
    context = {"num_classes": num_classes, "in_channels": in_channels, "image_size": list(image_size)}
    if factory.startswith(torchvision_zoo.PREFIX):
        return torchvision_zoo.describe(factory, context, arguments)
    return describe(factory, context, arguments)


def is_user_code(factory: str) -> bool:
    """Whether the factory is neither netslim's nor torchvision's."""
    return factory not in CATALOGUE and not factory.startswith(torchvision_zoo.PREFIX)


def describe(factory: str, context: Mapping[str, Any], arguments: Mapping[str, Any]) -> Architecture:
    """The architecture that calls `factory` with all `arguments` and the items of `context` that it accepts.

    Raises:
        ModelError: the factory cannot be found, or does not accept one of `arguments`.
    """
    accepted = _own_arguments(factory) if factory in CATALOGUE else _accepts(_load(factory), factory)
    refused = [name for name in arguments if not accepted(name)]
    if refused:
        raise ModelError(
            f"{factory} takes no such argument", field="model argument", value=", ".join(refused)
        )
    return Architecture(factory, {k: v for k, v in context.items() if accepted(k)} | dict(arguments))


def build(architecture: Architecture) -> nn.Module:
    """A freshly initialised network in train mode, on the CPU; draws from torch's global generator.

    Raises:
        ModelError: the factory cannot be found, fails, or returns something else than an nn.Module.
    """
    from torch import nn

    factory, arguments = architecture.factory, architecture.arguments
    try:
        if factory.startswith(torchvision_zoo.PREFIX):
            model = torchvision_zoo.build(factory.removeprefix(torchvision_zoo.PREFIX), **arguments)
        else:
            model = _load(factory)(**arguments)
    except NetslimError:
        raise
    except (Exception, SystemExit) as error:  # a user's factory may raise anything; its traceback is kept
        problem = f"the factory failed ({type(error).__name__}: {first_line(error)})"
        remedy = f"Its arguments were {dict(arguments)}"
        raise ModelError(problem, field="model", value=factory, remedy=remedy) from error
    if not isinstance(model, nn.Module):
        problem = f"the factory returned a {type(model).__name__}, not a torch.nn.Module"
        raise ModelError(problem, field="model", value=factory)
    return model


def _load(factory: str) -> Callable[..., Any]:
    module_name, _, name = CATALOGUE.get(factory, factory).partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        remedy = "Write for example my_package.networks:small"
        raise ModelError(
            "not of the form package.module:callable", field="model", value=factory, remedy=remedy
        )
    try:
        factory_function = getattr(importlib.import_module(module_name), name)
    except ImportError as error:
        remedy = "Install its package in the environment that runs the step, or add its folder to PYTHONPATH"
        raise ModelError(
            f"cannot be imported ({error})", field="model", value=factory, remedy=remedy
        ) from error
    except AttributeError as error:
        raise ModelError(f"{module_name} has no {name}", field="model", value=factory) from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything; its traceback is kept
        problem = f"its module fails when it is imported ({type(error).__name__}: {first_line(error)})"
        raise ModelError(problem, field="model", value=factory) from error
    if not callable(factory_function):
        raise ModelError(f"{name} is not callable", field="model", value=factory)
    return factory_function  # type: ignore[no-any-return]


def _own_arguments(factory: str) -> Callable[[str], bool]:
    """Whether a factory of netslim accepts an argument, from its source: importing it would load torch."""
    module_name, _, name = CATALOGUE[factory].partition(":")
    module = importlib.util.find_spec(module_name)
    assert module is not None
    assert module.origin is not None
    statements = ast.parse(Path(module.origin).read_bytes()).body
    function = next(each for each in statements if isinstance(each, ast.FunctionDef) and each.name == name)
    return {parameter.arg for parameter in function.args.kwonlyargs}.__contains__


def _accepts(function: Callable[..., Any], factory: str) -> Callable[[str], bool]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ModelError("its arguments cannot be read", field="model", value=factory) from error
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return lambda name: True
    named = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named.__contains__
