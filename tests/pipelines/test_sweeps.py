"""`netslim sweep lambda` loops over texts, and a training reads each as the strength of its point."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from netslim.training import presets
from netslim_kfp.pipelines.cli import sweep


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [(1e-3, 0), (1e-4, 0), (1e-5, 0)]),
        (["--lambdas", "0.3e-4, 2"], [(3e-5, 0), (2, 0)]),
        (["--pulls", "1,2.5"], [(0, 1), (0, 2.5)]),
        (["--pulls", "1", "--sparse", "lam=0.5"], [(0, 1)]),
    ],
)
def test_every_point_has_its_own_strength_and_the_users_other_changes(
    monkeypatch: pytest.MonkeyPatch, options: list[str], expected: list[tuple[float, float]]
) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(sweep, "start", lambda pipeline, arguments, config: started.append(arguments))
    given = ["lambda", "--dataset", "cifar10", "--sparse", "epochs=7", *options]
    CliRunner().invoke(sweep.sweep, given, catch_exceptions=False)
    (arguments,) = started
    recipes = [
        presets.stage(arguments["preset"], "sparse", presets.with_strength(arguments["sparse"], text))
        for text in arguments["strengths"]
    ]
    assert [(recipe.lam, recipe.pull) for recipe in recipes] == expected
    assert {recipe.epochs for recipe in recipes} == {7}
