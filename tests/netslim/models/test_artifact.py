"""A model artifact gives back the network that was saved, or says why it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import netslim
from netslim import models
from netslim.errors import ModelError
from netslim.models import Architecture, artifact
from netslim.pruning.plan import Plan
from netslim.storage.atomic import sha256

SHAPES = {"vgg-digits": (1, 8, 8), "resnet164": (3, 16, 16), "densenet40": (3, 16, 16), "mlp": (1, 6, 6)}
SMALLER: dict[str, dict[str, Any]] = {
    "resnet164": {"depth": 11},
    "densenet40": {"depth": 10},
    "mlp": {"hidden": [20, 12]},
}


def trained(name: str) -> tuple[nn.Module, Architecture]:
    """A small network with statistics and scaling factors of its own."""
    channels, *size = SHAPES[name]
    architecture = models.resolve(
        name, num_classes=5, in_channels=channels, image_size=(size[0], size[1]), **SMALLER.get(name, {})
    )
    torch.manual_seed(0)
    model = models.build(architecture)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.1, 1)
    return model.eval(), architecture


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, architecture = trained("mlp")
    artifact.save_model(tmp_path / "model", model, architecture, Plan.empty())
    return tmp_path / "model"


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
    """A network with everything that a plain safetensors file refuses or forgets."""
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


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_truncated_weights_are_refused(saved: Path, keep: int) -> None:
    file = saved / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"weights.safetensors: truncated or altered.*Run the step that"):
        artifact.load_model(saved)
    (saved / "SHA256SUMS").unlink()
    with pytest.raises(ModelError, match=r"weights.safetensors: truncated or altered.*Make the model again"):
        artifact.load_model(saved)


def test_a_plan_with_another_channel_is_refused(tmp_path: Path) -> None:
    """The weights fit it as well, so only the digest of architecture.json shows it."""
    wide, architecture = trained("mlp")
    result = netslim.prune(wide, torch.rand(2, *SHAPES["mlp"]), percent=0.4)
    artifact.save_model(tmp_path / "model", result.model, architecture, result.plan)
    file = tmp_path / "model" / "architecture.json"
    content = json.loads(file.read_text())
    path, kept = next(iter(result.plan.kept.items()))
    of = content["plan"]["layers"][path]["out"]["of"]
    content["plan"]["layers"][path]["out"]["keep"] = " ".join(map(str, range(of)[-len(kept) :]))
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"architecture.json: truncated or altered"):
        artifact.load_model(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 100, b"\x80\x04cbuiltins\n"])
def test_foreign_weights_are_refused_even_with_their_checksum(saved: Path, content: bytes) -> None:
    (saved / "weights.safetensors").write_bytes(content)
    edit(saved, sha256=sha256(saved / "weights.safetensors"))
    with pytest.raises(ModelError, match=r"weights.safetensors: cannot be read"):
        artifact.load_model(saved)


def edit(saved: Path, **change: object) -> None:
    """Change architecture.json of an artifact without SHA256SUMS, as version 0.1.0 wrote it."""
    (saved / "SHA256SUMS").unlink()
    file = saved / "architecture.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def test_missing_files_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere/architecture.json: no such file"):
        artifact.load_model(tmp_path / "nowhere")
    (saved / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights.safetensors: no such file"):
        artifact.load_model(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a model of this version"),
        ('{"format": "netslim model 99"}', "not a model of this version of netslim .'netslim model 99'"),
        ('{"format": "netslim model 1", "plan": {}}', "lacks architecture, sha256, tied"),
        (
            '{"format": "netslim model 1", "architecture": [], "tied": []}',
            "lacks architecture, plan, sha256, tied",
        ),
    ],
)
def test_a_foreign_description_is_refused(saved: Path, content: str, message: str) -> None:
    (saved / "SHA256SUMS").unlink()
    (saved / "architecture.json").write_text(content)
    with pytest.raises(ModelError, match=f"architecture.json: {message}"):
        artifact.load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"7.bias": None}, r"7.bias is missing"),
        ({"9.bias": torch.zeros(3)}, r"9.bias is not in the network"),
        ({"7.bias": torch.zeros(6)}, r"7.bias is float32\[6\], not float32\[5\]"),
        ({"7.bias": torch.zeros(5).double()}, r"7.bias is float64\[5\], not float32\[5\]"),
        ({f"{k}.x": torch.zeros(1) for k in range(9)}, r"1.x is .*; 2.x is .*; and 6 more"),
    ],
)
def test_weights_of_another_network_are_refused(
    saved: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    tensors = load_file(saved / "weights.safetensors") | change
    save_file({k: v for k, v in tensors.items() if v is not None}, saved / "weights.safetensors")
    edit(saved, sha256=sha256(saved / "weights.safetensors"))
    with pytest.raises(ModelError, match=rf"the weights do not fit the network: .*{message}"):
        artifact.load_model(saved)


def test_other_arguments_of_the_factory_are_noticed(saved: Path) -> None:
    architecture = json.loads((saved / "architecture.json").read_text())["architecture"]
    architecture["arguments"]["hidden"] = [20, 13]
    edit(saved, architecture=architecture)
    with pytest.raises(
        ModelError, match=r"the weights do not fit the network: 4.weight is float32\[12, 20\]"
    ):
        artifact.load_model(saved)


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


class Mine(nn.Module):
    """A network that no factory makes, as in a notebook."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)
        self.next, self.last = nn.Conv2d(width, 9, 3), nn.BatchNorm2d(9)
        self.head = nn.Linear(9, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.next(self.norm(self.conv(x)).relu())
        return self.head(self.last(x).relu().mean((2, 3)))


def two_passes() -> tuple[netslim.PruneResult, netslim.PruneResult]:
    torch.manual_seed(0)
    wide = Mine()
    for norm in (wide.norm, wide.last):
        nn.init.uniform_(norm.weight, 0.1, 1)
    first = netslim.prune(wide, torch.rand(2, 1, 8, 8), percent=0.3)
    return first, netslim.prune(first.model, torch.rand(2, 1, 8, 8), percent=0.3)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    first, second = two_passes()
    netslim.save(tmp_path / "mine", second.model, first.plan.then(second.plan))
    return tmp_path / "mine"


@pytest.mark.parametrize("wrap", [nn.Module.train, nn.DataParallel, torch.compile])
def test_without_a_factory_the_user_gives_the_wide_network(mine: Path, wrap: Any) -> None:
    wide = Mine()
    wide.norm.eval()
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    found = netslim.load_model(mine, wrap(wide))
    first, second = two_passes()
    assert found.architecture is None
    assert found.plan == first.plan.then(second.plan)
    assert type(found.model) is Mine
    assert not any(module.training for module in found.model.modules())
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(found.model(images), second.model.eval()(images))
    assert wide.conv.out_channels == 12
    assert wide.head.training
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())


def test_without_a_factory_and_a_network_the_error_says_what_to_give(mine: Path) -> None:
    for allow in (False, True):
        with pytest.raises(
            ModelError, match=r"saved without a factory.*load_model\('.*/mine', MyNet\(\)\)\.$"
        ):
            netslim.load_model(mine, allow_factory=allow)
    first, second = two_passes()
    plan = first.plan.then(second.plan)
    netslim.save(mine, second.model, plan, example_input=torch.rand(2, 1, 8, 8))
    with pytest.raises(ModelError, match=r"or run its program: torch.export.load\('.*/mine/program.pt2'\)"):
        netslim.load_model(mine)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mine(14), r"norm: the network has 14 outputs, the plan is for 12"),
        (lambda: trained("mlp")[0], r"the network has no such layer"),
        (lambda: Mine().double(), r"do not fit the network: conv.weight is float32\[.*\], not float64"),
        (lambda: Mine().to("meta"), r"model: conv.weight has no values"),
    ],
)
def test_another_network_is_refused(mine: Path, make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        netslim.load_model(mine, make())


def test_a_network_of_the_user_replaces_the_factory(odd: Architecture, tmp_path: Path) -> None:
    """So its code needs no leave to run."""
    network = models.build(odd)
    netslim.save(tmp_path / "model", network, Plan.empty(), architecture=odd)
    assert netslim.load_model(tmp_path / "model", allow_factory=odd.factory).architecture == odd
    with pytest.raises(ModelError, match="not allowed to run"):
        netslim.load_model(tmp_path / "model")
    found = netslim.load_model(tmp_path / "model", models.build(odd)).model
    assert torch.equal(found.get_parameter("first.weight"), network.get_parameter("first.weight"))


@pytest.mark.parametrize("given", ["first", "of another network", "with another layer"])
def test_a_plan_that_does_not_lead_to_the_network_is_not_saved(tmp_path: Path, given: str) -> None:
    first, second = two_passes()
    plan = first.plan
    if given == "of another network":
        network = Mine(16)
        nn.init.uniform_(network.norm.weight, 0.1, 1)
        plan = netslim.prune(network, torch.rand(2, 1, 8, 8), percent=0.1).plan
    if given == "with another layer":
        plan = Plan({f"more.{path}": edit for path, edit in plan.layers.items()})
    message = r"norm: the network has \d+ outputs, the plan leaves \d+\. .* first.plan.then\(second.plan\)"
    with pytest.raises(ModelError, match=message if "layer" not in given else "network has no such layer"):
        netslim.save(tmp_path / "slim", second.model, plan)
    assert not list(tmp_path.iterdir())
