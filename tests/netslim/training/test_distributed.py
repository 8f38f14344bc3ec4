"""What processes exchange: shards, flags, seeds, and checks that they start from the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from netslim.errors import ConfigError, TrainingError
from netslim.training import distributed
from tests.helpers.ranks import run_in_ranks


def write(folder: Path, name: str, value: Any) -> None:
    (folder / f"{name}-{distributed.rank()}.json").write_text(json.dumps(value))


def read(folder: Path, name: str, rank: int) -> Any:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


def exchange_flags(folder: Path) -> None:
    """Rank 1 sets the first of two flags at its second call."""
    flags = distributed.AsyncFlags()
    results = [flags.any(step == 1 and distributed.rank() == 1, False) for step in range(4)]
    write(folder, "flags", [*results, flags.last(), flags.last()])


def draw_after_seeding(folder: Path) -> None:
    drawn = []
    for step in (3, 4, 3):
        distributed.seed_rank(5, step)
        drawn.append(float(torch.rand(1)))
    write(folder, "drawn", drawn)


def start_differently(folder: Path) -> None:
    """Values that differ between the ranks, and a batch without an image for some of them."""
    messages = []
    different = 7 + distributed.rank()
    for call in (
        lambda: distributed.assert_equal_on_all_ranks("checkpoint", different),
        lambda: distributed.shard(1),
    ):
        try:
            call()
        except (TrainingError, ConfigError) as error:
            messages.append(str(error))
    distributed.assert_equal_on_all_ranks("checkpoint", 7)
    write(folder, "messages", messages)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two processes, and of three."""
    folder = tmp_path_factory.mktemp("ranks")
    run_in_ranks(__file__, folder, "2=exchange_flags,draw_after_seeding", "3=start_differently")
    return folder


@pytest.mark.slow
def test_a_flag_of_one_process_is_returned_to_all_one_call_later(folder: Path) -> None:
    unset, first_set = [False, False], [True, False]
    for rank in (0, 1):
        assert read(folder, "flags", rank) == [unset, unset, first_set, unset, unset, []]


@pytest.mark.slow
def test_each_process_draws_other_numbers_and_the_same_again_for_a_step(folder: Path) -> None:
    first, second = (read(folder, "drawn", rank) for rank in (0, 1))
    assert first[0] == first[2]
    assert second[0] == second[2]
    assert len({*first, *second}) == 4


@pytest.mark.slow
def test_processes_that_start_differently_are_all_refused(folder: Path) -> None:
    for rank in range(3):
        unequal, too_small = read(folder, "messages", rank)
        assert "the checkpoint is not the same in all processes" in unequal
        assert "batch_size = 1: too small for 3 processes" in too_small


def test_a_single_process_gets_its_own_flags_at_once() -> None:
    flags = distributed.AsyncFlags()
    assert flags.any(True, False) == (True, False)
    assert flags.last() == ()
    assert (distributed.size(), distributed.rank(), distributed.shard(7)) == (1, 0, slice(0, 7))
    distributed.assert_equal_on_all_ranks("checkpoint", 3)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    for name, value in {"WORLD_SIZE": "3", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    expected = "process 3 on this machine has no GPU, because there are 2"
    with pytest.raises(ConfigError, match=expected), distributed.process_group():
        pass
    assert taken == []
