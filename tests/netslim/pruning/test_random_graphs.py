"""Pruned equals masked on random small graphs of adds, concats, groups, shuffles, chunks and selections."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers.proof import prove, settled

WIDTH = 8  # of every tensor between operations, so that any two can be added

Step = tuple[str, int, int]
KINDS = (
    *(
        "conv",
        "grouped",
        "depthwise",
        "pre-activation",
        "raw",
        "add",
        "add raw",
        "concat",
        "shuffle",
        "chunk",
    ),
    *("squeeze", "pool", "sigmoid", "norm"),
)


class Graph(nn.Module):
    """Each step makes one more tensor from one or two earlier ones; the last three are read by the head."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.layers = nn.ModuleList([_layer(kind) for kind, _, _ in steps])
        self.last, self.head = nn.BatchNorm2d(3 * WIDTH), nn.Linear(3 * WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        made = [self.stem(x)]
        for (kind, first, second), layer in zip(self.steps, self.layers, strict=True):
            a, b = made[-1 - first % len(made)], made[-1 - second % len(made)]
            made.append(_step(kind, layer, a, b))
        read = torch.cat([made[-1], made[-(2 % len(made))], made[-(3 % len(made))]], 1)
        return self.head(F.relu(self.last(read)).mean((2, 3)))


def _layer(kind: str) -> nn.Module:
    conv = {
        "grouped": lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=2, bias=False),
        "depthwise": lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False),
        "raw": lambda: nn.Conv2d(WIDTH, WIDTH, 1),
        "concat": lambda: nn.Conv2d(2 * WIDTH, WIDTH, 1, bias=False),
        "chunk": lambda: nn.Conv2d(WIDTH // 2, WIDTH // 2, 1, bias=False),
    }.get(kind, lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False))()
    norm = nn.BatchNorm2d(conv.out_channels)
    return nn.ModuleDict({"conv": conv, "norm": norm})


def _step(kind: str, layer: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    conv, norm = layer["conv"], layer["norm"]  # type: ignore[index]
    if kind in ("conv", "grouped", "depthwise"):
        return F.relu(norm(conv(a)))
    if kind == "pre-activation":
        return conv(F.silu(norm(a)))
    if kind == "raw":
        return conv(a)
    if kind == "norm":
        return norm(a)
    if kind == "add":
        return F.relu(norm(conv(a)) + b)
    if kind == "add raw":
        return conv(a) + b
    if kind == "concat":
        return norm(conv(torch.cat([a, b], 1)))
    if kind == "shuffle":
        n, c, h, w = a.shape
        return a.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
    if kind == "chunk":
        left, right = a.chunk(2, 1)
        return torch.cat([right, F.relu(norm(conv(left)))], 1)
    if kind == "squeeze":
        return a * torch.sigmoid(conv(a).mean((2, 3), keepdim=True))
    if kind == "pool":
        return F.max_pool2d(a, 3, 1, 1)
    return torch.sigmoid(norm(conv(a)))


steps = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=7
)


# The same graphs in every run; NETSLIM_RANDOM_GRAPHS=500 tests more of them.
EXAMPLES = int(os.environ.get("NETSLIM_RANDOM_GRAPHS", "60"))


WITHOUT_NORM = ("raw", "add raw", "shuffle", "squeeze", "pool")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    steps=steps,
    policy=st.sampled_from(("auto", "group", "select")),
    percent=st.sampled_from((0.2, 0.5, 0.8)),
    seed=st.integers(0, 99),
    keep=st.lists(st.integers(0, 7), max_size=1),
    shares=st.lists(st.tuples(st.integers(0, 7), st.sampled_from((0.0, 0.3, 0.5, 0.9))), max_size=3),
)
def test_pruned_equals_masked(
    steps: list[Step],
    policy: str,
    percent: float,
    seed: int,
    keep: list[int],
    shares: list[tuple[int, float]],
) -> None:
    """Some BatchNorms are in `keep`, and some have shares of their own."""
    torch.manual_seed(seed)
    images = torch.randn(3, 3, 5, 5, dtype=torch.float64)
    wide = settled(Graph(steps), images, seed=seed)
    norms = [f"layers.{i}.norm" for i, (kind, _, _) in enumerate(steps) if kind not in WITHOUT_NORM] + [
        "last"
    ]
    kept = [norms[number % len(norms)] for number in keep]
    layers = {norms[number % len(norms)]: share for number, share in shares}
    # No control: the output of a random graph may be constant, whatever is masked.
    result = prove(wide, images, policy=policy, percent=percent, control=False, keep=kept, layers=layers)
    for norm in kept:
        assert (
            result.model.get_parameter(f"{norm}.weight").shape == wide.get_parameter(f"{norm}.weight").shape
        )
    for row in result.report.rows:
        if row.layer in layers:  # one BatchNorm, whole and tied to no other
            lost = math.floor(Fraction(str(layers[row.layer])) * row.before)
            assert row.before - row.by_rank == lost
            assert row.after == row.by_rank or row.why
