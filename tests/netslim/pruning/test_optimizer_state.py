"""The optimizer's state is sliced with the network, so the training goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ModelError
from tests.helpers.networks import Chain, Dense, Grouped, PostActivation, PreActivation
from tests.helpers.proof import masked, outputs, relative, settled

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def network(kind: type[nn.Module] = Chain) -> nn.Module:
    torch.manual_seed(0)
    return settled(kind(), IMAGES.double()).float()


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    convs = [p for p in model.parameters() if p.dim() > 1]
    rest: list[dict[str, Any]] = [
        {"params": convs, "lr": 0.05},
        {"params": [p for p in model.parameters() if p.dim() < 2]},
    ]
    return [
        torch.optim.SGD(rest, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        torch.optim.AdamW(model.parameters(), lr=1e-3),
    ]


@pytest.mark.parametrize(
    ("kind", "which"),
    [(Chain, 0), (PostActivation, 1), (Dense, 0), (Grouped, 1), (lambda: PreActivation(True), 0)],
)
def test_an_optimizer_keeps_its_state(kind: Any, which: int) -> None:
    """Two networks are trained further: the slim one, and the wide one with its removed channels held at 0.

    If all momentum is sliced rightly, one more step changes both in the same way.
    """
    wide = network(kind).double().train()
    optimizer = optimizers(wide)[which]
    images, labels = IMAGES.double(), torch.tensor([0, 1, 2, 3])
    for _ in range(3):
        step(wide, optimizer, images, labels)
    result = netslim.prune(wide, images, percent=0.4, compensate=False, optimizer=optimizer)
    slim = result.optimizer
    assert slim is not None
    assert type(slim) is type(optimizer)
    assert [{k: v for k, v in g.items() if k != "params"} for g in slim.param_groups] == [
        {k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups
    ]
    held = {id(p) for g in slim.param_groups for p in g["params"]}
    assert held == {id(p) for p in result.model.parameters()}

    kept = result.plan.kept
    with torch.no_grad():
        for old, new in zip(
            wide.parameters(), masked(wide, kept).parameters(), strict=True
        ):  # in place: the optimizer holds these
            old.copy_(new)
    for path, indices in kept.items():
        norm: Any = wide.get_submodule(path)
        gone = torch.ones(len(norm.weight), dtype=torch.bool)
        gone[list(indices)] = False
        for parameter in (norm.weight, norm.bias):
            parameter.register_hook(lambda gradient, gone=gone: gradient.masked_fill(gone, 0))
            for value in optimizer.state[parameter].values():
                if value.shape == parameter.shape:
                    value[gone] = 0
    step(wide, optimizer, images, labels)
    step(result.model, slim, images, labels)
    assert relative(outputs(result.model.eval(), images), outputs(wide.eval(), images)) < 1e-9


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def test_the_row_and_column_means_of_adafactor_are_sliced() -> None:
    wide = network(Grouped).train()
    optimizer = torch.optim.Adafactor(wide.parameters())
    step(wide, optimizer, IMAGES, torch.tensor([0, 1, 2, 3]))
    result = netslim.prune(wide, IMAGES, percent=0.5, optimizer=optimizer)
    assert result.optimizer is not None
    fresh = torch.optim.Adafactor(result.model.parameters())
    step(result.model, fresh, IMAGES, torch.tensor([0, 1, 2, 3]))
    for parameter, state in result.optimizer.state.items():
        assert {name: value.shape for name, value in state.items()} == {
            name: value.shape for name, value in fresh.state[parameter].items()
        }
    step(result.model, result.optimizer, IMAGES, torch.tensor([0, 1, 2, 3]))
    head, kept = "head.2.weight", result.plan.layers["head.2"].in_
    wide_state = optimizer.state[wide.get_parameter(head)]["col_var"]
    slim_state = netslim.prune(wide, IMAGES, percent=0.5, optimizer=optimizer).optimizer
    assert slim_state is not None
    assert kept is not None
    (found,) = [s["col_var"] for p, s in slim_state.state.items() if p.shape == (5, kept.index.size)]
    assert torch.equal(found, wide_state[:, kept.index])


def test_an_optimizer_whose_state_is_over_all_parameters_is_refused_at_once() -> None:
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = model(IMAGES).square().mean()
        value.backward()
        return value

    netslim.prune(model, IMAGES, optimizer=optimizer)  # it has no state yet
    optimizer.step(loss)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"the state '\w+' of LBFGS has another shape than its parameter"):
        netslim.prune(model, IMAGES, optimizer=optimizer)
    with pytest.raises(ModelError, match="it is a list, not an optimizer of torch"):
        netslim.prune(model, IMAGES, optimizer=[optimizer])  # type: ignore[arg-type]


def test_an_optimizer_of_another_model_is_refused() -> None:
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ModelError, match="optimizer: holds a parameter that is not the model's"):
        netslim.prune(network(), IMAGES, percent=0.5, optimizer=other)
