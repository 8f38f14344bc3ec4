"""The proof on real networks: pruned equals masked, for every torchvision classifier with BatchNorm.

The mask is made by hand, in tests/helpers/masking.py: gamma = beta = 0 on the channels that the plan removes.
With random factors and running statistics nothing cancels, so a wrong channel shows; a mask that is one
channel off proves that.

One network of each family, and the paper's, run always; the rest with `pytest -m zoo`. With
NETSLIM_ZOO_TABLE=docs/zoo.md the results of the run are written there.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pytest
import torch
import torchvision
from _pytest.mark import ParameterSet
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

import netslim
from netslim import models
from netslim.errors import ModelError
from netslim.models import torchvision_zoo
from netslim.onnx_export.export import export_onnx
from tests.helpers.masking import masked_in_place, norms, outputs_by_image, randomise
from tests.helpers.proof import relative

FAMILIES = (
    *("densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "vgg11_bn", "wide_resnet50_2"),
)
PAPER = ("vgg19", "resnet164", "densenet40")
REST = (
    *("densenet161", "densenet169", "densenet201", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3"),
    *("efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l"),
    *("efficientnet_v2_m", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "mobilenet_v3_large"),
    *("regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_800mf", "regnet_x_8gf"),
    *("regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf"),
    *("regnet_y_800mf", "regnet_y_8gf", "resnet101", "resnet152", "resnet34", "resnext101_32x8d"),
    *("resnext101_64x4d", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "vgg13_bn"),
    *("vgg16_bn", "vgg19_bn", "wide_resnet101_2"),
)
WITHOUT_BATCHNORM = (
    *("alexnet", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "squeezenet1_0"),
    *("squeezenet1_1", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t", "vgg11", "vgg13"),
    *("vgg16", "vgg19", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"),
)
SIDE = {"maxvit_t": 224, "inception_v3": 299} | dict.fromkeys(PAPER, 32)  # 64 pixels for the others
HEADS = {"googlenet": {"aux_logits": True}, "inception_v3": {"aux_logits": True}}
LARGEST_CHOICE = 64  # scaling factors that go together at most, in these networks


def build(name: str) -> nn.Module:
    side = SIDE.get(name, 64)
    if name in PAPER:
        return models.build(models.resolve(name, num_classes=10, in_channels=3, image_size=(side, side)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two builders announce a changed default
        size = {"input_size": (side, side)} if name == "maxvit_t" else {}
        return torchvision_zoo.build(name, num_classes=10, **size, **HEADS.get(name, {}))


def without_chance(model: nn.Module) -> None:
    """Nothing random in train mode, which would hide a difference."""
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth"):
            module.p = 0.0


def fvcore_macs(model: nn.Module, image: Tensor) -> int:
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    theirs = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return sum(theirs.by_operator()[kind] for kind in ("conv", "linear", "addmm"))


@dataclass(frozen=True)
class Proof:
    """One line of docs/zoo.md: differences from the masked network, and from one masked one channel off."""

    name: str
    policy: str
    before: netslim.Cost
    after: netslim.Cost
    eval: float
    train: float
    wrong: float
    seconds: float

    def cells(self) -> list[str]:
        before, after = self.before, self.after
        return [
            self.name,
            self.policy,
            f"{before.channels:,}",
            f"{before.channels - after.channels:,}",
            f"{after.params / before.params:.3f}",
            f"{after.macs / before.macs:.3f}",
            f"{self.eval:.0e}",
            f"{self.train:.0e}",
            f"{self.wrong:.2f}",
            f"{self.seconds:.2f}",
        ]


def prove(name: str, policy: str) -> Proof:
    """Prune half of the channels without compensation and hold the result against the masked network."""
    torch.manual_seed(0)
    model = build(name).double()
    images = torch.randn(2, 3, *[SIDE.get(name, 64)] * 2, dtype=torch.float64)
    without_chance(model)
    randomise(model, images)
    wide = outputs_by_image(model.eval(), images)

    start = time.process_time()
    result = netslim.prune(model, images[:1], percent=0.5, policy=policy, compensate=False)
    seconds = time.process_time() - start
    slim, before, after = result.model, result.before, result.after
    assert torch.equal(outputs_by_image(model, images), wide), "the model that was given has changed"

    factors = [sum(norm.num_features for norm in norms(each).values()) for each in (model, slim)]
    assert factors == [before.channels, after.channels]
    assert sum(p.numel() for p in slim.parameters()) == after.params
    assert fvcore_macs(slim, images[:1]) == after.macs
    short = before.channels // 2 - (before.channels - after.channels)
    assert 0 <= short < LARGEST_CHOICE, "exactly half, or one joint choice less than that"

    kept, logits = result.plan.kept, outputs_by_image(slim, images)
    with masked_in_place(model, kept, shift=1):
        wrong = relative(logits, outputs_by_image(model, images))
    with masked_in_place(model, kept):
        right = relative(logits, outputs_by_image(model, images))
        expected_in_train_mode = outputs_by_image(model.train(), images)
    assert right < 1e-5
    assert wrong > 0.01, "the wrong channels would not show"

    del model  # the largest network takes 5 GB, and another is needed now
    rebuilt = netslim.apply_plan(build(name).double(), result.plan)
    rebuilt.load_state_dict(slim.state_dict())
    assert torch.equal(outputs_by_image(rebuilt.eval(), images), logits)
    right_in_train_mode = relative(outputs_by_image(slim.train(), images), expected_in_train_mode)
    assert right_in_train_mode < 1e-5
    return Proof(name, policy, before, after, right, right_in_train_mode, wrong, seconds)


@pytest.fixture(scope="module")
def table() -> Iterator[list[Proof]]:
    """Collects the proofs of this run, and writes them to the file that NETSLIM_ZOO_TABLE names."""
    proofs: list[Proof] = []
    yield proofs
    path = os.environ.get("NETSLIM_ZOO_TABLE")
    if path:
        Path(path).write_text(markdown(sorted(proofs, key=lambda proof: proof.name)), encoding="utf-8")


@pytest.mark.parametrize("policy", ["group", "select"])
@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_networks(name: str, policy: str, table: list[Proof]) -> None:
    table.append(prove(name, policy))


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.zoo) for name in REST)])
def test_torchvision(name: str, table: list[Proof]) -> None:
    table.append(prove(name, "auto"))


QUICK_EXPORTS = ("mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5")


def exported(name: str) -> ParameterSet:
    return pytest.param(name, marks=() if name in QUICK_EXPORTS else pytest.mark.zoo)


@pytest.mark.parametrize("name", [exported(name) for name in (*FAMILIES, *PAPER)])
def test_onnx_of_a_pruned_network(name: str, tmp_path: Path) -> None:
    """Both policies' layers export; onnxruntime computes the same at every batch size."""
    torch.manual_seed(0)
    side = SIDE.get(name, 64)
    images = torch.randn(7, 3, side, side)
    model = build(name)
    without_chance(model)
    randomise(model, images[:2])
    slim = netslim.prune(model.eval(), images[:1], percent=0.5).model
    export_onnx(slim, tmp_path / "slim.onnx", example_shape=(3, side, side), metadata={})
    session = onnxruntime.InferenceSession(tmp_path / "slim.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        expected = outputs_by_image(slim, images[:batch])
        (found,) = session.run(None, {session.get_inputs()[0].name: images[:batch].numpy()})
        assert relative(torch.from_numpy(found), expected) < 1e-3
        assert (found.argmax(1) == expected.argmax(1).numpy()).all()


@pytest.mark.zoo
def test_the_lists_are_complete() -> None:
    """58 classifiers have BatchNorm and are proven above; the other 22 are refused with the reason."""
    assert len(FAMILIES + REST) == 58
    assert sorted(FAMILIES + REST + WITHOUT_BATCHNORM) == sorted(torchvision_zoo.names())
    for name in WITHOUT_BATCHNORM:
        with torch.device("meta"):
            model = torchvision.models.get_model(name)
        with pytest.raises(ModelError, match="BatchNorm"):
            netslim.prune(model, torch.zeros(1, 3, 224, 224))


def markdown(proofs: Sequence[Proof]) -> str:
    """docs/zoo.md."""
    header = [
        "network",
        "policy",
        "factors",
        "removed",
        "params",
        "MACs",
        "eval",
        "train",
        "one off",
        "seconds",
    ]
    rows = [header, ["---", "---", *["--:"] * (len(header) - 2)], *(proof.cells() for proof in proofs)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    versions = (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, netslim {netslim.__version__}"
    )
    today = datetime.datetime.now(datetime.UTC).date()
    return f"""# The proof on real networks

Every torchvision classifier with BatchNorm, and the paper's networks, with random factors and running
statistics, half of the factors pruned, nothing compensated. `make test-zoo` proves it and writes this page;
last on {today} with {versions}, {len(proofs)} proofs.

- *factors*, *removed*: scaling factors before, and how many went. *params*, *MACs*: the share that is left.
- *eval*, *train*: the largest difference of a logit from the masked wide network (gamma = beta = 0 on the
  removed channels), as a share of the largest logit; in train mode with batch statistics and auxiliary heads.
  Double precision; 1e-5 is allowed.
- *one off*: the same for a mask that is one channel off, to show that a wrong channel would be seen.
- *seconds*: CPU time of `netslim.prune`, with its counting before and after.

{table}
"""
