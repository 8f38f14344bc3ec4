"""An exported file computes what PyTorch computes, and contains its metadata and nothing of this machine."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from netslim.onnx_export.export import ExportReport, export_onnx
from netslim.onnx_export.graph import count_weights
from tests.helpers.exportable import SHAPE, plain, trained

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


class Hybrid(nn.Module):
    """Layers whose weights the file and PyTorch count in different ways, and a weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 4, stride=4), nn.BatchNorm2d(12), nn.ReLU())
        self.encoder = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
        self.gru = nn.GRU(12, 6, bidirectional=True, batch_first=True)
        self.mixed = nn.Parameter(torch.randn(12, 12))
        self.bilinear = nn.Bilinear(12, 12, 12)
        self.turned = nn.utils.parametrizations.orthogonal(nn.Linear(12, 12))
        self.centres = nn.Parameter(torch.randn(5, 12))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.encoder(self.stem(images).flatten(2).transpose(1, 2))
        tokens = tokens + self.gru(tokens)[0]
        vector = torch.einsum("bnc,cd->bd", tokens, self.mixed)
        vector = self.turned(vector + self.bilinear(vector, vector))
        normalise = nn.functional.normalize
        return 10 * nn.functional.linear(normalise(vector), normalise(self.centres))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, ExportReport]:
    torch.manual_seed(0)
    net = Hybrid().eval()
    file = tmp_path_factory.mktemp("hybrid") / "model.onnx"
    return file, net, export_onnx(net, file, example_shape=SHAPE, metadata={})


def logits(file: Path, images: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": images.numpy()})[0]


def test_equal_logits_are_the_proof_and_the_count_of_weights_is_a_note(
    hybrid: tuple[Path, nn.Module, ExportReport],
) -> None:
    file, net, report = hybrid
    images = torch.randn(4, *SHAPE)
    with torch.no_grad():
        np.testing.assert_allclose(logits(file, images), net(images).numpy(), 1e-3, 1e-3)
    assert re.match(rf"model.onnx has {report.weights:,} weights .*, PyTorch used [\d,]+: ", report.note)
    assert report.weights == count_weights(onnx.load(file))
    assert isinstance(net, Hybrid)
    assert nn.utils.parametrize.is_parametrized(net.turned, "weight"), "the copy alone has plain weights"


def test_other_tools_take_the_file(hybrid: tuple[Path, nn.Module, ExportReport], tmp_path: Path) -> None:
    """onnxruntime's dynamic quantization, and onnx's conversion to newer opsets."""
    file, images = hybrid[0], torch.randn(4, *SHAPE)
    quantize_dynamic(file, tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    assert np.isfinite(logits(tmp_path / "int8.onnx", images)).all()
    for opset in (19, 21):
        onnx.save(onnx.version_converter.convert_version(onnx.load(file), opset), tmp_path / "new.onnx")
        np.testing.assert_allclose(logits(tmp_path / "new.onnx", images), logits(file, images), 1e-4, 1e-4)


def test_a_plain_network_converts_to_an_older_opset(tmp_path: Path) -> None:
    """`noop_with_empty_axes` of a reduction would stay, and opset 17 does not have it."""
    net = trained(Residual()).eval()
    report = export_onnx(net, tmp_path / "model.onnx", example_shape=SHAPE, metadata={})
    assert report.note == ""
    proto = onnx.load(tmp_path / "model.onnx")
    assert not {tensor.name for tensor in proto.graph.initializer} & {v.name for v in proto.graph.value_info}
    onnx.save(onnx.version_converter.convert_version(proto, 17), tmp_path / "old.onnx")
    images = torch.randn(3, *SHAPE)
    found = logits(tmp_path / "old.onnx", images)
    np.testing.assert_allclose(found, logits(tmp_path / "model.onnx", images), 1e-4, 1e-4)


def test_metadata_must_be_strings(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"netslim\.pass"):
        export_onnx(plain(), tmp_path / "m.onnx", example_shape=SHAPE, metadata={"netslim.pass": 1})  # type: ignore[dict-item]
