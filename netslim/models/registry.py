"""The table of networks, and the check of a name that a user types."""

from __future__ import annotations

from netslim.errors import ModelError, did_you_mean
from netslim.models import torchvision_zoo

__all__ = ["CATALOGUE", "check_name", "names"]

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
    """netslim's own networks, sorted. `torchvision_zoo.names()` are accepted as well."""
    return sorted(CATALOGUE)


def check_name(name: str) -> str:
    """The factory that `name` means. Nothing is built, and a user's factory is not imported.

    Raises:
        ModelError: there is no such network.
    """
    own_name = name.replace("_", "-")
    if own_name in CATALOGUE:
        return own_name
    if ":" in name and not name.startswith(torchvision_zoo.PREFIX):
        return name
    classifier = name.removeprefix(torchvision_zoo.PREFIX)
    if classifier in torchvision_zoo.names():
        return torchvision_zoo.PREFIX + classifier
    meant = did_you_mean(classifier, [*names(), *torchvision_zoo.names()], otherwise="", at_most=3)
    others = "any torchvision classifier and package.module:factory work too"
    remedy = f"{meant} Ours are {', '.join(names())}; {others}".lstrip()
    raise ModelError("no such network", field="model", value=name, remedy=remedy)
