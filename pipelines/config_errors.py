"""One clear ConfigError for the first wrong value of a config that pydantic has checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from netslim.errors import ConfigError, did_you_mean
from netslim_kfp.pipelines.yaml_numbers import write_yaml

__all__ = ["config_error", "shown", "unknown_option"]

LONGEST = 80  # characters of a value in a message

PROBLEMS = {  # pydantic's error type: what is wrong, in our words; {} holds what pydantic compared with
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_unicode": "has characters that cannot be shown",
    "path_type": "must be a path, written as text",
    "dict_type": "must be a mapping of names to values",
    "tuple_type": "must be a list of texts",
    "literal_error": "unknown choice",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "invalid-json-value": "must be text, a number, true, false, null, or a list or mapping of these",
}


def config_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first problem of `error` with its field, its value and a remedy.

    Args:
        error: what pydantic found wrong in values for `model`.
        model: the config; the examples of its fields become remedies.
    """
    first = error.errors(include_url=False)[0]
    name, *inner = [str(part) for part in first["loc"]] or [""]
    name = name.rstrip("_")  # the field lambda_ is the option lambda
    if first["type"] == "extra_forbidden":
        return unknown_option(name, first["input"], options(model))
    bounds = {key: shown(_plain(value)) for key, value in first.get("ctx", {}).items()}
    problem = PROBLEMS.get(first["type"], first["msg"]).format(**bounds)
    if inner and inner[-1] == "[key]":
        problem = "has a name that is not text"
        inner = []
    # Behind the second part pydantic names types that it tried, which are of no use to a reader.
    field = ".".join([name, *inner[:1]])
    return ConfigError(problem, field=field, value=shown(first["input"]), remedy=_remedy(first, name, model))


def options(model: type[BaseModel]) -> list[str]:
    """The names of all options as a config file has them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def unknown_option(name: str, value: object, known: Iterable[str]) -> ConfigError:
    """The error for an option that does not exist; the remedy has the nearest one that does."""
    return ConfigError("unknown option", field=name, value=shown(value), remedy=did_you_mean(name, known))


def shown(value: object) -> str:
    """`value` as a config file would have it, cut where it is long."""
    text = " ".join(write_yaml(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _plain(value: Any) -> Any:
    """1 for 1.0: pydantic compares a float with a bound that is a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _remedy(first: Any, name: str, model: type[BaseModel]) -> str:
    if first["type"] == "bool_type":
        return "Write true or false, without quotes"
    (field,) = [field for key, field in model.model_fields.items() if (field.alias or key) == name]
    if first["type"] == "literal_error":
        choices = first["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"Choose one of {choices}"
    example = (field.examples or [field.default])[0]
    return f"Write for example {name}: {shown(example)}"
