"""A failed export leaves no file, and its error names the cause."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from netslim.errors import ExportError
from netslim.onnx_export import export
from netslim.onnx_export.export import export_onnx
from netslim.onnx_export.translate import random_images
from tests.helpers.exportable import SHAPE, plain, trained


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


class Constant(nn.Module):
    """Works with the traced batch size only."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 64)


class Factorising(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.qr(images.flatten(2))[0].flatten(1)


class Groups(nn.Module):
    """A convolution with one group for each image; ONNX has only constant numbers of groups."""

    def forward(self, images: Tensor) -> Tensor:
        batch = images.size(0)
        kernels = images.mean((1, 2, 3)).reshape(-1, 1, 1, 1).expand(-1, 1, 3, 3)
        return nn.functional.conv2d(images.transpose(0, 1), kernels, groups=batch).reshape(batch, -1)


class Returning(nn.Module):
    def __init__(self, kind: Callable[[list[tuple[str, Tensor]]], Any]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, images: Tensor) -> Any:
        return self.kind([("logits", images.flatten(1))])


class Failing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise ValueError("\x1b[31mred\x1b[0m\nsecond line")


class Images(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Branching(),
            r"branches on the values of a tensor, at test_export_errors.py:\d+: return images.flatten",
        ),
        (Factorising(), r"Factorising: torch could not export .*no operator for aten.linalg_qr"),
        (
            Groups(),
            r"Groups: torch could not export .*aten.conv2d.default cannot be written as ONNX.*that ONNX has",
        ),
        (
            Constant(),
            r"does not run on images \[1, 1, 8, 8\] \(shape '\[2, 64\]' is invalid.*return images.resh",
        ),
        (Images(), r"logits: has the shape .* must map images \[batch, C, H, W\] to logits"),
        (Returning(dict), "Returning: its forward returns dict, not one tensor of floats"),
        (Returning(list), "Returning: its forward returns list, not one tensor of floats"),
        (Returning(lambda pairs: torch.zeros(3).int()), "its forward returns torch.int32"),
        (nn.Sequential(nn.Conv2d(3, 5, 8), nn.Flatten()), r"to have 3 channels, but got 1 channels instead"),
        (Failing(), r"Failing: the model does not run .*red, at test_export_errors.py:\d+: raise ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_failed_export_names_the_cause_and_leaves_no_file(
    model: nn.Module, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match=message) as raised:
        export_onnx(model, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert len(str(raised.value)) < 400
    assert str(raised.value).isprintable()
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_diverged_weights_are_refused(value: float, tmp_path: Path) -> None:
    net = trained(plain())
    net[-1].bias.data[0] = value
    with pytest.raises(ExportError, match="NaN or infinite logit means that training diverged"):
        export_onnx(net, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [1e-2, 1e-4])
def test_a_wrong_file_is_refused(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last logit is wrong by a share of the largest: far beyond the tolerance, or slightly."""
    original = export.translate

    def wrong_last_class(model: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
        wrong = copy.deepcopy(model)
        wrong[-1].bias.data[-1] += share * model(random_images(2, shape)).abs().max().item()
        return original(wrong, shape)

    net = trained(plain())
    net[-1].weight.data[-1] = 0  # the last logit is its bias, so nearly zero: no relative tolerance
    net[-1].bias.data[-1] = 1e-9
    (tmp_path / "model.onnx").write_text("the last good one")
    monkeypatch.setattr(export, "translate", wrong_last_class)
    with pytest.raises(ExportError, match="onnxruntime and PyTorch differ by"):
        export_onnx(net, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert (tmp_path / "model.onnx").read_text() == "the last good one"
    assert len(list(tmp_path.iterdir())) == 1
