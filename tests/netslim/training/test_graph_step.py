"""Steps that are recorded once and repeated, against the same steps run by Python, on a CPU.

A graph of a real GPU is tested by benchmarks/gpu.sh, since no test may depend on one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netslim.data import PackedDataset
from netslim.training import distributed, graph_step
from netslim.training.graph_step import GraphStep, StepScalars, capture_for, obstacle, undone
from netslim.training.loaders import loader_for
from netslim.training.loaders.in_memory import Selection
from tests.helpers.corners import corners, network, recipe
from tests.helpers.recorded_step import record


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return corners(tmp_path_factory.mktemp("corners"))


def test_what_does_not_allow_a_graph_is_named(
    dataset: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loader_for(dataset, batch_size=10, seed=0, by_torch=True)
    assert obstacle(network(), recipe(), loader) == ""
    assert "adversarial" in obstacle(network(), recipe(adversarial=0.5), loader)
    assert "momentum = None" in obstacle(nn.BatchNorm2d(3, momentum=None), recipe(), loader)
    hooked = network()
    hooked[3].register_forward_hook(lambda module, inputs, output: None)
    assert "hooks" in obstacle(hooked, recipe(), loader)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    assert "several processes" in obstacle(network(), recipe(), loader)
    monkeypatch.undo()

    class Stream:
        batch_size, steps, shard = 2, 1, slice(0, 2)

        def epoch(self, epoch: int, start: int = 0) -> Any:
            return iter(())

    assert "streamed" in obstacle(network(), recipe(), Stream())


def test_a_cpu_has_no_graphs() -> None:
    assert capture_for(torch.device("cpu")) is None
    assert capture_for(torch.device("cuda")) is graph_step.cuda_graph


def add(total: Tensor, amount: Tensor) -> None:
    total.add_(amount)


def selection(*images: int) -> Selection:
    return Selection(torch.tensor([images] * 4), None)


def test_a_batch_of_another_shape_is_run_as_it_is_and_the_graph_goes_on() -> None:
    total = torch.zeros(())
    step = GraphStep(
        lambda unit: add(total, unit.crops[0].sum()), nn.Identity(), [total],
        device=torch.device("cpu"), capture=record,
    )  # fmt: skip
    sums = []
    for unit in (selection(1, 2), selection(3, 4), selection(5), selection(6, 7)):
        step.run(unit)
        sums.append(int(total))
    assert sums == [3, 10, 15, 28]


def test_a_step_with_other_operations_is_recorded_anew() -> None:
    total, factor = torch.zeros(()), [1]
    step = GraphStep(
        lambda unit: add(total, unit.crops[0].sum() * factor[0]), nn.Identity(), [total],
        device=torch.device("cpu"), capture=record,
    )  # fmt: skip
    step.run(selection(1), version=factor[0])
    factor[0] = 10
    step.run(selection(2), version=1)  # the stand-in keeps plain numbers, as a graph does
    assert int(total) == 3
    step.run(selection(2), version=factor[0])
    assert int(total) == 23


def test_the_effects_of_the_recording_are_undone() -> None:
    state, cpu = torch.ones(3), torch.device("cpu")
    generator = torch.get_rng_state()
    with undone([state], cpu):
        state += torch.rand(3)
        assert float(state.sum()) > 3
    assert torch.equal(state, torch.ones(3))
    assert torch.equal(torch.get_rng_state(), generator)


def test_rates_and_lambda_are_overwritten_in_place() -> None:
    scalars = StepScalars(np.array([0.5, 0.25, 0.125]), torch.device("cpu"))
    lr, lambda_ = scalars.lr, scalars.lambda_
    seen = []
    # Whatever controls lambda may change it at any step.
    for step, value in (
        (0, 0.5),
        (1, 0.5),
        (2, 0.75),
        (0, 0.0),
    ):
        scalars.set(step, value)
        seen.append((float(lr), float(lambda_)))
    assert seen == [(0.5, 0.5), (0.25, 0.5), (0.125, 0.75), (0.5, 0.0)]
