"""`netslim bench`: its options. What it measures is tested with the bundles."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from netslim.cli.bench import bench


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("seconds", value) for value in ("nan", "inf", "-inf", "0", "two")),
        *(("threads", value) for value in ("0", "1.5", "nan")),
    ],
)
def test_a_wrong_number_is_one_error_with_exit_code_2(option: str, value: str) -> None:
    result = CliRunner().invoke(bench, ["nowhere", f"--{option}", value])
    assert result.exit_code == 2
    assert f"Invalid value for '--{option}'" in result.output
