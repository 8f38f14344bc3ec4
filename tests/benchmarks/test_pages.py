"""The documentation's tables are those of the stored results, and each result can be measured again."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import statistics
from collections import Counter
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import demo_seeds, engine, pages

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
STORED = sorted(file.relative_to(RESULTS).with_suffix("").as_posix() for file in RESULTS.rglob("*.json"))
PAGES = pages.pages()


def result(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_what_the_stored_results_generate(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert pages.update(text) == text, "run: python -m benchmarks.pages"


def test_each_stored_result_is_on_exactly_one_page() -> None:
    blocks = [block["name"] for page in PAGES for block in pages.BLOCK.finditer(page.read_text("utf-8"))]
    assert Counter(blocks) == Counter([*STORED, "summary"])


def test_a_changed_result_changes_its_page_and_nothing_written_by_hand(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "measurements", tmp_path / "docs")
    shutil.copytree(RESULTS, tmp_path / "results")
    changed = result("train")
    changed["rows"][0]["auto x"] = 123.456
    (tmp_path / "results" / "train.json").write_text(json.dumps(changed))
    before = {page.name: page.read_text("utf-8") for page in pages.pages(tmp_path / "docs")}
    folders = ["--docs", str(tmp_path / "docs"), "--results", str(tmp_path / "results")]

    checked = CliRunner().invoke(pages.main, [*folders, "--check"])
    assert (checked.exit_code, checked.output) == (1, "out of date: training-speed.md\n")
    assert {page.name: page.read_text("utf-8") for page in pages.pages(tmp_path / "docs")} == before

    assert CliRunner().invoke(pages.main, folders).exit_code == 0
    after = {page.name: page.read_text("utf-8") for page in pages.pages(tmp_path / "docs")}
    cell = f"| {result('train')['rows'][0]['auto x']:.2f}x |"
    assert after == before | {
        "training-speed.md": before["training-speed.md"].replace(cell, "| 123.46x |", 1)
    }
    assert CliRunner().invoke(pages.main, [*folders, "--check"]).exit_code == 0


@pytest.mark.parametrize("name", STORED)
def test_the_command_of_a_stored_result_can_be_typed(name: str, tmp_path: Path) -> None:
    """Parsing the recorded options with the benchmark's own command line raises nothing."""
    python, flag, module, *arguments = shlex.split(result(name)["facts"]["command"].replace("<folder>", "."))
    assert (python, flag) == ("python", "-m")
    target = f"{module}.command" if module == "benchmarks.paper" else module
    command: click.Command = importlib.import_module(target).main
    command.make_context(module, arguments)


def test_the_totals_of_pruning_speed_follow_from_its_table() -> None:
    """Read back from the printed table, whose cells are rounded, instead of from the stored numbers."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in pages.generate("engine").splitlines()
        if line.startswith("| ")
    ][2:]
    both = [row for row in rows if row[3] != "-"]
    total = engine.totals(result("engine")["rows"])
    assert (total.models, total.ours, total.theirs, len(total.faster)) == (
        len(rows),
        sum(row[7] == "ok" for row in rows),
        sum(row[8] == "ok" for row in rows),
        len(both),
    )
    assert total.faster_median == pytest.approx(statistics.median(float(r[3][:-1]) for r in both), abs=0.06)
    ratios = [float(row[6]) / float(row[5]) for row in both]
    assert total.memory_median == pytest.approx(statistics.median(ratios), rel=0.05)


def test_the_demo_meets_its_goals_in_the_stored_result_and_misses_them_without_pruning() -> None:
    runs = result("demo_seeds")["runs"]
    assert all(demo_seeds.goals(runs).values())
    unpruned = [{**run, "passes": [{**each, "params": 1.0} for each in run["passes"]]} for run in runs]
    assert list(demo_seeds.goals(unpruned).values()) == [False, True, True, True]


def test_the_counted_factors_agree_with_the_stored_shares_and_with_what_was_pruned() -> None:
    counted = [each for each in result("compensation")["results"] if "histogram" in each]
    assert counted
    for each in counted:
        zero, *_ = each["histogram"]
        assert sum(each["histogram"]) == each["channels"]
        assert zero == pytest.approx(each["zero_share"] * each["channels"])
        assert sum(each["histogram"][:4]) == pytest.approx(each["near_zero_share"] * each["channels"])
        dead = next(row for row in each["rows"] if row["percent"] == "dead")
        assert dead["channels"] == each["channels"] - sum(each["histogram"][:3])  # at zero: below 1e-4
