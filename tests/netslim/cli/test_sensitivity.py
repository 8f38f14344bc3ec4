"""`netslim sensitivity`: the networks and datasets that it takes, the images that it uses, and its files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import netslim
from netslim import data, models
from netslim.cli.sensitivity import sensitivity
from netslim.cli.sensitivity_inputs import RECALIBRATE_ON, images_to_choose_by, recalibration_batches
from netslim.errors import ConfigError, DataError, ModelError, NetslimError
from netslim.models.artifact import save_model
from netslim.pruning.plan import Plan
from netslim_kfp.pipelines.config_file import load

VALIDATION = 60


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with validation images, and without the file of the test images."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    data.prepare("digits", folder, validation=VALIDATION)
    (folder / "test.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A network whose errors differ from layer to layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 10),
    )


@pytest.fixture(scope="module", autouse=True)
def importable(tmp_path_factory: pytest.TempPathFactory, network: nn.Module) -> Any:
    """The module `sensitivity_nets` with the network, as a user's factory."""
    from types import ModuleType

    module = ModuleType("sensitivity_nets")
    module.trained = lambda: network  # type: ignore[attr-defined]
    module.of_colours = lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    generator = torch.Generator().manual_seed(1)
    for norm in (network[1], network[4]):  # type: ignore[index]
        norm.weight.data = torch.rand(norm.weight.shape, generator=generator)
    yield
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, network: nn.Module, importable: None) -> Path:
    """The folder of the network, as a training step writes it."""
    folder = tmp_path_factory.mktemp("step") / "model"
    architecture = models.Architecture("sensitivity_nets:trained", {})
    save_model(folder, network, architecture, Plan.empty())
    return folder


ALLOWED = ("--allow-factory", "sensitivity_nets:trained")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(sensitivity, [str(argument) for argument in arguments])


def printed(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def error_by_hand(network: nn.Module, split: data.Split, info: data.DatasetInfo) -> float:
    images = torch.from_numpy(split.images[:]).float().permute(0, 3, 1, 2) / 255
    images = (images - info.mean[0]) / info.std[0]
    with torch.no_grad():
        wrong = network(images).argmax(1) != torch.from_numpy(split.labels)
    return 100.0 * int(wrong.sum()) / len(split)


def test_the_errors_are_those_of_the_validation_images(model: Path, digits: Path, network: nn.Module) -> None:
    found = printed(model, "--dataset", digits, *ALLOWED, "--shares", "0.75,0.25")
    packed = data.open_dataset(digits)
    expected = netslim.sensitivity(
        network,
        torch.zeros(1, 1, 8, 8),
        lambda pruned: error_by_hand(pruned, packed.split("val"), packed.info),
        batches=recalibration_batches(packed, torch.device("cpu")),
        shares=(0.25, 0.75),
    )
    assert found == {"images": f"{VALIDATION} validation images of {packed.info.title}", **expected.to_json()}
    assert len({error for row in found["rows"] for error in row["errors"]}) > 2, "the errors are all the same"


def test_every_way_to_name_the_network_and_the_dataset_leads_to_the_same_errors(
    model: Path, digits: Path, tmp_path: Path
) -> None:
    folder = printed(model, "--dataset", digits, *ALLOWED)
    factory = printed("sensitivity_nets:trained", "--dataset", digits)
    named = printed(model, "--dataset", "digits", "--validation", VALIDATION, *ALLOWED)
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "run.json").write_text("{}")
    artifacts = {"prepare data": {"dataset": "../data"}, "pass 1: train sparse": {"model": "../model"}}
    (run_folder / "artifacts.json").write_text(json.dumps(artifacts))
    (tmp_path / "data").symlink_to(digits)
    (tmp_path / "model").symlink_to(model)
    assert folder == factory == named == printed(run_folder, *ALLOWED)


def test_the_shares_are_written_for_the_config_of_a_run(model: Path, digits: Path, tmp_path: Path) -> None:
    file = tmp_path / "layers.yaml"
    found = printed(model, "--dataset", digits, *ALLOWED, "--output", file, "--max-increase", "20")
    layers = load(file, {}).layers
    assert layers == found["layers"]
    assert list(layers) == ["4", "1"], "the last pattern of tied layers counts"
    shown = run(
        model,
        "--dataset",
        digits,
        *ALLOWED,
        "--output",
        file,
        "--shares",
        "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    )
    assert (
        "layer  channels  -10 %  -20 %  -30 %  -40 %  -50 %  -60 %  -70 %  -80 %  -90 %  share"
        in shown.stdout
    )
    assert f"netslim run --config {file}" in shown.stdout
    assert "All shares together: error " in shown.stdout
    assert f"{VALIDATION} validation images of digits" in file.read_text().replace("\n# ", " ")


def test_the_errors_are_drawn(model: Path, digits: Path, tmp_path: Path) -> None:
    file = tmp_path / "errors.png"
    assert run(model, "--dataset", digits, *ALLOWED, "--plot", file).exception is None
    assert matplotlib.image.imread(file)[..., :3].std() > 0.02  # something is drawn


def test_training_images_are_drawn_in_proportion_where_none_are_held_out(tmp_path: Path) -> None:
    data.prepare("digits", tmp_path / "dataset")
    packed = data.open_dataset(tmp_path / "dataset")
    split, described = images_to_choose_by(packed, 100)
    assert described == f"100 training images of {packed.info.title}, which has no validation images"
    known = {image.tobytes() for image in packed.split("train").images}
    assert all(image.tobytes() in known for image in split.images)
    for digit in range(10):
        share = (packed.split("train").labels == digit).sum() / 10
        assert abs((split.labels == digit).sum() - share) < 1
    assert len(images_to_choose_by(packed, 5000)[0]) == 1000
    assert sum(len(batch) for batch in recalibration_batches(packed, torch.device("cpu"))) == RECALIBRATE_ON


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("MODEL", "--dataset", "DATA"), ModelError, "which is not allowed to run"),
        (("MODEL",), ConfigError, "dataset: must be given with such a model"),
        (("MODEL", "--dataset", "nothing"), ConfigError, "dataset = nothing: no such dataset"),
        (("MODEL", "--dataset", "EMPTY"), DataError, "has no dataset.json"),
        (("MODEL", "--dataset", "DATA", "--validation", "5"), ConfigError, "validation = 5: the dataset"),
        (("MODEL", "--dataset", "digits", "--image-size", "5"), ConfigError, "size = 5"),
        (("nowhere/model", "--dataset", "DATA"), ModelError, "model = nowhere/model: no such folder"),
        (("EMPTY", "--dataset", "DATA"), ModelError, "architecture.json"),
        (("vgg19", "--dataset", "DATA"), ModelError, "model = vgg19: has new weights"),
        (
            ("sensitivity_nets:of_colours", "--dataset", "DATA"),
            ModelError,
            "it cannot read images of 1 x 8 x 8",
        ),
        (
            ("sensitivity_nets:trained", "--dataset", "DATA", "--shares", "a"),
            ConfigError,
            "shares = a: not a list",
        ),
        (
            ("sensitivity_nets:trained", "--dataset", "DATA", "--shares", "2"),
            ConfigError,
            r"shares = 2\.0: each",
        ),
        (
            ("sensitivity_nets:trained", "--dataset", "DATA", "--max-increase", "nan"),
            ConfigError,
            "max_increase = nan",
        ),
        (("RUN",), ConfigError, "the run has no network of its first sparse training"),
    ],
)
def test_a_mistake_is_one_clear_error(
    model: Path,
    digits: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    kind: type[NetslimError],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    places = {"MODEL": model, "DATA": digits, "EMPTY": tmp_path / "empty", "RUN": tmp_path / "run"}
    result = run(*(places.get(argument, argument) for argument in arguments))
    with pytest.raises(kind, match=message):
        raise result.exception or AssertionError(result.output)


def test_without_torch_the_error_names_the_extra(model: Path, digits: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
sys.argv = ["netslim", "sensitivity", {str(model)!r}, "--dataset", {str(digits)!r}]
from netslim.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "netslim: netslim.sensitivity: needs torch. pip install 'netslim[torch]'.\n"
