"""An exported file computes what PyTorch computes, and contains its metadata and nothing of this machine."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from netslim.errors import ExportError
from netslim.onnx_export import export
from netslim.onnx_export.checks import relative_difference
from netslim.onnx_export.export import export_onnx
from netslim.onnx_export.translate import random_images

SHAPE = (1, 8, 8)
METADATA = {"netslim.classes": '["zero", "one"]', "netslim.pass": "1"}


class Residual(nn.Module):
    """Pre-activation: one BN after a channel selection, which cannot be folded, and one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.register_buffer("kept", torch.tensor([1, 3, 5]))
        self.before = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.after = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        stream = self.stem(images)
        branch = self.before(stream.index_select(1, self.kept)).relu()
        return self.head((stream + self.after(self.conv(branch))).relu().mean((2, 3)))


class Shared(nn.Module):
    """A convolution used twice and a product with a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.table = nn.Parameter(torch.randn(5, 64))

    def forward(self, images: Tensor) -> Tensor:
        twice = self.conv(self.conv(images).relu())
        return nn.functional.linear(twice.flatten(1), self.table)


def plain() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
        *(nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU()),
        *(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 9),
            nn.BatchNorm1d(9),
            nn.Dropout(),
            nn.Linear(9, 5),
        ),
    )


def trained(model: nn.Module) -> nn.Module:
    """Set statistics, factors and offsets to random values, as after training: none at its initial value."""
    generator = torch.Generator().manual_seed(3)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * 0.8 + 0.2)
    for parameter in model.parameters():
        parameter.data.mul_(torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1)
    return model


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        (plain, 6 * 9 + 6 * 9 + 6 * 9 + 9 * 5),
        (Residual, 8 * 9 + 8 * 3 * 9 + 8 * 5),
        (Shared, 9 + 9 + 5 * 64),
    ],
)
def test_any_batch_size_agrees_with_pytorch(model: type[nn.Module], weights: int, tmp_path: Path) -> None:
    net = trained(model()).eval()
    report = export_onnx(net, tmp_path / "model.onnx", example_shape=SHAPE, metadata=METADATA)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 3, 33):
        images = np.random.default_rng(11).standard_normal((batch, *SHAPE), np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"input": images})[0], expected, 1e-3, 1e-4)
    assert report.weights == weights
    assert report.params == sum(p.numel() for p in net.parameters())
    assert 0 < report.difference < 1e-5


def test_the_file_contains_its_metadata_and_no_path_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.onnx"
    report = export_onnx(trained(plain()), path, example_shape=SHAPE, metadata=METADATA)
    proto = onnx.load(path, load_external_data=False)
    assert [entry.version for entry in proto.opset_import if entry.domain == ""] == [18]
    dims = [dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", *SHAPE]
    assert {prop.key: prop.value for prop in proto.metadata_props} == METADATA
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in proto.graph.initializer)
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    content = path.read_bytes()
    assert len(content) == report.bytes
    for leak in (b"stack_trace", b".py", str(Path(__file__).parent).encode(), str(Path.cwd()).encode()):
        assert leak not in content


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    net = trained(plain())
    first = export_onnx(net, tmp_path / "a.onnx", example_shape=SHAPE, metadata=METADATA)
    second = export_onnx(copy.deepcopy(net), tmp_path / "b.onnx", example_shape=SHAPE, metadata=METADATA)
    assert first.sha256 == second.sha256


def test_the_model_is_not_changed_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    net = trained(plain()).train()
    before = copy.deepcopy(net.state_dict())
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        export_onnx(net, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


class Constant(nn.Module):
    """Works with the traced batch size only."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 64)


class Images(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Branching(), "Branching: torch could not export"),
        (Constant(), "Constant: torch could not export"),
        (Images(), r"logits: has the shape .* must map images \[batch, C, H, W\] to logits"),
        (nn.Sequential(nn.Flatten(), nn.Linear(65, 5)), "Sequential: torch could not export"),
    ],
)
def test_a_failed_export_leaves_no_file(model: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_onnx(model, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_diverged_weights_are_refused(poison: float, tmp_path: Path) -> None:
    net = trained(plain())
    net[-1].bias.data[0] = poison
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


def test_a_wider_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more hidden units with weights of zero change no logit, but the model does not have them."""
    original = export.translate

    def wider(model: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
        wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5))
        for ours, theirs in ((wide[1], model[1]), (wide[3], model[3])):
            ours.weight.data.zero_()
            ours.weight.data[: theirs.out_features, : theirs.in_features] = theirs.weight
            ours.bias.data[: theirs.out_features] = theirs.bias
        return original(wide.eval(), shape)

    net = trained(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 5)))
    monkeypatch.setattr(export, "translate", wider)
    with pytest.raises(ExportError, match=r"the file has 414 weights .* the model 276"):
        export_onnx(net, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert not list(tmp_path.iterdir())


def test_classes_with_equal_logits_may_swap() -> None:
    """Two logits that are equal within the tolerance may change their order, others may not."""
    ours = torch.tensor([[1.0, 1.0 - 1e-7, 0.0]])
    assert relative_difference(ours, ours[:, [1, 0, 2]], 1) < 1e-6
    with pytest.raises(ExportError, match="batch size 1"):
        relative_difference(torch.tensor([[1.0, 1.0 - 1e-4, 0.0]]), torch.tensor([[1.0, 1.0 + 1e-4, 0.0]]), 1)


def test_metadata_must_be_strings(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"netslim\.pass"):
        export_onnx(plain(), tmp_path / "m.onnx", example_shape=SHAPE, metadata={"netslim.pass": 1})  # type: ignore[dict-item]
