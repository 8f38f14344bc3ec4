"""Several processes against one with the same batches; BatchNorm over processes against torch's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from netslim import data
from netslim.errors import ConfigError, TrainingError
from netslim.training import distributed
from netslim.training.loaders.in_memory import InMemory
from netslim.training.recipe import Recipe
from netslim.training.train import train

# What is run in one process here and in several there. An odd batch size: the parts of a batch are unequal.
SCENARIOS: dict[str, dict[str, Any]] = {
    "l1": {"lambda_": 0.01},
    "proximal": {"lambda_": 0.01, "penalty": "proximal", "batch_size": 75},
    "three": {"lambda_": 0.01, "batch_size": 100},
    "select": {"select": "val", "lr": 0.4},
    "distill": {"distill": 0.5, "label_smoothing": 0.1, "batch_size": 75},
    "adversarial": {"adversarial": 1.0, "batch_size": 75},
}
SEED = 5


def network(seed: int, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)

    class Double(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.double()

    class Network(nn.Sequential):
        """In double precision, so that what rounding does cannot be taken for a mistake, nor hide one."""

        def __init__(self) -> None:
            super().__init__(
                Double(),
                nn.Conv2d(1, 6, 3, padding=1, bias=False),
                nn.BatchNorm2d(6),
                nn.ReLU(),
                nn.Conv2d(6, 6, 3, stride=2),
                nn.BatchNorm2d(6, momentum=None),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Flatten(),
                nn.Linear(54, 16),
                nn.BatchNorm1d(16, affine=False),
                nn.Linear(16, 10),
            )
            self.idle = nn.Parameter(torch.ones(3))  # takes no part, and stays as it is

    return Network().double()


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 100, "lr": 0.05, "threads": 1, "precision": "fp32"}
    return Recipe(**(settings | changes))


def run(name: str, dataset: data.PackedDataset, **places: Any) -> tuple[nn.Module, Any]:
    how = recipe(**SCENARIOS[name])
    model, teacher = network(0), network(1) if how.distill else None
    return model, train(model, dataset, how, seed=SEED, teacher=teacher, device="cpu", **places)


# One process imports torch, and forks into those that train together. They meet at a port of their own.
SERVER = """
import importlib.util, os, socket, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("cases", sys.argv[1])
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
cases.torch.set_num_threads(1)

def take_part(rank, count, names):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    with cases.distributed.process_group():
        for name in names.split(","):
            cases.case(name, Path(sys.argv[2]), Path(sys.argv[3]))

for group in sys.argv[4:]:
    count, names = group.split(":")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    children = []
    for rank in range(int(count)):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                take_part(rank, count, names)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit(1)
"""


def case(name: str, folder: Path, out: Path) -> None:
    """In each of several processes: one case, whose findings are left in `out`."""
    own = {"resumed": in_resumed, "agreement": in_agreement, "different": in_different, "norm": in_norm}
    if name in own:
        own[name](folder, out)
    else:
        in_scenario(name, folder, out)


def in_scenario(name: str, folder: Path, out: Path) -> None:
    """In each of several processes: train, and leave what came out."""
    from safetensors.torch import save_file

    model, result = run(name, data.open_dataset(folder), history_path=out / f"{name}.jsonl")
    rank = distributed.rank()
    save_file(dict(model.state_dict()), out / f"{name}-{rank}.safetensors")
    facts = {"error": result.error, "history": result.history, "lambda": result.lambda_}
    (out / f"{name}-{rank}.json").write_text(json.dumps(facts))


def in_resumed(folder: Path, out: Path) -> None:
    """Killed in the middle, resumed, and never killed; with dropout."""
    from safetensors.torch import save_file

    dataset = data.open_dataset(folder)

    class StopHereError(Exception):
        pass

    def attempt(model: nn.Module, kept: Path | None) -> Any:
        return train(
            model,
            dataset,
            recipe(lambda_=0.01, penalty="proximal"),
            seed=SEED,
            checkpoint_dir=kept,
            checkpoint_every=0,
            history_path=out / "resumed.jsonl",
            device="cpu",
        )

    unbroken, broken = network(0, 0.4), network(0, 0.4)
    expected = attempt(unbroken, None)
    seeds = []

    def blow(module: nn.Module, inputs: Any) -> None:
        seeds.append(torch.initial_seed())
        if len(seeds) > 5:
            (out / f"seeds-{distributed.rank()}.json").write_text(json.dumps(seeds))
            raise StopHereError

    broken.register_forward_pre_hook(blow)
    try:
        attempt(broken, out / "kept")
    except StopHereError:
        again = network(0, 0.4)
        result = attempt(again, out / "kept")
        rank = distributed.rank()
        save_file(dict(unbroken.state_dict()), out / f"unbroken-{rank}.safetensors")
        save_file(dict(again.state_dict()), out / f"resumed-{rank}.safetensors")
        (out / f"resumed-{rank}.json").write_text(
            json.dumps([result.resumed_at, result.history, expected.history])
        )


def in_agreement(folder: Path, out: Path) -> None:
    """What one process wishes at the second question, all hear at the third; and what each draws."""
    agreement, me = distributed.AsyncFlags(), distributed.rank()
    heard = [agreement.any(step == 1 and me == 1, False) for step in range(4)]
    heard.append(agreement.last())
    drawn = []
    for step in (3, 4, 3):
        distributed.seed_rank(SEED, step)
        drawn.append(float(torch.rand(1)))
    (out / f"drawn-{me}.json").write_text(json.dumps(drawn))
    (out / f"agreement-{me}.json").write_text(json.dumps([*heard, agreement.last()]))


def in_different(folder: Path, out: Path) -> None:
    """Processes that do not begin from the same, and a batch that has nothing for some."""
    said = []
    mine = 7 + distributed.rank()
    for refused in (
        lambda: distributed.assert_equal_on_all_ranks("checkpoint", mine),
        lambda: distributed.shard(1),
    ):
        try:
            refused()
        except (TrainingError, ConfigError) as error:
            said.append(str(error))
    distributed.assert_equal_on_all_ranks("checkpoint", 7)
    (out / f"different-{distributed.rank()}.json").write_text(json.dumps(said))


def in_norm(folder: Path, out: Path) -> None:
    """BatchNorm over three uneven parts of a batch, in double precision, against torch's over the whole."""
    from netslim.training.sync_batchnorm import synchronised

    torch.manual_seed(0)
    whole = torch.randn(11, 4, 3, 3, dtype=torch.double) * 3 + 100
    target = torch.randn_like(whole)
    mine = distributed.shard(11)
    worst = 0.0
    for settings in ({}, {"affine": False}, {"momentum": None}):
        theirs, ours = (nn.BatchNorm2d(4, dtype=torch.double, **settings) for _ in range(2))
        x, part = whole.clone().requires_grad_(), whole[mine].clone().requires_grad_()
        theirs(x)
        expected = theirs(x)
        (expected * target).sum().backward()
        with synchronised(ours):
            ours(part)
            found = ours(part)
            (found * target[mine]).sum().backward()
        pairs = [(found, expected[mine]), (part.grad, x.grad[mine])]
        pairs += [
            (distributed.all_reduce_sum(a.grad), b.grad)
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
        ]
        pairs += zip(ours.buffers(), theirs.buffers(), strict=True)
        worst = max(worst, *(float((a - b).detach().abs().max()) for a, b in pairs))
        assert "forward" not in vars(ours), "the module is as it was"
    (out / f"norm-{distributed.rank()}.json").write_text(json.dumps(worst))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> data.PackedDataset:
    folder = tmp_path_factory.mktemp("digits")
    data.prepare("digits", folder, validation=100)
    return data.open_dataset(folder)


@pytest.fixture(scope="module")
def together(dataset: data.PackedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found in most cases, and three in some."""
    out = tmp_path_factory.mktemp("together")
    two = ",".join([*(name for name in SCENARIOS if name != "three"), "resumed", "agreement"])
    groups = [f"2:{two}", "3:three,norm,different"]
    command = [sys.executable, "-c", SERVER, __file__, str(dataset.directory), str(out), *groups]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=180)
    return out


def weights(out: Path, name: str, rank: int) -> dict[str, Tensor]:
    return load_file(out / f"{name}-{rank}.safetensors")


@pytest.mark.parametrize("name", SCENARIOS)
def test_several_processes_come_to_what_one_comes_to(
    name: str, dataset: data.PackedDataset, together: Path, tmp_path: Path
) -> None:
    model, result = run(name, dataset, history_path=tmp_path / "history.jsonl")
    expected, found = model.state_dict(), weights(together, name, 0)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-5)
    facts = json.loads((together / f"{name}-0.json").read_text())
    assert facts["lambda"] == result.lambda_
    assert facts["error"] == pytest.approx(result.error, abs=0.6)  # three of the 500 images
    for ours, theirs in zip(facts["history"], result.history, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-3)
        assert ours["train/error"] == pytest.approx(theirs["train/error"], abs=0.3)
        assert ours["val/error"] == pytest.approx(theirs["val/error"], abs=2)
    lines = (together / f"{name}.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == facts["history"]  # written once, not by each


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_processes_hold_the_same_bits(name: str, together: Path) -> None:
    first, second = weights(together, name, 0), weights(together, name, 1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    facts = [json.loads((together / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
    assert facts[0]["error"] == facts[1]["error"]


def test_killed_and_resumed_together_equals_unbroken(together: Path) -> None:
    for rank in (0, 1):
        unbroken, resumed = weights(together, "unbroken", rank), weights(together, "resumed", rank)
        assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)
        at, history, expected = json.loads((together / f"resumed-{rank}.json").read_text())
        assert at == 5
        (row,), (theirs,) = history, expected
        assert row | {"ts": 0} == theirs | {"ts": 0}


def test_one_process_goes_on_from_what_two_have_kept(
    dataset: data.PackedDataset, together: Path, tmp_path: Path
) -> None:
    model, kept = network(0, 0.4), tmp_path / "kept"
    kept.mkdir()
    steps = len(dataset.split("train")) // 100
    for file in (together / "kept").iterdir():
        if file.name < f"step-{steps:09d}":  # not the one of the end
            (kept / file.name).write_bytes(file.read_bytes())
    how = recipe(lambda_=0.01, penalty="proximal")
    result = train(model, dataset, how, seed=SEED, checkpoint_dir=kept, device="cpu")
    assert result.resumed_at == steps - 1
    assert not result.refused
    (row,) = result.history
    (theirs,) = json.loads((together / "resumed-0.json").read_text())[1]
    assert row["train/loss"] == pytest.approx(theirs["train/loss"], rel=0.05)  # but for one step's dropout


def test_what_one_wishes_all_do_one_step_later(together: Path) -> None:
    no, yes = [False, False], [True, False]
    for rank in (0, 1):
        assert json.loads((together / f"agreement-{rank}.json").read_text()) == [no, no, yes, no, no, []]


def test_each_draws_its_own_dropout_and_draws_it_again_after_a_resume(together: Path) -> None:
    first, second = (json.loads((together / f"drawn-{rank}.json").read_text()) for rank in (0, 1))
    assert first[0] == first[2]
    assert second[0] == second[2]
    assert len({*first, *second}) == 4
    used = [json.loads((together / f"seeds-{rank}.json").read_text()) for rank in (0, 1)]
    assert len({*used[0], *used[1]}) == 12  # of six steps each


def test_a_single_process_is_heard_at_once() -> None:
    agreement = distributed.AsyncFlags()
    assert agreement.any(True, False) == (True, False)
    assert agreement.last() == ()
    assert (distributed.size(), distributed.rank(), distributed.shard(7)) == (1, 0, slice(0, 7))
    distributed.assert_equal_on_all_ranks("checkpoint", 3)


def test_what_does_not_fit_together_is_refused_by_all(together: Path) -> None:
    for rank in range(3):
        said = json.loads((together / f"different-{rank}.json").read_text())
        assert "checkpoint is not the same in all processes" in said[0]
        assert "batch_size = 1: too small for 3 processes" in said[1]


def test_batchnorm_over_three_uneven_parts_is_torchs_over_the_whole(together: Path) -> None:
    for rank in range(3):
        assert json.loads((together / f"norm-{rank}.json").read_text()) < 1e-9


def test_the_parts_of_a_batch_are_the_batch(
    dataset: data.PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = dataset.split("train")

    def first_batch() -> tuple[Tensor, Tensor]:
        return next(InMemory(split, dataset.info, batch_size=10, augment="pad4", seed=1).epoch(2, start=3))

    images, labels = first_batch()
    parts = []
    monkeypatch.setattr(distributed, "size", lambda: 4)
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(first_batch())
    assert [len(part[1]) for part in parts] == [2, 3, 2, 3]
    assert torch.equal(torch.cat([part[0] for part in parts]), images)
    assert torch.equal(torch.cat([part[1] for part in parts]), labels)
