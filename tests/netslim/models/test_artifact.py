"""A model artifact gives back the network that was saved, or says why it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import netslim
from netslim import models
from netslim.errors import ModelError
from netslim.models import Architecture, artifact
from netslim.pruning.plan import Plan
from tests.helpers.small_models import SHAPES, trained


@pytest.mark.parametrize("name", SHAPES)
def test_wide_and_slim_networks_come_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    wide, architecture = trained(name)
    images = torch.rand(2, *SHAPES[name])
    result = netslim.prune(wide, images, percent=0.4)
    for model, plan in ((wide, Plan.empty()), (result.model, result.plan)):
        artifact.save_model(tmp_path / "model", model, architecture, plan)
        found = artifact.load_model(tmp_path / "model")
        assert found.architecture == architecture
        assert found.plan == plan
        assert not any(module.training for module in found.model.modules())
        with torch.no_grad():
            assert torch.equal(found.model(images), model.eval()(images))
        before, after = model.state_dict(), found.model.state_dict()
        assert list(before) == list(after)
        assert all(torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)
    slimmer = sum(p.numel() for p in result.model.parameters())
    assert sum(p.numel() for p in found.model.parameters()) == slimmer
    assert slimmer < sum(p.numel() for p in wide.parameters())


def test_a_second_pass_is_stored_as_one_composed_plan(tmp_path: Path) -> None:
    wide, architecture = trained("vgg-digits")
    images = torch.rand(2, *SHAPES["vgg-digits"])
    first = netslim.prune(wide, images, percent=0.3)
    second = netslim.prune(first.model, images, percent=0.3)
    artifact.save_model(tmp_path / "model", second.model, architecture, first.plan.then(second.plan))
    with torch.no_grad():
        assert torch.equal(artifact.load_model(tmp_path / "model").model(images), second.model.eval()(images))


def test_there_is_no_pickle_in_it(saved: Path) -> None:
    assert sorted(file.name for file in saved.iterdir()) == [
        *("SHA256SUMS", "architecture.json", "weights.safetensors")
    ]
    json.loads((saved / "architecture.json").read_text())
    assert set(load_file(saved / "weights.safetensors")) == set(trained("mlp")[0].state_dict())


def test_loading_draws_nothing_from_the_global_generator(saved: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    artifact.load_model(saved)
    assert torch.equal(torch.rand(1), expected)


def test_saving_again_replaces(saved: Path) -> None:
    model, architecture = trained("vgg-digits")
    artifact.save_model(saved, model, architecture, Plan.empty())
    assert artifact.load_model(saved).architecture == architecture


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Architecture:
    """A network with everything that a plain safetensors file refuses or leaves out."""
    (tmp_path / "odd_nets.py").write_text(
        """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight
        self.turned = nn.Parameter(torch.rand(3, 2).t())
        self.coarse = nn.Parameter(torch.rand(3).bfloat16())
        self.empty = nn.Parameter(torch.rand(0, 3))
        memory = torch.rand(6)
        self.register_buffer("left", memory[:4])
        self.register_buffer("right", memory[2:])
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("passing", torch.rand(2), persistent=False)

class Extra(nn.Module):
    def get_extra_state(self):
        return {"epoch": 3}
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_nets", raising=False)
    return Architecture("odd_nets:Odd")


def test_tied_turned_overlapping_and_half_tensors(odd: Architecture, tmp_path: Path) -> None:
    model = models.build(odd)
    artifact.save_model(tmp_path / "model", model, odd, Plan.empty())
    stored = load_file(tmp_path / "model" / "weights.safetensors")
    assert ("first.weight" in stored) != ("tied.weight" in stored)
    found = artifact.load_model(tmp_path / "model", allow_factory="odd_nets:Odd").model
    before, after = model.state_dict(), found.state_dict()
    assert list(before) == list(after)
    for name in before:
        assert before[name].dtype == after[name].dtype
        assert torch.equal(before[name], after[name])
    assert found.first.weight is found.tied.weight


def test_a_state_that_is_no_tensor_is_refused(odd: Architecture, tmp_path: Path) -> None:
    extra = Architecture("odd_nets:Extra")
    with pytest.raises(ModelError, match=r"_extra_state: its state is a dict"):
        artifact.save_model(tmp_path / "model", models.build(extra), extra, Plan.empty())
    assert not (tmp_path / "model").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from netslim.errors import StorageError

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    model, architecture = trained("mlp")
    monkeypatch.setattr(artifact, "save_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        artifact.save_model(tmp_path / "model", model, architecture, Plan.empty())
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_the_user_replaces_the_factory(odd: Architecture, tmp_path: Path) -> None:
    """So its code needs no leave to run."""
    network = models.build(odd)
    netslim.save(tmp_path / "model", network, Plan.empty(), architecture=odd)
    assert netslim.load_model(tmp_path / "model", allow_factory=odd.factory).architecture == odd
    with pytest.raises(ModelError, match="not allowed to run"):
        netslim.load_model(tmp_path / "model")
    found = netslim.load_model(tmp_path / "model", models.build(odd)).model
    assert torch.equal(found.get_parameter("first.weight"), network.get_parameter("first.weight"))
