"""`netslim.prune` apart from exactness: the state of the slim model, the removed number, the report."""

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
from tests.helpers.networks import Chain, Dense, Grouped, PostActivation, PreActivation
from tests.helpers.proof import masked, outputs, prove, relative, settled

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


WRAPPERS = {
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


class Doubled(nn.Conv2d):
    """Somebody's own convolution, which computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.BatchNorm2d):
    """Somebody's own name for BatchNorm."""


def test_subclasses_are_followed_by_what_they_compute() -> None:
    model = network()
    own = Doubled(8, 10, 3, padding=1, bias=False)
    own.load_state_dict(model.b[0].state_dict())
    norm = Named(10)
    norm.load_state_dict(model.b[1].state_dict())
    model.b[0], model.b[1] = own, norm
    model = settled(model, IMAGES.double())
    result = netslim.prune(model, IMAGES.double(), percent=0.5, compensate=False)
    assert type(result.model.b[0]) is Doubled
    assert type(result.model.b[1]) is Named
    truth = outputs(masked(model, result.plan.kept), IMAGES.double())
    assert relative(outputs(result.model, IMAGES.double()), truth) < 1e-11


class Odd(nn.Module):
    """One convolution whose channels are used in a way that depends on `use`."""

    def __init__(self, use: Callable[[Odd, Tensor], Tensor]) -> None:
        super().__init__()
        self.use = use
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.last, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.use(self, self.norm(self.first(x)))
        return self.head(self.last(self.second(x)).relu().mean((2, 3)))


ODD: dict[str, Callable[[Odd, Tensor], Tensor]] = {
    "one by number": lambda model, x: x + x[:, 2:3] * 2,
    "their count": lambda model, x: x * (x.shape[1] / 8),
    "their order": lambda model, x: x.sort(dim=1).values,
    "their largest": lambda model, x: x - x.amax(1, keepdim=True),
    "their spectrum": lambda model, x: torch.fft.fft(x, dim=1).real,
}


@pytest.mark.parametrize("name", ODD)
def test_an_operation_without_a_rule_gets_all_its_channels(name: str) -> None:
    """Removed channels come back as zeros before it; convolution and BatchNorm are narrower all the same."""
    torch.manual_seed(0)
    model = settled(Odd(ODD[name]), IMAGES.double())
    result = prove(model, IMAGES.double(), percent=0.5, control=name != "their order")
    assert result.model.second.in_channels == 8
    assert result.model.first.out_channels == len(result.plan.kept["norm"]) < 8


def test_what_must_stay_is_frozen_and_the_report_says_where() -> None:
    """Here the factors themselves are read; without them the code would compute something else."""
    torch.manual_seed(0)
    use: Callable[[Odd, Tensor], Tensor] = lambda model, x: x * model.norm.weight.sum()  # noqa: E731
    result = prove(settled(Odd(use), IMAGES.double()), IMAGES.double(), percent=0.3)
    assert result.plan.kept.keys() == {"last"}
    (row,) = (row for row in result.report.rows if row.layer == "norm")
    assert row.before == row.after == 8
    assert row.why == f"frozen: sum at test_pruner.py:{use.__code__.co_firstlineno}"


class Tied(nn.Module):
    """Two BatchNorms that have some of their vectors in common."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.a, self.one = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.b, self.two = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.c, self.last, self.head = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 5)
        for name in names:
            setattr(self.two, name, getattr(self.one, name))

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.b(self.one(self.a(x)).relu())).relu()
        return self.head(self.last(self.c(x)).relu().mean((2, 3)))


@pytest.mark.parametrize("names", [("weight",), ("bias",), ("weight", "bias")])
def test_batchnorms_that_share_a_vector_stay_whole(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    result = prove(settled(Tied(*names), IMAGES.double()), IMAGES.double(), percent=0.3)
    assert result.plan.kept.keys() == {"last"}
    assert not result.report.notes
    assert all("factors" in row.why for row in result.report.rows if row.layer != "last")


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


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    convs = [p for p in model.parameters() if p.dim() > 1]
    rest = [{"params": convs, "lr": 0.05}, {"params": [p for p in model.parameters() if p.dim() < 2]}]
    return [
        torch.optim.SGD(rest, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        torch.optim.AdamW(model.parameters(), lr=1e-3),
    ]


@pytest.mark.parametrize(
    ("kind", "which"),
    [(Chain, 0), (PostActivation, 1), (Dense, 0), (Grouped, 1), (lambda: PreActivation(True), 0)],
)
def test_an_optimizer_keeps_its_state(kind: Any, which: int) -> None:
    """Two networks are trained further: the slim one, and the wide one with its removed channels held at 0.

    If all momentum is sliced rightly, one more step changes both in the same way.
    """
    wide = network(kind).double().train()
    optimizer = optimizers(wide)[which]
    images, labels = IMAGES.double(), torch.tensor([0, 1, 2, 3])
    for _ in range(3):
        step(wide, optimizer, images, labels)
    result = netslim.prune(wide, images, percent=0.4, compensate=False, optimizer=optimizer)
    slim = result.optimizer
    assert slim is not None
    assert type(slim) is type(optimizer)
    assert [{k: v for k, v in g.items() if k != "params"} for g in slim.param_groups] == [
        {k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups
    ]
    held = {id(p) for g in slim.param_groups for p in g["params"]}
    assert held == {id(p) for p in result.model.parameters()}

    kept = result.plan.kept
    with torch.no_grad():
        for old, new in zip(
            wide.parameters(), masked(wide, kept).parameters(), strict=True
        ):  # in place: the optimizer knows these
            old.copy_(new)
    for path, indices in kept.items():
        norm = wide.get_submodule(path)
        gone = torch.ones(len(norm.weight), dtype=torch.bool)
        gone[list(indices)] = False
        for parameter in (norm.weight, norm.bias):
            parameter.register_hook(lambda gradient, gone=gone: gradient.masked_fill(gone, 0))
            for value in optimizer.state[parameter].values():
                if value.shape == parameter.shape:
                    value[gone] = 0
    step(wide, optimizer, images, labels)
    step(result.model, slim, images, labels)
    assert relative(outputs(result.model.eval(), images), outputs(wide.eval(), images)) < 1e-9


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def test_the_row_and_column_means_of_adafactor_are_sliced() -> None:
    wide = network(Grouped).train()
    optimizer = torch.optim.Adafactor(wide.parameters())
    step(wide, optimizer, IMAGES, torch.tensor([0, 1, 2, 3]))
    result = netslim.prune(wide, IMAGES, percent=0.5, optimizer=optimizer)
    assert result.optimizer is not None
    fresh = torch.optim.Adafactor(result.model.parameters())
    step(result.model, fresh, IMAGES, torch.tensor([0, 1, 2, 3]))
    for parameter, state in result.optimizer.state.items():
        assert {name: value.shape for name, value in state.items()} == {
            name: value.shape for name, value in fresh.state[parameter].items()
        }
    step(result.model, result.optimizer, IMAGES, torch.tensor([0, 1, 2, 3]))
    head, kept = "head.2.weight", result.plan.layers["head.2"].in_
    wide_state = optimizer.state[wide.get_parameter(head)]["col_var"]
    slim_state = netslim.prune(wide, IMAGES, percent=0.5, optimizer=optimizer).optimizer
    assert slim_state is not None
    assert kept is not None
    (found,) = [s["col_var"] for p, s in slim_state.state.items() if p.shape == (5, kept.index.size)]
    assert torch.equal(found, wide_state[:, kept.index])


def test_an_optimizer_whose_state_is_over_all_parameters_is_refused_at_once() -> None:
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = model(IMAGES).square().mean()
        value.backward()
        return value

    netslim.prune(model, IMAGES, optimizer=optimizer)  # it has no state yet
    optimizer.step(loss)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"the state '\w+' of LBFGS has another shape than its parameter"):
        netslim.prune(model, IMAGES, optimizer=optimizer)
    with pytest.raises(ModelError, match="it is a list, not an optimizer of torch"):
        netslim.prune(model, IMAGES, optimizer=[optimizer])  # type: ignore[arg-type]


def test_an_optimizer_of_another_model_is_refused() -> None:
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ModelError, match="optimizer: holds a parameter that is not the model's"):
        netslim.prune(network(), IMAGES, percent=0.5, optimizer=other)


class Tabled(Chain):
    """Holds a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64).view(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.table)


def test_a_tensor_that_is_a_plain_attribute_is_copied() -> None:
    torch.manual_seed(0)
    model = settled(Tabled(), IMAGES.double())
    result = prove(model, IMAGES.double(), percent=0.5)
    assert torch.equal(result.model.table, model.table)
    assert result.model.table.data_ptr() != model.table.data_ptr()
