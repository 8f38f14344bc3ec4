"""Plain convolutional networks: the paper's VGG-19 and VGG-A, and two small ones of the same kind.

Every convolution is 3 x 3 without bias (the BatchNorm behind it has one), followed by BatchNorm and ReLU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import nn

from netslim.errors import ModelError
from netslim.models.init import he

__all__ = ["vgg11_small", "vgg19", "vgg_a", "vgg_digits"]

POOL = 0  # in a layout: halve height and width by taking the maximum

VGG19 = (64, 64, POOL, 128, 128, POOL, *[256] * 4, POOL, *[512] * 4, POOL, *[512] * 4)
VGG11 = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512)
DIGITS = (32, 32, POOL, 64, 64, POOL, 128, 128)


def vgg19(
    *, num_classes: int = 10, in_channels: int = 3, image_size: Sequence[int] = (32, 32)
) -> nn.Sequential:
    """The paper's VGG-19 for CIFAR and SVHN: 16 convolutions and one linear layer.

    20,035,018 parameters for ten classes, 20,081,188 for a hundred. On 32 x 32 images the last pooling
    averages 2 x 2 positions, as in the paper; it is global, so that other sizes work as well.

    Raises:
        ModelError: the image is too small for four halvings.
    """
    return _small_image_vgg(VGG19, num_classes, in_channels, image_size)


def vgg11_small(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: Sequence[int] = (32, 32),
    width: float = 0.25,
) -> nn.Sequential:
    """VGG-11 for small images at a fraction `width` of its channels: quick on a CPU.

    Raises:
        ModelError: the image is too small for four halvings, or `width` is not positive.
    """
    if not width > 0:
        raise ModelError("must be positive", field="width", value=width, remedy="0.25 is the default")
    layout = [max(1, round(channels * width)) if channels else POOL for channels in VGG11]
    return _small_image_vgg(layout, num_classes, in_channels, image_size)


def vgg_digits(
    *, num_classes: int = 10, in_channels: int = 1, image_size: Sequence[int] = (8, 8)
) -> nn.Sequential:
    """The demo's VGG for 8 x 8 digits: six convolutions, 288,170 parameters, 2.38 million MACs.

    Raises:
        ModelError: the image is too small for two halvings.
    """
    return _small_image_vgg(DIGITS, num_classes, in_channels, image_size)


def vgg_a(
    *, num_classes: int = 1000, in_channels: int = 3, image_size: Sequence[int] = (224, 224)
) -> nn.Sequential:
    """The paper's VGG-A for ImageNet: 8 convolutions and 3 linear layers, 132.9 million parameters.

    The two hidden linear layers have BatchNorm as well, so that their neurons can be slimmed like
    channels of 1 x 1 (sections 4.2 and 4.4: 2,752 channels and 8,192 neurons); there is no dropout.

    Raises:
        ModelError: the image is too small for five halvings.
    """
    layout = (*VGG11, POOL)
    height, width = _halved(image_size, layout)
    classifier = nn.Sequential(
        nn.Linear(512 * height * width, 4096, bias=False),
        nn.BatchNorm1d(4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, 4096, bias=False),
        nn.BatchNorm1d(4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, num_classes),
    )
    features = nn.Sequential(*_layers(layout, in_channels))
    return he(nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)))


def _small_image_vgg(
    layout: Sequence[int], num_classes: int, in_channels: int, image_size: Sequence[int]
) -> nn.Sequential:
    _halved(image_size, layout)
    return he(
        nn.Sequential(
            OrderedDict(
                features=nn.Sequential(*_layers(layout, in_channels)),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                classifier=nn.Linear(layout[-1], num_classes),
            )
        )
    )


def _layers(layout: Sequence[int], in_channels: int) -> Iterator[nn.Module]:
    for channels in layout:
        if channels == POOL:
            yield nn.MaxPool2d(2)
        else:
            yield nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
            yield nn.BatchNorm2d(channels)
            yield nn.ReLU(inplace=True)
            in_channels = channels


def _halved(image_size: Sequence[int], layout: Sequence[int]) -> tuple[int, int]:
    halvings = list(layout).count(POOL)
    height, width = (side >> halvings for side in image_size)
    if height < 1 or width < 1:
        problem = f"nothing is left of it after {halvings} halvings"
        remedy = f"Use images of at least {2**halvings} pixels a side, or the network vgg-digits"
        raise ModelError(problem, field="image_size", value=list(image_size), remedy=remedy)
    return height, width
