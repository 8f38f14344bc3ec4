"""The options of a run, for every command that describes one. They are made from the fields of RunConfig."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from netslim.errors import ConfigError
from netslim_kfp.pipelines.config_file import load
from netslim_kfp.pipelines.run_config import OLD_NAMES, RunConfig
from netslim_kfp.pipelines.yaml_numbers import read_yaml

__all__ = [
    "LOCAL",
    "config_from",
    "gpus_option",
    "pairs",
    "parallel_option",
    "platform_options",
    "run_options",
]

LOCAL = frozenset({"runner", "output", "tracking_uri", "strict_tracking", "graphs", "deterministic"})
"""Options of a run on this machine; on a cluster the profiles and the cluster's settings decide these."""

PARALLEL = 4
"""Points of a sweep that run at a time on a cluster, if the user does not choose."""

FLAGS = {"model_args": "model-arg"}  # one argument per flag
LISTS = {"keep": "PATTERN", "layers": "PATTERN=SHARE"}
"""Options that may be repeated and that RunConfig itself reads, with what is written behind each."""
ENVIRONMENT = {"tracking_uri": "MLFLOW_TRACKING_URI"}


def run_options(
    *, leave_out: Collection[str] = (), hide: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: gives a click command `--config` and an option for every field of RunConfig.

    The values arrive as keyword arguments by the names of a config file, for `config_from`.

    Args:
        leave_out: options that the command does not have.
        hide: options that `--help` leaves out. They are read all the same, so that the command can say why
            it refuses them.
    """
    config = click.option(
        "--config",
        type=click.Path(dir_okay=False),
        help="YAML file of these options; the command line wins over it.",
    )
    fields = {field.alias or name: field for name, field in RunConfig.model_fields.items()}
    options = [
        config,
        *(_option(name, field, hide=name in hide) for name, field in fields.items() if name not in leave_out),
    ]
    options += [_option(old, fields[new], hide=True) for old, new in OLD_NAMES.items() if old != "lam"]
    return _decorator(options)


def platform_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click command with the options for what steps get from a cluster."""
    return _decorator(PLATFORM_OPTIONS)(command)


def config_from(options: Mapping[str, Any]) -> RunConfig:
    """The config of a command's keyword arguments: a given option wins over the config file.

    Raises:
        ConfigError: a value is wrong; see netslim_kfp.pipelines.config_file.load.
    """
    given = {
        name: pairs(name, value) if isinstance(value, tuple) and name not in LISTS else value
        for name, value in options.items()
        if name != "config" and value is not None and value != ()
    }
    return load(options.get("config"), given)


def pairs(option: str, values: tuple[str, ...]) -> dict[str, Any]:
    """`("epochs=20", "lr=0.1")` as a dict; values are read as YAML, so numbers are numbers.

    Raises:
        ConfigError: a text is not of the form NAME=VALUE, or a name is given twice.
    """
    result: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            remedy = "Write epochs=20"
            raise ConfigError("not of the form NAME=VALUE", field=option, value=text, remedy=remedy)
        if name in result:
            raise ConfigError(f"{name} is given twice", field=option, value=text, remedy="Give it once")
        try:
            result[name] = read_yaml(value)
        except ValueError as error:
            raise ConfigError(f"not a YAML value ({error})", field=option, value=text) from error
    return result


def _option(name: str, field: FieldInfo, *, hide: bool = False) -> Callable[[Any], Any]:
    """The click option of one field. Its default is None: what is not given is left to the config file."""
    flag = FLAGS.get(name, name.replace("_", "-"))
    kind = _without_none(field.annotation)
    settings: dict[str, Any] = {"default": None, "hidden": hide}
    declared = f"--{flag}"
    if name in LISTS:
        settings |= {"multiple": True, "metavar": LISTS[name]}
    elif kind is bool:
        declared += f"/--no-{flag}"
    elif get_origin(kind) is Literal:
        settings["type"] = click.Choice(get_args(kind))
    elif get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
        settings |= {"multiple": True, "metavar": "NAME=VALUE"}
    elif kind in (int, float):
        settings["type"] = kind
    elif kind is Path:
        settings["type"] = click.Path(file_okay=False)
    return click.option(declared, name, help=_help(field), envvar=ENVIRONMENT.get(name), **settings)


def _without_none(annotation: Any) -> Any:
    """The type X of `X` or `X | None`; text for any other union, which RunConfig itself reads."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else str


def _help(field: FieldInfo) -> str:
    default = field.get_default()
    plain = isinstance(default, str | int | float | Path) and default not in ("", 0)
    value = {True: "yes", False: "no"}[default] if isinstance(default, bool) else default
    return f"{field.description}  [default: {value}]" if plain else f"{field.description}"


def _decorator(options: list[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


gpus_option = _option("gpus", RunConfig.model_fields["gpus"])

parallel_option = click.option(
    "--parallel",
    type=click.IntRange(min=0),
    default=PARALLEL,
    show_default=True,
    help="Points of a sweep at a time; 0 for all at once.",
)

PLATFORM_OPTIONS = [
    click.option(
        "--profiles",
        type=click.Path(dir_okay=False),
        help="YAML file of resources for each kind of step: changes to pipelines/cluster/profiles.yaml.",
    ),
    click.option(
        "--nodes", type=click.IntRange(min=1), help="Nodes that train together, by a TrainJob.  [default: 1]"
    ),
    click.option(
        "--checkpoints", help="s3:// folder for checkpoints, from which a retried training continues."
    ),
]
