"""The networks: the paper's, small ones for a demo, any torchvision classifier, or your own factory.

    architecture = models.resolve("vgg19", num_classes=10, in_channels=3, image_size=(32, 32))
    model = models.build(architecture)

Importing this package does not import torch; building a network does.
"""

from __future__ import annotations

from netslim.models.architecture import Architecture
from netslim.models.check import check_fit
from netslim.models.factory import build, resolve
from netslim.models.registry import check_name, names

__all__ = ["Architecture", "build", "check_fit", "check_name", "names", "resolve"]
