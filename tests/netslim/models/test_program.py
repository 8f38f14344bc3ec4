"""The program of a slim network: PyTorch alone runs it, and what cannot be written is refused."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import netslim
from netslim import models
from netslim.pruning.groups import Policy
from tests.helpers.networks import NETWORKS


class Inputs(nn.Module):
    """Images, numbers of classes, a mask in a dict, a factor without a batch, and a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.classes = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Embedding(4, 8)
        self.pair, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(
        self, x: Tensor, label: Tensor, more: dict[str, Tensor], factor: Tensor, number: int
    ) -> dict[str, Any]:
        x = self.pair(self.norm(self.conv(x)).relu()) * more["mask"][:, None, None, None]
        means = x.mean((2, 3)) * factor + number
        return {"logits": self.last(means), "pair": [means + self.classes(label), None], "label": label + 1}


IMAGES = torch.rand(2, 3, 12, 12)
SEVERAL = (IMAGES, torch.tensor([3, 1]), {"mask": torch.tensor([True, False])}, torch.tensor(2.0), 3)
CIFAR: dict[str, Any] = {"num_classes": 5, "in_channels": 3, "image_size": (12, 12)}


def ours(name: str, depth: int) -> Callable[[], nn.Module]:
    return lambda: models.build(models.resolve(name, depth=depth, **CIFAR))


CASES: dict[str, tuple[Callable[[], nn.Module], Any, Policy]] = {
    "resnet": (ours("resnet164", 11), IMAGES, "auto"),
    "resnet with channel selection": (ours("resnet164", 20), IMAGES, "select"),
    "densenet": (ours("densenet40", 10), IMAGES, "auto"),
    "attention": (NETWORKS["attended"], IMAGES, "auto"),
    "dict": (NETWORKS["auxiliary"], IMAGES, "auto"),
    "several inputs": (Inputs, SEVERAL, "auto"),
}


def with_factors(model: nn.Module) -> nn.Module:
    """The network with scaling factors and statistics of its own."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(module, name).data.uniform_(0.1, 1)
    return model


def pruned(name: str) -> netslim.PruneResult:
    make, example, policy = CASES[name]
    torch.manual_seed(0)
    return netslim.prune(with_factors(make()), example, percent=0.4, policy=policy)


def arguments(name: str, batch: int) -> tuple[Any, ...]:
    """Other values than those with which the program was checked."""
    images = torch.rand(batch, 3, 12, 12, generator=torch.Generator().manual_seed(50 + batch))
    if name != "several inputs":
        return (images,)
    mask = {"mask": torch.arange(batch) % 3 > 0}
    return images, torch.arange(batch) % 4, mask, torch.tensor(-0.5), 3


def tensors(value: Any, name: str = "out") -> Iterator[tuple[str, Tensor]]:
    """The tensors in results, by their place."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(part, f"{name}.{key}")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases as folders, each with the network's own results for three batch sizes."""
    root = tmp_path_factory.mktemp("programs")
    for name, (_, example, _) in CASES.items():
        result = pruned(name)
        netslim.save(root / name, result.model, result.plan, example_input=example)
        with torch.no_grad():
            for batch in (1, 2, 5):
                given = dict(tensors(arguments(name, batch), "in"))
                results = dict(tensors(result.model.eval()(*arguments(name, batch))))
                save_file(given | results, root / name / f"results-{batch}.safetensors")
    return root


CHILD = """
import sys
sys.modules["netslim"] = None  # its import would fail
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file
root = Path(sys.argv[1])
for folder in root.iterdir():
    run = torch.export.load(folder / "program.pt2").module()
    for batch in (1, 2, 5):
        given = load_file(folder / f"results-{batch}.safetensors")
        inputs = [given["in.0"]]
        if "in.1" in given:
            inputs += [given["in.1"], {"mask": given["in.2.mask"]}, given["in.3"], 3]
        def found(value, name="out"):
            if isinstance(value, torch.Tensor):
                return {name: value}
            parts = value.items() if isinstance(value, dict) else enumerate(value or ())
            return {k: v for key, part in parts for k, v in found(part, f"{name}.{key}").items()}
        with torch.no_grad():
            save_file(found(run(*inputs)), folder / f"found-{batch}.safetensors")
assert not [name for name in sys.modules if name.startswith(("netslim.", "tests"))]
"""


def test_another_process_without_netslim_and_the_classes_gets_the_same_results(
    saved: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", CHILD, str(saved)], check=True, cwd=tmp_path)
    compared = 0
    for name in CASES:
        for batch in (1, 2, 5):
            expected = load_file(saved / name / f"results-{batch}.safetensors")
            found = load_file(saved / name / f"found-{batch}.safetensors")
            assert found.keys() == {key for key in expected if key.startswith("out")}
            for key, value in found.items():
                torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)
                compared += 1
    assert compared == 3 * (4 + 1 + 3)  # one result for each network, three of the one with several inputs


def test_the_selection_is_in_the_program(saved: Path) -> None:
    """The case would prove nothing if no layer selected channels."""
    with zipfile.ZipFile(saved / "resnet with channel selection" / "program.pt2") as file:
        graph = next(file.read(name) for name in file.namelist() if name.endswith("models/model.json"))
    assert b"aten.index_select" in graph


@pytest.mark.parametrize("name", CASES)
def test_no_entry_of_the_file_is_a_pickle(saved: Path, name: str) -> None:
    """Each entry is JSON, a short text, empty, or the raw numbers of a tensor whose size JSON states."""
    sizes: dict[str, int] = {}
    with zipfile.ZipFile(saved / name / "program.pt2") as file:
        entries = {entry.partition("/")[2]: file.read(entry) for entry in file.namelist()}
    for folder in ("weights", "constants"):
        for stored in json.loads(entries[f"data/{folder}/model_{folder}_config.json"])["config"].values():
            assert stored["use_pickle"] is False
            sizes[f"data/{folder}/{stored['path_name']}"] = 0
    assert entries.pop("data/sample_inputs/model.pt") == b""
    for entry, content in entries.items():
        assert not content.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
        if entry in sizes:
            continue
        if entry.endswith(".json"):
            json.loads(content)
        else:
            assert entry in {"archive_format", "archive_version", "byteorder"} | {
                ".data/version",
                ".data/serialization_id",
            }
            assert len(content) <= 40
            content.decode("ascii")
    total = sum(len(content) for entry, content in entries.items() if entry in sizes)
    state = pruned(name).model.state_dict().values()
    assert total >= sum(tensor.numel() * tensor.element_size() for tensor in state)


def test_the_file_is_read_without_pickle(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    for case in CASES:
        torch.export.load(saved / case / "program.pt2")


@pytest.mark.parametrize("name", CASES)
def test_the_file_names_no_path_of_this_machine(saved: Path, name: str) -> None:
    content = b""
    with zipfile.ZipFile(saved / name / "program.pt2") as file:
        for entry in file.namelist():
            content += entry.encode() + file.read(entry)
    for part in (str(Path(netslim.__file__).parent), str(Path(__file__).parent), sys.prefix, ".py", "line "):
        assert part.encode() not in content


def test_it_has_gradients_but_no_train_mode(saved: Path) -> None:
    run = torch.export.load(saved / "resnet" / "program.pt2").module()
    before = {name: buffer.clone() for name, buffer in run.named_buffers()}
    run(IMAGES + 5).sum().backward()
    assert all(parameter.grad is not None for parameter in run.parameters())
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in run.named_buffers())
    with pytest.raises(NotImplementedError):
        run.train()


def test_the_image_size_is_fixed(saved: Path) -> None:
    run = torch.export.load(saved / "resnet" / "program.pt2").module()
    with pytest.raises(RuntimeError, match=r"shape\[2\] to be equal to 12, but got 16"):
        run(torch.rand(2, 3, 16, 16))


def test_wrapped_networks_in_train_mode_are_saved_and_not_changed(tmp_path: Path) -> None:
    slim = pruned("dict").model.train()
    slim.get_submodule("stem.1").eval()
    calls: list[nn.Module] = []
    slim.register_forward_hook(lambda module, *_: calls.append(module))
    modes = [module.training for module in slim.modules()]
    before = {name: value.clone() for name, value in slim.state_dict().items()}
    wrapped = torch.compile(nn.DataParallel(slim))
    netslim.save(tmp_path / "slim", wrapped, pruned("dict").plan, example_input=IMAGES)  # type: ignore[arg-type]
    assert modes == [module.training for module in slim.modules()]
    assert all(torch.equal(value, before[name]) for name, value in slim.state_dict().items())
    assert not calls
    run = torch.export.load(tmp_path / "slim" / "program.pt2").module()
    found = run(IMAGES)
    assert found.keys() == {"out"}  # no auxiliary head: the program is that of eval mode
    torch.testing.assert_close(found["out"], slim.eval()(IMAGES)["out"])


def test_an_example_of_one_image_without_data_is_enough(tmp_path: Path) -> None:
    result = pruned("resnet")
    example = torch.empty(1, 3, 12, 12, device="meta")
    netslim.save(tmp_path / "slim", result.model, result.plan, example_input=example)
    run = torch.export.load(tmp_path / "slim" / "program.pt2").module()
    torch.testing.assert_close(run(IMAGES), result.model.eval()(IMAGES))


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = Path(__file__).parents[3] / "docs" / "guide.md"
    blocks = guide.read_text(encoding="utf-8").split("```")
    code = next(block for block in blocks if block.startswith("python") and "netslim.save(" in block)
    torch.manual_seed(0)
    names: dict[str, Any] = {"netslim": netslim, "example_input": IMAGES, "MyNet": NETWORKS["dense"]}
    names["result"] = netslim.prune(with_factors(names["MyNet"]()), IMAGES)
    monkeypatch.chdir(tmp_path)
    exec(code.removeprefix("python"), names)
    expected = names["result"].model.eval()(IMAGES)
    torch.testing.assert_close(names["slim"](IMAGES), expected)
    torch.testing.assert_close(names["program"](IMAGES), expected)
