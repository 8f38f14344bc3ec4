"""Which run `netslim show` shows without a key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from netslim import tracking
from netslim.cli.show import show
from netslim.errors import TrackingError
from netslim.results.ending import Ending
from netslim.results.run_results import RunResults

RecordTo = Callable[[str, str], None]


def record_pass(results: RunResults, experiment: str) -> None:
    baseline = RunResults(results.rows[:1], results.constants)
    assert tracking.log_pass(baseline, experiment=experiment)


def test_the_newest_run_with_a_pass_of_any_experiment_is_shown(
    database: str, record_to: RecordTo, results: RunResults, tmp_path: Path
) -> None:
    with pytest.raises(TrackingError, match=r"any experiment: no run has been recorded\. Run `netslim run`"):
        tracking.read_run(database)

    record_to(database, "no-pass")
    tracking.close_run(experiment="netslim/digits", ending=Ending(status="FAILED"), files={})
    assert tracking.read_run(database).key == "no-pass"  # none has a pass

    for key, experiment in (("first", "netslim/digits"), ("second", "netslim/cifar10")):
        record_to(database, key)
        record_pass(results, experiment)
    record_to(database, "failed")  # started last, and failed before its first pass
    tracking.close_run(experiment="netslim/digits", ending=Ending(status="FAILED"), files={})

    run = tracking.read_run(database)
    assert (run.key, run.experiment, run.results.rows) == ("second", "netslim/cifar10", results.rows[:1])
    assert tracking.read_run(database, "netslim/digits").key == "first"
    assert tracking.read_run(database, key="first").experiment == "netslim/digits"
    assert tracking.read_run(database, key="failed").status == "FAILED"

    for options, heading in (
        ([], "Run second in netslim/cifar10, started "),
        (["--dataset", "digits"], "Run first in netslim/digits, started "),
        (["failed"], "Run failed in netslim/digits, started "),
    ):
        shown = CliRunner().invoke(show, [*options, "--output", str(tmp_path)], catch_exceptions=False)
        assert shown.output.startswith(heading), options


def test_a_run_that_continues_while_a_newer_one_starts(
    database: str, record_to: RecordTo, results: RunResults
) -> None:
    """The start of the run counts, not that of its passes."""
    for key in ("older", "newer"):
        record_to(database, key)
        record_pass(results, "netslim/digits")
    record_to(database, "older")
    assert tracking.log_pass(results, experiment="netslim/digits")
    assert tracking.read_run(database).key == "newer"
