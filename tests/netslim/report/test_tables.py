"""The table of a run at every width of a terminal, and how its numbers are written."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from netslim import report
from netslim.report.tables import scaled, significant
from netslim.results.run_results import RunResults
from tests.helpers.report_runs import NO_BASELINE, RUN, SWEEP


def test_the_table_fits_eighty_columns() -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(report.table(RUN))
    printed = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert printed[:5] == [
        "                                            error  error error    ms        ms",
        "pass     channels  params      FLOPs      trained pruned tuned   b=1      b=32",
        "baseline      400 288,170      4.76M         0.50         0.50  0.24       4.2",
        "1             200  28,817 10x   476k 10x     0.62   0.75  0.75  0.12 3.0x  2.1",
        "2             133   2,881 100x 47.6k 100x    0.75   0.75  1.00 0.080 4.5x  1.4",
    ]
    assert printed[-1] == "Done: 2 of 2 passes."


def printed(results: RunResults, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(report.table(results, width=width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_in_a_narrow_terminal_the_table_becomes_lines() -> None:
    """With 40 columns it had no error at all."""
    lines = printed(RUN, 40)
    start = lines.index("1")
    assert lines[start : start + 9] == [
        "1",
        "  channels      200",
        "  params        28,817 10x",
        "  FLOPs         476k 10x",
        "  error trained 0.62",
        "  error pruned  0.75",
        "  error tuned   0.75",
        "  ms b=1        0.12 3.0x",
        "  ms b=32       2.1 2.0x",
    ]
    assert lines[0] == "baseline"
    assert lines[-1] == "Done: 2 of 2 passes."
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("results", [RUN, SWEEP, NO_BASELINE], ids=["run", "sweep", "no baseline"])
@pytest.mark.parametrize("width", [10, 24, 40, 50, 55, 60, 66, 70, 80, 120, 200])
def test_every_width_shows_every_error(results: RunResults, width: int) -> None:
    text = "\n".join(printed(results, width))
    errors = [f"{row.errors.test:.2f}" for row in results.rows]
    assert all(error in text for error in errors)
    for heading in ("trained", "tuned"):
        assert heading in text.replace("-\n", "")


def test_no_results_are_no_table_at_any_width() -> None:
    for width in (10, 80):
        printed(RunResults(), width)


def test_the_table_of_a_sweep_and_of_a_run_without_a_baseline() -> None:
    lines = report.markdown(SWEEP).splitlines()
    assert lines[0] == (
        "| pass | channels | params | params fewer | FLOPs | FLOPs fewer | error trained | error pruned "
        "| error tuned | ms b=1 | ms b=1 fewer | ms b=32 | ms b=32 fewer | ONNX bytes |"
    )
    assert lines[3] == (
        "| percent 0.5 | 200 | 28,817 | 10x | 476k | 10x | 0.62 | 0.75 | 5.00 "
        "| 0.12 | 3.0x | 2.1 | 2.0x | 116k |"
    )
    # Compared with the network that pass 1 pruned: 2,881,700 parameters and 2 x 23,800,000 / 10 FLOPs.
    assert "| 2 | 133 | 2,881 | 100x | 47.6k | 100x |" in report.markdown(NO_BASELINE)
    assert report.markdown(RunResults()).startswith("|  |")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1000, "1.00k"),
            (8698, "8.70k"),
            (9994, "9.99k"),
            (9996, "10.0k"),
        ),
        *((51_500, "51.5k"), (99_960, "100k"), (999_400, "999k"), (999_600, "1.00M"), (20_035_018, "20.0M")),
        *((797_000_000, "797M"), (4.57e10, "45.7G"), (4.57e12, "4570G")),
    ],
)
def test_three_digits_and_a_unit(value: float, text: str) -> None:
    assert scaled(value) == text


@pytest.mark.parametrize(
    ("value", "two", "three"),
    [
        *((0.0352, "0.035", "0.0352"), (0.2, "0.20", "0.200"), (9.94, "9.9", "9.94"), (26.4, "26", "26.4")),
        *((99.6, "100", "99.6"), (748.4, "748", "748"), (999.6, "1000", "1000"), (12_345, "12345", "12345")),
    ],
)
def test_significant_digits_without_an_exponent(value: float, two: str, three: str) -> None:
    assert (significant(value), significant(value, 3)) == (two, three)
