"""A model artifact that was altered, truncated or written by something else is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import netslim
from netslim.errors import ModelError
from netslim.models import artifact
from netslim.storage.atomic import sha256
from tests.helpers.small_models import SHAPES, trained


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
def test_other_content_as_weights_is_refused_even_with_their_checksum(saved: Path, content: bytes) -> None:
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
def test_another_description_is_refused(saved: Path, content: str, message: str) -> None:
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
