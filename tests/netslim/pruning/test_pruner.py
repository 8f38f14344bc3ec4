"""`netslim.prune` apart from exactness: the state of the slim model, the removed number, report, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim import models
from netslim.errors import ConfigError, ModelError
from netslim.pruning.options import PruningOptions
from tests.helpers.networks import Chain
from tests.helpers.proof import outputs, prove, settled

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def network(kind: type[nn.Module] = Chain) -> nn.Module:
    torch.manual_seed(0)
    return settled(kind(), IMAGES.double()).float()


@pytest.mark.parametrize("training", [True, False])
def test_type_memory_format_and_mode_stay(training: bool) -> None:
    model = network().to(torch.bfloat16).to(memory_format=torch.channels_last).train(training)
    model.b[2].eval()
    model.a[0].weight.requires_grad_(False)
    slim = netslim.prune(model, IMAGES.bfloat16(), percent=0.5).model
    assert {p.dtype for p in slim.parameters()} == {torch.bfloat16}
    assert [m.training for m in slim.modules()] == [m.training for m in model.modules()]
    assert [p.requires_grad for p in slim.parameters()] == [p.requires_grad for p in model.parameters()]
    assert slim.b[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not slim.b[0].weight.is_contiguous()


def test_a_model_without_data_gives_one_without_data() -> None:
    """On the meta device only what the ranking needs is there: the factors."""
    model = network()
    real = netslim.prune(model, IMAGES, percent=0.5)
    slim = netslim.apply_plan(copy.deepcopy(model).to("meta"), real.plan)
    assert {p.device.type for p in slim.parameters()} == {"meta"}
    assert [p.shape for p in slim.parameters()] == [p.shape for p in real.model.parameters()]


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "DataParallel": nn.DataParallel,
    "OptimizedModule": lambda model: torch.compile(model, backend="eager"),
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped_models_are_unwrapped_with_a_note(name: str) -> None:
    model = network()
    wrapped = WRAPPERS[name](model)
    result = netslim.prune(wrapped, IMAGES, percent=0.5)
    assert type(result.model) is Chain
    kind = type(wrapped).__name__
    assert [
        note for note in result.report.notes if f"given inside {kind}; the slim model has no wrapper" in note
    ]
    assert result.plan == netslim.prune(model, IMAGES, percent=0.5).plan


def test_hooks_do_not_run_and_are_not_copied_with_a_note() -> None:
    model, seen = network(), []
    handle = model.b.register_forward_hook(lambda *_: seen.append("b"))
    model.c[0].register_forward_pre_hook(lambda *_: seen.append("c"))
    result = netslim.prune(model, IMAGES, percent=0.5)
    assert seen == []
    assert "the model has 2 hooks; the slim one has none: register them again" in result.report.notes
    outputs(result.model, IMAGES)
    assert seen == []
    outputs(model, IMAGES)
    assert seen == ["b", "c"]
    handle.remove()


def vgg() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = models.build(models.resolve("vgg11-small", num_classes=10, in_channels=3, image_size=(32, 32)))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight)
    return model, torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize(
    ("measure", "share"), [("flops", 0.5), ("macs", 0.3), ("params", 0.6), ("flops", 0.9)]
)
def test_a_budget_is_met_within_a_hundredth(measure: str, share: float) -> None:
    model, images = vgg()
    result = netslim.prune(model, images, target={measure: share})
    if measure == "params":
        before, after = (sum(p.numel() for p in m.parameters()) for m in (model, result.model))
    else:
        before, after = (getattr(netslim.count(m, images), measure) for m in (model, result.model))
    assert 0.99 * share <= after / before <= 1.01 * share
    assert result.report.asked == f"{measure}={share:g}: at most {share * before:,.0f} of {before:,}"
    assert result.report.reached.startswith(f"{measure}={after / before:.4g}: {after:,}")


def test_a_budget_out_of_reach_is_refused_with_the_nearest() -> None:
    model, images = vgg()
    with pytest.raises(ConfigError, match=r"target = params=2000: cannot be met .* (nearest|least that)"):
        netslim.prune(model, images, target="params=2000")


def test_half_of_the_factors_are_removed_by_default_and_the_report_begins_with_it() -> None:
    model = network()
    result = netslim.prune(model, IMAGES)

    def factors(network: nn.Module) -> int:
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        return sum(norm.num_features for norm in norms)

    total = factors(model)
    removed = total - factors(result.model)
    assert removed == total // 2
    assert str(result.report).splitlines()[:2] == [
        f"asked: 50 % of {total} scaling factors over all layers: {removed}",
        f"reached: {removed / total:.1%}: {removed} scaling factors",
    ]
    assert result.report.limits == ()
    assert result.plan == netslim.prune(model, IMAGES, PruningOptions()).plan


def test_a_limit_that_changes_the_number_is_in_the_report() -> None:
    report = netslim.prune(network(), IMAGES, percent=0.7, max_layer_percent=0.5).report
    total = sum(row.before for row in report.rows)
    removed = sum(row.before - row.after for row in report.rows)
    assert removed < int(0.7 * total)
    assert report.reached == f"{removed / total:.1%}: {removed} scaling factors"
    (limit,) = report.limits
    assert limit.startswith("cap: loses at most 0.5 (")
    assert f"limit: {limit}" in str(report)


def test_the_dead_are_counted_in_the_report() -> None:
    model = network()
    model.b[1].weight.data[:3] = 0
    report = netslim.prune(model, IMAGES, percent="dead").report
    total = sum(row.before for row in report.rows)
    assert report.asked == f"all factors at zero, |gamma| < 0.0001: 3 of {total}"


def test_a_preview_is_the_report_without_the_notes_on_compensation() -> None:
    model = network()
    report = netslim.prune(model, IMAGES, percent=0.5, min_channels=3).report
    preview = netslim.preview(model, IMAGES, percent=0.5, min_channels=3)
    assert (preview.summary, preview.rows) == (report.summary, report.rows)
    assert netslim.preflight is netslim.preview


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percent": 0.5, "target": {"flops": 0.5}}, "percent, target: only one of the two is allowed"),
        ({"target": {"time": 0.5}}, "time"),
        ({"percent": 0.5, "policy": "best"}, "policy = best"),
    ],
)
def test_wrong_options_are_refused_by_name_and_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        netslim.prune(network(), IMAGES, **options)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_module_is_refused() -> None:
    with pytest.raises(ModelError, match="TorchScript module, which cannot be pruned"):
        netslim.prune(torch.jit.trace(network().eval(), IMAGES), IMAGES, percent=0.5)


def test_a_model_with_nan_is_refused() -> None:
    model = network()
    model.b[1].weight.data[3] = torch.nan
    with pytest.raises(ModelError, match=r"b\.1"):
        netslim.prune(model, IMAGES, percent=0.5)


class Tabled(Chain):
    """Holds a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64).view(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.table)


def test_a_tensor_that_is_a_plain_attribute_is_copied() -> None:
    torch.manual_seed(0)
    model: Any = settled(Tabled(), IMAGES.double())
    result = prove(model, IMAGES.double(), percent=0.5)
    slim: Any = result.model
    assert torch.equal(slim.table, model.table)
    assert slim.table.data_ptr() != model.table.data_ptr()
