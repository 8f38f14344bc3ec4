"""Small networks, one for each thing that makes channel dependencies hard. Each takes (N, 3, 12, 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, size: int = 3, **options: object) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    options = {"padding": size // 2, "bias": False, **options}
    layer = nn.Conv2d(inputs, outputs, size, **options)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


class Chain(nn.Module):
    """The plain case, with every kind of pooling and a flatten that leaves 2 x 2 values per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 10), conv(10, 12)
        self.fc1, self.bn, self.fc2 = nn.Linear(48, 9), nn.BatchNorm1d(9), nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.max_pool2d(self.a(x), 3, 2, 1), 2)
        x = F.adaptive_max_pool2d(self.c(self.b(x)), 2)
        return self.fc2(F.gelu(self.bn(self.fc1(x.view(x.size(0), -1)))))


class PostActivation(nn.Module):
    """A residual stream of BatchNorm outputs: three of them meet, one through a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.project = conv(3, 8), nn.Sequential(nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12))
        self.one = nn.Sequential(conv(8, 6), nn.Conv2d(6, 12, 3, padding=1), nn.BatchNorm2d(12))
        self.two = nn.Sequential(conv(12, 6), nn.Conv2d(6, 12, 3, padding=1), nn.BatchNorm2d(12))
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.one(x)
        out += self.project(x)
        x = F.relu(out)
        return self.head(F.relu(self.two(x).add_(x)))


class PreActivation(nn.Module):
    """A stream that is never normalised; the projection reads it raw or activated."""

    def __init__(self, raw: bool) -> None:
        super().__init__()
        self.raw = raw
        self.stem, self.project = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 1, bias=False)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 12, 3, padding=1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(12), nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.bn4, self.head = nn.BatchNorm2d(12), head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.relu(self.bn1(x))
        x = self.project(x if self.raw else y) + self.conv2(torch.relu(self.bn2(self.conv1(y))))
        x = x + self.conv3(self.bn3(x).relu())
        return self.head(F.relu(self.bn4(x)))


class Dense(nn.Module):
    """Concats of concats, one BatchNorm over each; a stem that is normalised, and the same tensor twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.bn1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(10), nn.Conv2d(10, 4, 3, padding=1)
        self.bn3, self.head = nn.BatchNorm2d(24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.bn1(x)))], 1)
        y = self.conv2(F.relu(self.bn2(x)))
        return self.head(F.relu(self.bn3(torch.cat([x, y, x], 1))))


class Depthwise(nn.Module):
    """Inverted residuals, and a depthwise convolution with two outputs per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand = conv(3, 6), conv(6, 12, 1)
        self.depth = conv(12, 12, groups=12)
        self.project = nn.Sequential(nn.Conv2d(12, 6, 1), nn.BatchNorm2d(6))
        self.twice, self.mix, self.head = conv(6, 12, groups=6, bias=True), conv(12, 8, 1), head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.depth(self.expand(x)))
        return self.head(self.mix(self.twice(x)))


class Grouped(nn.Module):
    """Groups that read a BatchNorm, are read by one, and follow each other with another number of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 12), conv(12, 24, groups=4), conv(24, 12, groups=2)
        self.d, self.head = conv(12, 8), head(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.d(self.c(self.b(self.a(x)))))


class Transposed(nn.Module):
    """Transposed convolutions: plain, grouped and depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.up = conv(3, 8), nn.ConvTranspose2d(8, 12, 2, stride=2)
        self.bn1, self.grouped = nn.BatchNorm2d(12), nn.ConvTranspose2d(12, 8, 3, groups=2)
        self.bn2, self.depth = nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 16, 3, groups=8)
        self.bn3, self.head = nn.BatchNorm2d(16), head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.up(self.a(x))))
        x = F.relu(self.bn2(self.grouped(x)))
        return self.head(F.relu(self.bn3(self.depth(x))))


class Shuffled(nn.Module):
    """ShuffleNet: groups, view-transpose-view, groups again; sizes read from the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 24), conv(24, 24, 1, groups=2), conv(24, 24, groups=24)
        self.d, self.head = conv(24, 12, 1, groups=2), head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.head(self.d(self.c(x)))


class Halved(nn.Module):
    """Split, chunk and slices into equal parts, in the order of YOLO's blocks; and `nn.ChannelShuffle`."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 16), conv(8, 8), conv(8, 12), conv(6, 6)
        self.shuffle, self.head = nn.ChannelShuffle(2), head(18)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).chunk(2, 1)
        y = self.c(left + self.b(right))
        first, second = y.split(y.shape[1] // 2, dim=1)
        z = torch.cat([self.d(first), second[:, :]], dim=1)
        half = z.size(1) // 2
        return self.head(torch.cat([self.shuffle(z), z[:, half:] * z[:, :half]], 1))


class Squeezed(nn.Module):
    """Squeeze-and-excitation with `expand_as`, a scalar and a per-channel parameter, and `x * number`."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.up = conv(3, 12), nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.scalar, self.scale = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.rand(12, 1, 1) + 0.5)
        self.b, self.head = conv(12, 8), head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        s = self.up(F.silu(self.down(x.mean((2, 3), keepdim=True))))
        x = x * torch.sigmoid(s).expand_as(x) * self.scalar
        return self.head(self.b(2 * x * self.scale / 1.5))


class Resized(nn.Module):
    """Pixel shuffle and unshuffle, interpolation, padding modes, PReLU, stochastic regularisers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.prelu = conv(3, 8), conv(32, 16, padding_mode="reflect"), nn.PReLU(16)
        self.c, self.drop = conv(4, 6, padding="same"), nn.Dropout2d(0.0)
        self.head = head(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(self.a(x), 2)
        x = self.prelu(self.b(F.pad(x, (1, 1, 0, 1))))
        x = F.interpolate(F.pixel_shuffle(x, 2), scale_factor=0.5, mode="bilinear")
        return self.head(self.drop(self.c(x)))


class Shared(nn.Module):
    """A block used twice, a convolution used twice with two BatchNorms, and one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(3, 8), conv(8, 8)
        self.conv, self.bn1, self.bn2 = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
        self.right.weight = self.left.weight
        self.head = head(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.block(self.stem(x)))
        a, b = F.relu(self.bn1(self.conv(x))), F.relu(self.bn2(self.conv(x.flip(-1))))
        return self.head(self.left(a) + self.right(b))


class Functional(nn.Module):
    """No modules at all: parameters and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(8, 3, 3, 3) / 3), nn.Parameter(torch.randn(8))
        self.gamma, self.beta = nn.Parameter(torch.rand(8) + 0.1), nn.Parameter(torch.randn(8))
        self.register_buffer("mean", torch.randn(8) / 10)
        self.register_buffer("var", torch.rand(8) + 0.5)
        self.w2, self.fc = nn.Parameter(torch.randn(8, 6, 3, 3) / 3), nn.Parameter(torch.randn(5, 6))
        self.bn = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.w1, self.b1, padding=1)
        x = F.batch_norm(x, self.mean, self.var, self.gamma, self.beta, self.training)
        x = F.conv_transpose2d(F.relu(x), self.w2)
        return F.linear(self.bn(x).relu().mean([2, 3]), self.fc)


class Auxiliary(nn.Module):
    """A head that exists in train mode only, and branches of Inception."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.three = conv(3, 8), conv(8, 6, 1), conv(8, 10)
        self.pool, self.aux, self.head = conv(8, 4, 1), nn.Sequential(conv(20, 6, 1), head(6)), head(20)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.pool(F.avg_pool2d(x, 3, 1, 1))], 1)
        found = {"out": self.head(x)}
        if self.training:
            found["aux"] = self.aux(x)
        return found


class Attended(nn.Module):
    """LayerNorm and attention over the channels: they have to stay where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(3, 8), conv(8, 8), nn.LayerNorm(8)
        self.attention, self.c = nn.MultiheadAttention(8, 2, batch_first=True), conv(8, 6)
        self.head = head(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        y = self.norm(x.flatten(2).transpose(1, 2))
        y, _ = self.attention(y, y, y)
        return self.head(self.c(x + y.transpose(1, 2).reshape(x.shape)))


class Activated(nn.Module):
    """Activations that make something of 0: folded where no padding is, kept whole where there is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.b, self.bn2 = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.c, self.head = nn.Conv2d(8, 6, 3, padding=1), head(6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.bn1(self.a(x)))
        return self.head(self.c(F.softplus(self.bn2(self.b(x)))))


class Volume(nn.Module):
    """Three dimensions, then one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn1 = nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6)
        self.b, self.bn2 = nn.Conv3d(6, 8, (1, 3, 3)), nn.BatchNorm3d(8)
        self.c, self.bn3 = nn.Conv1d(8, 7, 3, padding=1), nn.BatchNorm1d(7)
        self.fc = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.a(x.unsqueeze(1))))
        x = F.relu(self.bn2(self.b(x))).flatten(2)
        return self.fc(F.relu(self.bn3(self.c(x))).amax(-1))


NETWORKS = {
    "chain": Chain,
    "post-activation": PostActivation,
    "pre-activation, raw projection": lambda: PreActivation(raw=True),
    "pre-activation, activated projection": lambda: PreActivation(raw=False),
    "dense": Dense,
    "depthwise": Depthwise,
    "grouped": Grouped,
    "transposed": Transposed,
    "shuffled": Shuffled,
    "halved": Halved,
    "squeezed": Squeezed,
    "resized": Resized,
    "shared": Shared,
    "functional": Functional,
    "auxiliary": Auxiliary,
    "attended": Attended,
    "activated": Activated,
    "volume": Volume,
}
