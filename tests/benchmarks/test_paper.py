"""The paper's experiments with tiny settings: they run, continue from the cache, and print their results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.paper.datasets import find, held_out
from benchmarks.paper.result import page
from netslim.data import DatasetInfo, Split
from netslim.data.packed import write_info, write_split

ROOT = Path(__file__).parents[2]


def packed(folder: Path, name: str, shape: tuple[int, int, int]) -> None:
    """A packed dataset for the experiments. The bright row of an image is its class, for most images."""
    folder.mkdir(parents=True)
    random, sizes, sums = np.random.default_rng(0), {"train": 400, "test": 100}, {}
    for split, count in sizes.items():
        labels = np.arange(count) % 10
        images = random.integers(0, 60, (count, *shape), dtype=np.uint8)
        images[np.arange(count), 5 + 2 * labels] = 250
        labels = np.where(random.random(count) < 0.3, random.integers(0, 10, count), labels)
        sums[split] = write_split(folder, split, Split(images, labels))
    grey = (0.2,) * shape[2]
    about = {"name": name, "title": f"not {name}", "classes": tuple("0123456789"), "augment": "none"}
    size = {"image_size": shape[:2], "channels": shape[2], "mean": grey, "std": grey}
    write_info(folder, DatasetInfo(**about, **size, sizes=sizes, sha256=sums))


def paper(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folders = ["--data", work, "--work", work, "--output", work / "results"]
    command = [sys.executable, "-m", "benchmarks.paper", "--tiny", *map(str, folders), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def nets(work: Path) -> dict[str, dict]:
    """The facts of every network in the cache, by title and inputs."""
    stored = [json.loads(file.read_text()) for file in (work / "nets").glob("*/facts.json")]
    return {f"{facts['title']} {facts['made_of']}": facts for facts in stored}


def test_table3_runs_continues_and_shows_the_papers_numbers(tmp_path: Path) -> None:
    packed(tmp_path / "data" / "mnist", "mnist", (28, 28, 1))
    first = paper(tmp_path, "--only", "table3", "--seeds", "2")
    assert first.returncode == 0, first.stderr
    stored = json.loads((tmp_path / "results" / "table3.json").read_text())
    assert page(stored) in first.stdout
    for word in (
        "| baseline | 2 | 1.43 |",
        "| fine-tuned | 2 | 1.49 |",
        "84.4 | 84.4 |",
        "not mnist",
        "seeds: 2",
    ):
        assert word in first.stdout
    tuned = next(row for row in stored["tables"][0]["rows"] if row["name"] == "fine-tuned")
    errors = tuned["ours"]["test error, %"]
    assert f"{np.mean(errors):.2f} ± {np.std(errors, ddof=1):.2f}" in first.stdout

    made = nets(tmp_path)
    lost = next(file for file in (tmp_path / "nets").iterdir() if "seed 1: fine-tuned" in title(file))
    shutil.rmtree(lost)
    again = paper(tmp_path, "--only", "table3", "--seeds", "2")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count(": error ") == 1, "only the lost network is made again"
    remade = nets(tmp_path)
    assert {name: facts.get("error") for name, facts in remade.items()} == {
        name: facts.get("error") for name, facts in made.items()
    }


def title(net: Path) -> str:
    return str(json.loads((net / "facts.json").read_text())["title"])


def test_settings_are_chosen_without_the_test_set(tmp_path: Path) -> None:
    packed(tmp_path / "data" / "mnist", "mnist", (28, 28, 1))
    whole = find("mnist", tmp_path, tmp_path)
    choosing = held_out(whole, 60)
    train, test = (choosing.split(name).images for name in ("train", "test"))
    every = {image.tobytes() for image in whole.split("train").images}
    assert {image.tobytes() for image in train} | {image.tobytes() for image in test} == every
    assert (len(train), len(test)) == (340, 60)
    assert choosing.info.sha256 != whole.info.sha256


def test_a_figure_is_drawn_and_missing_data_is_reported(tmp_path: Path) -> None:
    packed(tmp_path / "data" / "cifar10", "cifar10", (32, 32, 3))
    done = paper(tmp_path, "--only", "figure6", "--only", "table3", "--seeds", "2")
    assert done.returncode == 1
    assert "table3 was not run: " in done.stderr
    assert (tmp_path / "results" / "figure6.png").read_bytes().startswith(b"\x89PNG")
    assert "| after epoch 1 | 2 |" in done.stdout


def test_full_and_tiny_contradict_each_other(tmp_path: Path) -> None:
    done = paper(tmp_path, "--full")
    assert done.returncode == 2
    assert "contradict" in done.stderr
