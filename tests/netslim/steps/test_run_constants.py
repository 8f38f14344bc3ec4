"""The params of a run in MLflow: the options of pruning as far as they are set."""

from __future__ import annotations

from typing import Any

from netslim.pruning.layer_report import Report
from netslim.pruning.options import PruningOptions
from netslim.results.measures import Size
from netslim.steps.run_constants import run_constants
from netslim.steps.step_metrics import PruneMetrics
from netslim.steps.step_record import StepRecord, StepRecords
from tests.helpers.infos import info


def constants(settings: dict[str, Any]) -> dict[str, str]:
    size = Size(channels=1, params=1, macs=1)
    metrics = PruneMetrics(
        settings=settings,
        recalibrated=False,
        error=0.0,
        threshold=0.0,
        before=size,
        after=size,
        plan_digest="",
        report=Report(),
    )
    return run_constants(info(), StepRecords(prune=StepRecord(metrics)))


def test_layers_and_keep_are_params_where_they_are_set() -> None:
    options = PruningOptions(percent=0.25, keep=["stem", "head.*"], layers={"b.*": 0.3, "a": 0})
    logged = constants(options.to_inputs())
    assert (logged["percent"], logged["keep"], logged["layers"]) == ("0.25", "stem, head.*", "b.*=0.3, a=0.0")
    assert (logged["prune/keep"], logged["prune/layers"]) == (logged["keep"], logged["layers"])
    plain = constants(PruningOptions().to_inputs())
    assert not {"keep", "layers", "prune/keep", "prune/layers", "target", "prune/target"} & set(plain)


def test_the_settings_of_an_earlier_version_are_logged_as_before() -> None:
    settings = PruningOptions(target="flops=0.5").to_inputs()
    del settings["keep"], settings["layers"]
    logged = constants(settings)
    assert logged["target"] == logged["prune/target"] == "{'flops': 0.5}"
    assert "keep" not in logged
