"""An error in another process is the same error: class, message, exit code, field, value and remedy."""

from __future__ import annotations

import copy
import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from netslim import errors
from netslim.errors import (
    ConfigError,
    DataError,
    NetslimError,
    PipelineError,
    did_you_mean,
    first_line,
    printable,
)

CLASSES = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]


def crossed(error: NetslimError) -> NetslimError:
    return NetslimError.from_json(json.loads(json.dumps(error.to_json())))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"field": "percent"},
        {"value": "2"},
        {"field": "percent", "value": 2, "remedy": "Give a share from 0 to 1"},
        {"field": "target", "value": {"flops": (1, 2)}, "remedy": "Did you mean params?"},
        {"field": "0 is a value", "value": 0},
        {"remedy": "It ends with a full stop inside 1.5"},
    ],
)
def test_an_error_crosses_a_process_unchanged(kind: type[NetslimError], fields: dict[str, object]) -> None:
    here = kind("must be below 1", **fields)  # type: ignore[arg-type]
    there = crossed(here)
    assert type(there) is kind
    assert (str(there), there.exit_code) == (str(here), here.exit_code)
    assert (there.problem, there.field, there.remedy) == (here.problem, here.field, here.remedy)
    assert str(crossed(there)) == str(here)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_is_copied_and_pickled_unchanged(kind: type[NetslimError], again: Any) -> None:
    here = kind("must be below 1", field="percent", value={"a": (lambda: 2)}, remedy="Give a share")
    for there in (again(here), again(again(here))):
        assert type(there) is kind
        assert str(there) == str(here)
        assert str(there).endswith("must be below 1. Give a share.")
        assert (there.problem, there.field, there.remedy) == (here.problem, here.field, here.remedy)


def fail() -> None:
    raise ConfigError("must be below 1", field="percent", value=2)


def test_an_error_leaves_a_process_of_a_pool_unchanged() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = pool.submit(fail).exception()
    assert type(error) is ConfigError
    assert str(error) == "percent = 2: must be below 1."


def test_a_full_stop_is_not_written_twice() -> None:
    assert str(DataError("no such file.", remedy="Give another.")) == "no such file. Give another."


def test_an_unknown_class_becomes_a_pipeline_error_with_the_same_message() -> None:
    class FailedError(PipelineError):
        pass

    here = FailedError("TrainJob x failed", remedy="Read the log of its nodes")
    there = crossed(here)
    assert type(there) is PipelineError
    assert str(there) == str(here)
    assert type(NetslimError.from_json({**here.to_json(), "kind": "did_you_mean"})) is PipelineError


def test_a_message_has_the_field_the_value_the_problem_and_the_remedy() -> None:
    assert str(ConfigError("too large", field="percent", value=2, remedy="Give 0.5")) == (
        "percent = 2: too large. Give 0.5."
    )
    assert str(DataError("no such file")) == "no such file."
    assert str(ConfigError("unknown", value="precent", remedy="Did you mean percent?")) == (
        "precent: unknown. Did you mean percent?"
    )


def test_exit_codes_are_different() -> None:
    codes = [kind.exit_code for kind in CLASSES]
    assert sorted(codes) == list(range(1, len(CLASSES) + 1))


def test_the_first_line_of_an_exception() -> None:
    assert first_line(ValueError("\n  one\ntwo")) == "one"
    assert first_line(ValueError("x" * 300)) == "x" * 200
    assert first_line(ValueError()) == "ValueError"
    assert first_line(" \n") == "no message"


def test_the_closest_known_name_is_suggested() -> None:
    known = ["percent", "passes", "policy"]
    assert did_you_mean("precent", known) == "Did you mean percent?"
    assert did_you_mean("passe", [*known, "passed"], at_most=2) == "Did you mean passes or passed?"
    assert did_you_mean("zzz", known) == "Choose one of percent, passes, policy"
    assert did_you_mean("zzz", known, otherwise="Read the guide") == "Read the guide"


def test_control_characters_are_shown_and_not_executed() -> None:
    """Colours, the bell, C1 codes, other directions and line breaks; names in any script stay as they are."""
    hostile = "a\x1b[31m\x07\x9b2J\u202eb\u2066\ud800\nc"
    assert printable(hostile) == r"a\x1b[31m\x07\x9b2J\u202eb\u2066\ud800\nc"
    assert printable("first\n\tsecond\r", lines=True) == "first\n\tsecond\\r"
    assert printable("Übung 猫 👨\u200d👩 naïve\u00a0x") == "Übung 猫 👨\u200d👩 naïve\u00a0x"
    assert "\x1b" not in str(DataError(hostile, field=hostile, value=hostile, remedy=hostile))
    assert first_line("\x1b[96mstep 1\x1b[0m \x1b]0;title\x07of 3\n2") == r"step 1 \x1b]0;title\x07of 3"
