"""From a name to a network: ours, torchvision's, the user's own."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netslim import models
from netslim.errors import ModelError
from netslim.models import Architecture
from netslim.models.registry import CATALOGUE

DIGITS = {"num_classes": 10, "in_channels": 1, "image_size": (8, 8)}


def loaded_by(statement: str) -> set[str]:
    """Which of torch and torchvision a new interpreter has loaded after `statement`."""
    report = "import sys\nprint(*{'torch', 'torchvision'} & set(sys.modules))"
    code = f"from netslim import models\n{statement}\n{report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_name_list_costs_no_torch() -> None:
    assert not loaded_by("assert [models.check_name(name) for name in models.names()] == models.names()")


@pytest.mark.slow
def test_the_arguments_of_our_networks_are_checked_without_torch() -> None:
    """`netslim run` checks them before the first step, and needs torch for nothing else."""
    context = "num_classes=10, in_channels=3, image_size=(32, 32)"
    assert not loaded_by(f"for name in models.names():\n    models.resolve(name, {context})")
    assert loaded_by(f"models.resolve('resnet50', {context})") == {"torch", "torchvision"}


@pytest.mark.parametrize("name", models.names())
def test_our_networks_accept_the_arguments_of_their_functions(name: str) -> None:
    """The truth is Python's own signature of the imported function."""
    module, _, function = CATALOGUE[name].partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    context = {"num_classes": 7, "in_channels": 2, "image_size": [32, 32]}
    own = {key: 1 for key in parameters if key not in context}
    resolved = models.resolve(name, **context, **own)  # type: ignore[arg-type]
    assert resolved.arguments == {key: value for key, value in context.items() if key in parameters} | own
    with pytest.raises(ModelError, match=f"{name} takes no such argument"):
        models.resolve(name, **context, nothing=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", models.names())
def test_an_architecture_from_json_builds_the_same_network(name: str) -> None:
    context = {"num_classes": 7, "in_channels": 2, "image_size": (32, 32)}
    first = models.resolve(name, **context)  # type: ignore[arg-type]
    second = Architecture.from_json(json.loads(json.dumps(first.to_json())))
    assert second == first
    with torch.device("meta"):
        shapes = [
            {k: v.shape for k, v in models.build(architecture).state_dict().items()}
            for architecture in (first, second)
        ]
    assert shapes[0] == shapes[1]


def test_underscores_and_hyphens_are_one() -> None:
    assert models.resolve("vgg_digits", **DIGITS) == models.resolve("vgg-digits", **DIGITS)  # type: ignore[arg-type]


def test_our_vgg19_wins_and_torchvisions_can_be_named() -> None:
    context = {"num_classes": 10, "in_channels": 3, "image_size": (32, 32)}
    assert models.resolve("vgg19", **context).factory == "vgg19"  # type: ignore[arg-type]
    assert models.resolve("torchvision:vgg19", **context).factory == "torchvision:vgg19"  # type: ignore[arg-type]
    assert models.resolve("resnet50", **context).factory == "torchvision:resnet50"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32),
        ("mobilenet_v3_small", 32),
        ("shufflenet_v2_x0_5", 32),
        ("efficientnet_b0", 32),
        ("regnet_y_400mf", 32),
        ("mnasnet0_5", 32),
        ("vgg11_bn", 32),
        ("densenet121", 32),
        ("googlenet", 64),
        ("inception_v3", 96),
        ("maxvit_t", 224),
    ],
)
def test_torchvision_classifiers_take_any_classes_and_channels(name: str, size: int) -> None:
    context = {"num_classes": 7, "in_channels": 1, "image_size": (size, size)}
    architecture = models.resolve(name, **context)  # type: ignore[arg-type]
    model = models.build(architecture)
    gammas = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert gammas
    assert all(bool((gamma == 0.5).all()) for gamma in gammas)
    models.check_fit(model, **context)  # type: ignore[arg-type]
    assert model.train()(torch.rand(2, 1, size, size)).shape == (2, 7)


def test_torchvision_network_with_three_channels_is_torchvisions_own() -> None:
    import torchvision.models

    context = {"num_classes": 5, "in_channels": 3, "image_size": (64, 64)}
    model = models.build(models.resolve("resnet18", **context))  # type: ignore[arg-type]
    theirs = torchvision.models.resnet18(weights=None, num_classes=5)
    assert str(model) == str(theirs)
    assert [p.shape for p in model.parameters()] == [p.shape for p in theirs.parameters()]


def test_arguments_reach_torchvisions_builder() -> None:
    context = {"num_classes": 10, "in_channels": 3, "image_size": (32, 32)}
    half = models.build(models.resolve("mobilenet_v2", width_mult=0.5, **context))  # type: ignore[arg-type]
    full = models.build(models.resolve("mobilenet_v2", **context))  # type: ignore[arg-type]
    assert sum(p.numel() for p in half.parameters()) < 0.4 * sum(p.numel() for p in full.parameters())
    with pytest.raises(ModelError, match="no_such_thing"):
        models.build(models.resolve("mobilenet_v2", no_such_thing=1, **context))  # type: ignore[arg-type]


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text(
        """
from torch import nn

THIRTY = 30

def few(num_classes, scale=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8 * scale), nn.BatchNorm1d(8 * scale),
                         nn.Linear(8 * scale, num_classes))

def anything(**given):
    net = nn.Identity()
    net.given = given
    return net

def needs_more(num_classes, *, secret):
    return nn.Identity()

def broken(num_classes):
    raise RuntimeError("out of paper")

def text(num_classes):
    return "a network"
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)


@pytest.mark.usefixtures("own_package")
def test_own_factory_gets_what_it_accepts() -> None:
    architecture = models.resolve("my_nets:few", scale=2, **DIGITS)  # type: ignore[arg-type]
    assert architecture.arguments == {"num_classes": 10, "scale": 2}
    models.check_fit(models.build(architecture), **DIGITS)  # type: ignore[arg-type]
    everything = models.resolve("my_nets:anything", scale=3, **DIGITS)  # type: ignore[arg-type]
    given = {"num_classes": 10, "in_channels": 1, "image_size": [8, 8], "scale": 3}
    assert models.build(everything).given == given


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("my_nets:few", {"width": 2}, "model argument = width: my_nets:few takes no such argument"),
        ("my_nets:fewer", {}, "my_nets has no fewer"),
        ("my_nets:THIRTY", {}, "THIRTY is not callable"),
        ("my_nests:few", {}, r"cannot be imported.*PYTHONPATH"),
        ("my_nets:", {}, "not of the form"),
        ("my_nets:needs_more", {}, "secret"),
        ("my_nets:broken", {}, r"RuntimeError: out of paper"),
        ("my_nets:text", {}, "returned a str, not a torch.nn.Module"),
        ("vgg19", {"depth": 19}, "vgg19 takes no such argument"),
        ("mlp", {"hidden": [object()]}, "not a JSON value"),
    ],
)
def test_what_is_wrong_with_a_factory_is_in_the_error(
    name: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        models.build(models.resolve(name, **DIGITS, **arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "meant"), [("vgg91", "vgg19"), ("resnet_50", "resnet50"), ("torchvision:resnet51", "resnet50")]
)
def test_an_unknown_name_is_answered_with_close_ones(typed: str, meant: str) -> None:
    with pytest.raises(ModelError, match=rf"no such network. Did you mean .*{meant}"):
        models.resolve(typed, **DIGITS)  # type: ignore[arg-type]


class Probe(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.frozen = nn.BatchNorm2d(1).eval()
        self.answer = answer

    def forward(self, x: Tensor) -> object:
        self.frozen(self.norm(x))
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [(torch.zeros(2, 9), r"\[2, 9\], not \[2, 10\]"), ((torch.zeros(2, 10),), "returns tuple")],
)
def test_a_network_that_does_not_answer_with_logits_is_refused(answer: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.check_fit(Probe(answer), **DIGITS)  # type: ignore[arg-type]


def test_a_network_that_cannot_read_the_images_is_refused() -> None:
    model = models.build(models.resolve("vgg-digits", **DIGITS))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cannot read images of 3 x 8 x 8"):
        models.check_fit(model, num_classes=10, in_channels=3, image_size=(8, 8))


def test_the_check_leaves_modes_and_statistics_alone() -> None:
    model = Probe(torch.zeros(2, 10))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    models.check_fit(model, **DIGITS)  # type: ignore[arg-type]
    assert [m.training for m in model.modules()] == [True, True, False]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "value", [{}, {"factory": 3, "arguments": {}}, {"factory": "mlp", "arguments": []}, []]
)
def test_json_that_holds_no_architecture_is_refused(value: object) -> None:
    with pytest.raises(ModelError, match="architecture"):
        Architecture.from_json(value)  # type: ignore[arg-type]
