"""Factories of other people: called only with leave, and their mistakes are one clear error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from netslim import load_model, models
from netslim.errors import ModelError
from netslim.models import Architecture
from netslim.models.artifact import save_model
from netslim.pruning.plan import Plan

DIGITS = {"num_classes": 10, "in_channels": 1, "image_size": (8, 8)}
SOURCE = """
import sys
from pathlib import Path

import torch
from torch import nn

def small(num_classes):
    Path(__file__).with_suffix(".called").touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))

def another(num_classes):
    return small(num_classes)

def exits(num_classes):
    sys.exit("no licence")

def half(num_classes):
    return small(num_classes).half()

def double(num_classes):
    return small(num_classes).double()

def partly(num_classes):
    net = small(num_classes)
    net[3].to(torch.bfloat16)
    return net

def meta(num_classes):
    with torch.device("meta"):
        return small(num_classes)

def meta_buffer(num_classes):
    net = small(num_classes)
    net[2].running_mean = net[2].running_mean.to("meta")
    return net

class ExitsLater(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        raise SystemExit(3)

class Wordy(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        raise ValueError("first line\\nsecond line")
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module `their_nets`; beside it `their_nets.called` appears when `small` is called."""
    (tmp_path / "their_nets.py").write_text(SOURCE)
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(2)")
    (tmp_path / "wrong_syntax.py").write_text("def f(:")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("their_nets", "exits_at_import", "wrong_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "their_nets.py"


@pytest.fixture
def saved(nets: Path, tmp_path: Path) -> Path:
    """A model artifact made by `their_nets:small`, which was not called since."""
    architecture = models.resolve("their_nets:small", **DIGITS)  # type: ignore[arg-type]
    save_model(tmp_path / "model", models.build(architecture), architecture, Plan.empty())
    nets.with_suffix(".called").unlink()
    del sys.modules["their_nets"]
    return tmp_path / "model"


@pytest.mark.parametrize("leave", [False, "", "their_nets:another", "vgg19", "their_nets:"])
def test_a_factory_of_the_user_is_not_even_imported_without_leave(
    saved: Path, nets: Path, leave: str | bool
) -> None:
    with pytest.raises(
        ModelError, match=r"architecture.json: .* Python code their_nets:small, which"
    ) as caught:
        load_model(saved, allow_factory=leave)
    wanted = "take the model of the same run" if leave else "allow_factory='their_nets:small'"
    assert wanted in str(caught.value)
    assert "their_nets" not in sys.modules
    assert not nets.with_suffix(".called").exists()


@pytest.mark.parametrize("leave", [True, "their_nets:small"])
def test_with_leave_it_is_called(saved: Path, nets: Path, leave: str | bool) -> None:
    found = load_model(saved, allow_factory=leave)
    assert found.architecture.factory == "their_nets:small"
    assert nets.with_suffix(".called").exists()


def test_functions_of_netslim_that_are_no_networks_need_leave_too(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    for factory in ("netslim.storage.s3:delete_tree", "os:system", "netslim.models.mlp:mlp"):
        save_model(tmp_path / "model", model, Architecture(factory, {"url": "x"}), Plan.empty())
        with pytest.raises(ModelError, match="which is not allowed to run"):
            load_model(tmp_path / "model", allow_factory="vgg19")


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("their_nets:exits", r"the factory failed \(SystemExit: no licence\)"),
        ("exits_at_import:net", r"fails when it is imported \(SystemExit: 2\)"),
        ("wrong_syntax:net", r"fails when it is imported \(SyntaxError: invalid syntax"),
        ("../etc:passwd", "not of the form package.module:callable. Write for example"),
        (".their_nets:small", "not of the form"),
        ("their_nets:small:more", "not of the form"),
        ("their nets:small", "not of the form"),
        ("their_nets:", "not of the form"),
        (":small", "not of the form"),
        ("their_nets:half", r"1\.weight is float16, not float32. .*model\.float\(\)"),
        ("their_nets:double", "1.weight is float64, not float32"),
        ("their_nets:partly", "3.weight is bfloat16, not float32"),
        ("their_nets:meta", r"1\.weight has no values. .*torch\.device\('meta'\)"),
        ("their_nets:meta_buffer", "2.running_mean has no values"),
        ("their_nets:ExitsLater", r"it cannot read images of 1 x 8 x 8 \(3\)"),
        ("their_nets:Wordy", r"it cannot read images of 1 x 8 x 8 \(first line\)"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_by_its_name(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        models.check_fit(models.build(models.resolve(name, **DIGITS)), **DIGITS)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
