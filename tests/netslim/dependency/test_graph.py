"""The dependency graph of small networks: classes, factors, and what is removed with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netslim.dependency import trace
from netslim.dependency.graph import DependencyGraph
from netslim.errors import ModelError
from netslim.nn.module_copy import ModuleIndex


class Sum(nn.Module):
    """Two BatchNorms of 4 channels that are added and read by a convolution, as in the head of graph.py."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(3, 4, 1, bias=False)
        self.one, self.two = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.read, self.last = nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.read(self.one(self.a(x)) + self.two(self.b(x))))


def graph(model: nn.Module) -> DependencyGraph:
    return DependencyGraph(trace(ModuleIndex.of(model), torch.zeros(1, 3, 4, 4)))


def test_factors_and_their_classes() -> None:
    found = graph(Sum())
    assert [norm.path for norm in found.norms] == ["one", "two", "last"]
    assert found.norm_starts.tolist() == [0, 4, 8, 10]
    assert found.norm_of_factor.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert np.array_equal(found.output_class[:4], found.output_class[4:8])
    assert np.unique(found.input_class).size == 10  # each BatchNorm reads a convolution of its own
    assert found.importance.tolist() == [1.0] * 10


def test_a_class_is_removed_with_all_its_factors_only() -> None:
    found = graph(Sum())
    removed = np.zeros(10, dtype=bool)
    removed[[0, 1, 4]] = True  # channel 0 in both, channel 1 in the first BatchNorm only
    gone = found.removed_labels(removed)
    layers = {path: gone[layer.outputs].tolist() for path, layer in found.records.weighted_layers.items()}
    assert layers == {
        "a.weight": [True, True, False, False],
        "b.weight": [True, False, False, False],
        "read.weight": [False, False],
    }
    inputs = found.records.weighted_layers["read.weight"].inputs.labels
    assert gone[inputs].tolist() == [True, False, False, False]


def test_a_layer_keeps_one_output() -> None:
    found = graph(Sum())
    gone = found.removed_labels(np.array([True] * 4 + [False] * 6))
    assert gone[found.records.weighted_layers["a.weight"].outputs].tolist() == [False, True, True, True]


def test_a_reason_that_is_found_later_counts() -> None:
    found = graph(Sum())
    label = found.norms[0].output_labels[2:3]
    before = found.class_reasons[found.class_of_label[label]].tolist()
    found.mark_unprunable(label, "found later")
    number = found.class_reasons[found.class_of_label[label]].tolist()[0]
    assert before == [0]
    assert found.reason_text(number) == "found later"


def test_the_output_of_the_network_must_stay() -> None:
    found = graph(Sum())
    numbers = found.class_reasons[found.output_class[8:]]
    assert {found.reason_text(number) for number in numbers} == {"they are the network's output"}


def test_factors_that_are_used_elsewhere_must_stay() -> None:
    model = Sum()
    model.two.weight = model.one.weight
    found = graph(model)
    assert found.factor_reasons[:4].all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_factor_that_is_no_number_is_an_error(value: float) -> None:
    model = Sum()
    model.two.weight.data[1] = value
    with pytest.raises(ModelError, match="two: a scaling factor is NaN or infinite"):
        _ = graph(model).importance
