"""From the name a user types to an `Architecture`."""

from __future__ import annotations

import difflib
from typing import Any

from netslim.errors import ModelError
from netslim.models.architecture import Architecture

__all__ = ["CATALOGUE", "check_name", "names", "resolve"]

CATALOGUE = {
    "densenet40": "netslim.models.densenet:densenet40",
    "mlp": "netslim.models.mlp:mlp",
    "resnet164": "netslim.models.resnet:resnet164",
    "vgg-a": "netslim.models.vgg:vgg_a",
    "vgg-digits": "netslim.models.vgg:vgg_digits",
    "vgg11-small": "netslim.models.vgg:vgg11_small",
    "vgg19": "netslim.models.vgg:vgg19",
}


def names() -> list[str]:
    """Our own networks, sorted. Every torchvision classifier can be named as well (`zoo.names()`)."""
    return sorted(CATALOGUE)


def check_name(name: str) -> str:
    """The factory that `name` stands for, found without building or, for a factory of yours, importing it.

    Raises:
        ModelError: there is no such network.
    """
    from netslim.models import torchvision_zoo

    ours = name.replace("_", "-")
    if ours in CATALOGUE:
        return ours
    if ":" in name and not name.startswith(torchvision_zoo.PREFIX):
        return name
    classifier = name.removeprefix(torchvision_zoo.PREFIX)
    if classifier in torchvision_zoo.names():
        return torchvision_zoo.PREFIX + classifier
    close = difflib.get_close_matches(classifier, [*names(), *torchvision_zoo.names()], n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    others = "any torchvision classifier and package.module:factory work too"
    remedy = f"{meant}Ours are {', '.join(names())}; {others}"
    raise ModelError("no such network", field="model", value=name, remedy=remedy)


def resolve(
    name: str, *, num_classes: int, in_channels: int, image_size: tuple[int, int], **arguments: Any
) -> Architecture:
    """The architecture for a dataset's classes and images.

    Args:
        name: one of `names()`; a torchvision classifier ("resnet50", or "torchvision:vgg19" where the bare
            name is ours); or "package.module:callable", which is given those of the keyword arguments
            below that it accepts.
        num_classes: number of outputs.
        in_channels: channels of an image.
        image_size: height and width of an image, in pixels.
        arguments: further arguments of the factory (`depth=29`, `hidden=[100, 60]`); none is ignored.

    Raises:
        ModelError: the name is unknown, or the factory does not take one of `arguments`.
    """
    from netslim.models import factory, torchvision_zoo

    known = check_name(name)
    context = {"num_classes": num_classes, "in_channels": in_channels, "image_size": list(image_size)}
    describe = torchvision_zoo.describe if known.startswith(torchvision_zoo.PREFIX) else factory.describe
    return describe(known, context, arguments)
