"""Config files: a YAML file of options, with the options of the command line winning over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netslim.errors import ConfigError
from netslim_kfp.pipelines.config_errors import shown
from netslim_kfp.pipelines.run_config import OLD_NAMES, RunConfig
from netslim_kfp.pipelines.yaml_numbers import DuplicateKeyError, read_yaml

__all__ = ["load"]


def load(path: str | Path | None, options: Mapping[str, Any]) -> RunConfig:
    """The config of a file and of a command's options.

    Args:
        path: a YAML file of `option: value` lines, or None. A name may have hyphens or underscores.
        options: the values given on the command line, by the same names; they win over the file.

    Raises:
        ConfigError: the file cannot be read, an option is unknown or given twice, or a value is wrong.
    """
    values = _canonical(_read(path)) if path is not None else {}
    return RunConfig(**{**values, **_canonical(options)})


def _read(path: str | Path) -> dict[Any, Any]:
    try:
        values = read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", field="config", value=str(path)) from error
    except DuplicateKeyError as error:
        problem = f"is given twice in {path}, the second time in line {error.line}"
        raise ConfigError(problem, field=shown(error.key), remedy="Leave out one of the two") from error
    except ValueError as error:  # also where the text is not UTF-8
        raise ConfigError(f"not valid YAML ({error})", field="config", value=str(path)) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        remedy = "Write for example dataset: cifar10"
        raise ConfigError("must hold `option: value` lines", field="config", value=str(path), remedy=remedy)
    return values


def _canonical(values: Mapping[Any, Any]) -> dict[str, Any]:
    """`values` with the names that RunConfig has: underscores, and no name of an earlier version."""
    result: dict[str, Any] = {}
    spelling: dict[str, str] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            remedy = "Write for example dataset: cifar10"
            raise ConfigError("the name of an option must be text", field=shown(key), remedy=remedy)
        name = key.replace("-", "_")
        name = OLD_NAMES.get(name, name)
        if name in result:
            both = f"{spelling[name]} and {key} are the same option"
            raise ConfigError(both, field=name, value=shown(value), remedy="Give one of them")
        result[name], spelling[name] = value, key
    return result
