"""A program that cannot be written, or that computes something else, is refused, and no folder is left."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ModelError
from netslim.models import program
from tests.helpers.networks import Chain

IMAGES = torch.rand(2, 3, 12, 12)


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Odd(Chain):
    """A network that computes something that a program cannot."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Any:
        if self.how == "branches on values" and x.sum() > 0:
            x = x * 2
        if self.how == "one size":
            x = x.view(2, 3, 12, 12)
        if self.how == "refuses values" and not torch.compiler.is_compiling() and x.min() < 0:
            raise ValueError("negative\nvalues")
        if self.how == "branches on sizes" and x.shape[0] > 5:
            x = x + 1
        result = super().forward(x)
        return Pair(result, result) if self.how == "class" else result


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (
            "branches on values",
            r"branches on the values of a tensor, at test_program_errors.py:\d+: if self",
        ),
        ("one size", r"its forward works for one batch size only, for example because of len\(x\)"),
        ("branches on sizes", r"does something else for some batch sizes"),
        ("class", r"it returns a Pair, and a program has only tensors, tuples, lists and dicts"),
        ("refuses values", r"it does not run with a batch of 2 \(negative\)"),
    ],
)
def test_a_network_without_a_program_is_refused(tmp_path: Path, how: str, reason: str) -> None:
    (tmp_path / "before").mkdir()
    for folder in ("new", "before"):
        with pytest.raises(ModelError, match=rf"^Odd: .*{reason}.*Save it without example_input") as caught:
            netslim.save(tmp_path / folder, Odd(how), netslim.Plan.empty(), example_input=IMAGES)
        assert len(str(caught.value).splitlines()) <= 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["before"]
    assert not list((tmp_path / "before").iterdir())
    netslim.save(tmp_path / "new", Odd(how), netslim.Plan.empty())


def test_an_example_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"example_input = float32\[2, 4, 12, 12\]: the model does not run"):
        netslim.save(tmp_path / "x", Chain(), netslim.Plan.empty(), example_input=torch.rand(2, 4, 12, 12))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("entry", "content", "named"),
    [
        ("a/data/weights/model_weights_config.json", '{"config": {"w": {"use_pickle": true}}}', "w"),
        ("a/data/sample_inputs/model.pt", "PK", "a/data/sample_inputs/model.pt"),
        ("a/data/weights/model.pt", "PK", "a/data/weights/model.pt"),
    ],
)
def test_a_file_with_a_pickle_is_refused(entry: str, content: str, named: str) -> None:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as file:
        file.writestr(entry, content)
    with pytest.raises(ModelError, match=f"Net: torch.export would store {named} as a pickle"):
        program._require_no_pickle(stored.getvalue(), "Net")


@pytest.mark.parametrize("change", ["weight", "result"])
def test_a_program_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load = program._loaded

    def altered(stored: bytes, name: str) -> nn.Module:
        run = load(stored, name)
        if change == "weight":
            with torch.no_grad():
                next(run.parameters()).view(-1)[0] += 0.1
            return run
        return nn.Sequential(run, nn.Unflatten(1, (5, 1)))

    monkeypatch.setattr(program, "_loaded", altered)
    with pytest.raises(ModelError, match=r"with a batch of 1 its program (computes|returns) something"):
        netslim.save(tmp_path / "x", Chain(), netslim.Plan.empty(), example_input=IMAGES)
    assert not list(tmp_path.iterdir())
