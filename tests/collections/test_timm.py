"""The proof on a public collection: a small network of every family of timm that has BatchNorm.

A family is a module of timm. The pruned network equals the masked one, and where fewer channels go than
were asked for, the report has the reason; or netslim refuses the network with the reason. The mask is made
by hand, in tests/helpers/masking.py. No weights are downloaded.

Each result is kept in build/collections.json, and docs/collections.md is written from all of them when
NETSLIM_COLLECTIONS_TABLE names it. So a part of the families can be run again: ARGS="-k resnet".
"""

from __future__ import annotations

import datetime
import json
import os
import re
import textwrap
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ModelError
from tests.collections.families import NETWORKS, WITHOUT_BATCHNORM
from tests.helpers.masking import masked_in_place, norms, outputs_by_image, randomise
from tests.helpers.proof import relative

pytestmark = pytest.mark.collections

LARGEST_DIFFERENCE = 1e-5  # as a share of the largest logit; double precision
SIDES = (64, 128)  # pixels; the network's own size where it does not run on these
STORED = Path(__file__).parents[2] / "build" / "collections.json"


@dataclass(frozen=True)
class Proof:
    """One line of docs/collections.md.

    Args:
        eval, train, wrong: differences from the masked network, and from one masked one channel off.
        reason: what kept the result from the request, or why the network is refused.
    """

    family: str
    network: str
    side: int
    factors: int
    removed: int
    params: float = 1.0
    eval: float = 0.0
    train: float = 0.0
    wrong: float = 0.0
    seconds: float = 0.0
    reason: str = ""

    @property
    def exact(self) -> bool:
        return self.removed > 0 and max(self.eval, self.train) < LARGEST_DIFFERENCE

    @property
    def cells(self) -> tuple[str, ...]:
        names = (self.family, self.network, str(self.side), f"{self.factors:,}")
        if not self.removed:
            return *names, "0", "", "", "", "", "", f"refused: {self.reason}"
        share = f"{self.removed:,} ({self.removed / self.factors:.0%})"
        differences = (f"{self.eval:.0e}", f"{self.train:.0e}", f"{self.wrong:.2f}")
        return *names, share, f"{self.params:.3f}", *differences, f"{self.seconds:.2f}", self.reason


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("family", NETWORKS)
def test_a_family_is_exact_or_the_report_has_the_reason(family: str) -> None:
    network = NETWORKS[family]
    model = build(network)
    images = runnable_images(model, network)
    no_zeros(model)
    randomise(model, images)
    wide = outputs_by_image(model.eval(), images)
    before = sum(norm.num_features for norm in norms(model).values())
    side = images.shape[-1]
    start = time.process_time()
    try:
        result = netslim.prune(model, images[:1], percent=0.5, compensate=False)
    except ModelError as error:
        store(Proof(family, network, side, before, 0, reason=str(error)))
        return
    seconds = time.process_time() - start
    slim, kept = result.model, result.plan.kept
    assert torch.equal(outputs_by_image(model, images), wide), "the model that was given has changed"
    removed = before - sum(norm.num_features for norm in norms(slim).values())
    assert removed == sum(norms(model)[path].num_features - len(left) for path, left in kept.items())
    limits = "; ".join((*result.report.limits, *result.report.held_back))
    assert limits or removed >= before // 2 - 64, "fewer channels than asked for, without a reason"
    with masked_in_place(model, kept, shift=1):
        wrong = relative(outputs_by_image(slim, images), outputs_by_image(model, images))
    with masked_in_place(model, kept):
        right = relative(outputs_by_image(slim, images), outputs_by_image(model, images))
        trained = relative(outputs_by_image(slim.train(), images), outputs_by_image(model.train(), images))
    params = result.after.params / result.before.params
    reason = limits if removed < 0.45 * before else ""
    store(Proof(family, network, side, before, removed, params, right, trained, wrong, seconds, reason))
    assert right < LARGEST_DIFFERENCE
    assert trained < LARGEST_DIFFERENCE
    assert wrong > 0.001, "the wrong channels would not show"


def test_the_list_of_families_is_complete() -> None:
    modules = {
        timm.models.model_entrypoint(name).__module__.rpartition(".")[2] for name in timm.list_models()
    }
    assert {family.partition("/")[0] for family in NETWORKS} | {*WITHOUT_BATCHNORM} == modules


@pytest.mark.parametrize("family", WITHOUT_BATCHNORM)
def test_the_other_families_have_no_batchnorm(family: str) -> None:
    network = min(timm.list_models(module=family), key=len)
    with torch.device("meta"):
        assert not norms(timm.create_model(network, pretrained=False))


def build(network: str) -> nn.Module:
    """In float64, with random weights, and without anything random in train mode."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = timm.create_model(network, pretrained=False, num_classes=10).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        for name in ("drop_prob", "drop_rate", "attn_drop_rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def runnable_images(model: nn.Module, network: str) -> Tensor:
    """Two images of the smallest size that the network takes."""
    channels, *own = timm.get_pretrained_cfg(network).input_size
    for side in (*SIDES, *own[:1]):
        images = torch.randn(2, channels, side, side, dtype=torch.float64)
        try:
            outputs_by_image(model.eval(), images)
            outputs_by_image(model.train(), images)
        except Exception:
            if side == own[0]:
                raise
        else:
            return images
    raise AssertionError


def no_zeros(model: nn.Module) -> None:
    """Some weights are 0 at first, which would hide a difference."""
    for parameter in model.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)


def store(proof: Proof) -> None:
    """Keep the result in build/collections.json."""
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}
    stored[proof.family] = asdict(proof)
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(json.dumps(stored, indent=1, sort_keys=True), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the page after the tests."""
    yield
    if path := os.environ.get("NETSLIM_COLLECTIONS_TABLE"):
        stored = json.loads(STORED.read_text(encoding="utf-8"))
        proofs = [Proof(**stored[family]) for family in NETWORKS if family in stored]
        Path(path).write_text(markdown(proofs), encoding="utf-8")


def markdown(proofs: list[Proof]) -> str:
    """docs/collections.md."""
    header = (
        *("family", "network", "pixels", "factors", "removed", "params", "eval", "train", "one off"),
        *("seconds", "reason"),
    )
    cells = [tuple(re.sub(r"[|<>\n]", " ", cell) for cell in proof.cells) for proof in proofs]
    lines = [header, ("---", "---", *["--:"] * (len(header) - 3), "---"), *cells]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    today = datetime.datetime.now(datetime.UTC).date()
    exact = sum(proof.exact for proof in proofs)
    refused = sum(not proof.removed for proof in proofs)
    missing = [family for family in NETWORKS if family not in {proof.family for proof in proofs}]
    unknown = f"Without a result: {', '.join(missing)}." if missing else ""
    versions = f"torch {torch.__version__}, timm {timm.__version__}, netslim {netslim.__version__}"
    about = f"""A small network of every family of timm that has BatchNorm (a family is a module of timm),
        with random factors and running statistics, half of the factors pruned, nothing compensated. `make
        test-collections` proves it and writes this page; last on {today} with {versions}. {exact} of
        {len(NETWORKS)} networks are pruned and equal the masked network, {refused} are refused with the
        reason. {len(WITHOUT_BATCHNORM)} more modules have no BatchNorm. {unknown}"""
    about = textwrap.fill(re.sub(r"\s+", " ", about), 110)
    return f"""# The proof on a public collection

{about}

- *factors*, *removed*: scaling factors before, and how many went. *params*: the share that is left.
- *eval*, *train*: the largest difference of a logit from the masked wide network, as a share of the largest
  logit, in eval and in train mode. Double precision; 1e-5 is allowed.
- *one off*: the same for a mask that is one channel off, to show that a wrong channel would be seen.
- *seconds*: CPU time of `netslim.prune`, with its counting before and after.
- *reason*: what kept the result from half of the factors, from the report; or why the network is refused.

{table}
"""
