"""YAML as users write it: numbers of YAML 1.2, and no key twice."""

from __future__ import annotations

import math

import pytest

from netslim_kfp.pipelines.yaml_numbers import DuplicateKeyError, read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E3", -2000.0),
        ("+1.5e-1", 0.15),
        (".5e1", 5.0),
        ("1.", 1.0),
        ("160", 160),
        ("-7", -7),
        ("1_000", 1000),
        ("0", 0),
        ("0x1F", 31),
        ("3.5", 3.5),
        ("-.5", -0.5),
        ("0.50", 0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1:30", "1:30"),  # 90 in YAML 1.1
        ("1:30.5", "1:30.5"),
        ("010", "010"),  # 8 in YAML 1.1, and 10 for a reader
        ("08", "08"),
        ("0b11", "0b11"),
        ("1.2.3", "1.2.3"),
        ("yes", True),
        ("~", None),
        ("'1e-4'", "1e-4"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("2026-01-01e5", "2026-01-01e5"),
    ],
)
def test_a_number_is_a_number(text: str, value: object) -> None:
    found = read_yaml(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [("a: 1\nb: 2\na: 3\n", "a", 3), ("a:\n  b: 1\n  b: 1\n", "b", 3), ("{1: 2, 1: 3}", 1, 1)],
)
def test_a_key_that_occurs_twice_is_refused(text: str, key: object, line: int) -> None:
    with pytest.raises(DuplicateKeyError) as caught:
        read_yaml(text)
    assert (caught.value.key, caught.value.line) == (key, line)


@pytest.mark.parametrize(
    "text", ["a: [1,\n", "a: b: c", "when: 2026-13-01", "[" * 5000, "!!python/name:os.system x"]
)
def test_what_is_not_yaml_is_a_value_error_of_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        read_yaml(text)


def test_the_same_key_in_two_mappings_and_a_merged_key_are_right() -> None:
    assert read_yaml("a: &x {k: 1}\nb: {k: 2}\nc: {<<: *x, k: 3}\n") == {
        "a": {"k": 1},
        "b": {"k": 2},
        "c": {"k": 3},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), ("true", "'true'"), ("5", "'5'"), (None, "null"), ({"a": [1, 2.5]}, "{a: [1, 2.5]}")],
)
def test_a_value_on_one_line_is_read_back(value: object, text: str) -> None:
    assert write_yaml(value) == text
    assert read_yaml(text) == value


def test_what_yaml_has_no_form_for_is_shown_as_in_python() -> None:
    assert write_yaml(object).startswith("<class")
    assert write_yaml(math.nan) == ".nan"
