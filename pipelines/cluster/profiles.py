"""Resource profiles: what each kind of step gets on a cluster, from profiles.yaml and a user's file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netslim.errors import ConfigError, did_you_mean
from netslim_kfp.pipelines.yaml_numbers import read_yaml

__all__ = ["BACKOFF_FACTOR", "DEFAULTS", "PROFILE_OF_STEP", "TOLERATION", "Profile", "load", "seconds"]

DEFAULTS = Path(__file__).with_name("profiles.yaml")
PROFILE_OF_STEP = {
    "prepare_data": "data",
    "train_sparse": "train",
    "fine_tune": "train",
    "prune": "export",
    "export_onnx": "export",
    "evaluate": "evaluate",
    "finish": "finish",
}
PATTERNS = {
    "cpu": (r"\d+(\.\d+)?|[1-9]\d*m", 'Write "2" or "500m"'),
    "memory": (r"[1-9]\d*([KMGTPE]i?)?", "Write 8Gi"),
    "scratch": (r"[1-9]\d*([KMGTPE]i?)?", "Write 8Gi"),
    "shm": (r"([1-9]\d*([KMGTPE]i?)?)?", 'Write 2Gi, or "" for none'),
    "timeout": (r"[1-9]\d*[smhd]", "Write 90s, 30m, 4h or 2d"),
    "backoff": (r"[1-9]\d*[smhd]", "Write 90s, 30m, 4h or 2d"),
    "image_pull_policy": (r"Always|IfNotPresent|Never", "Write Always, IfNotPresent or Never"),
    "gpu_type": (r"[\w.-]+/[\w.-]+", "Write the resource's name, such as nvidia.com/gpu"),
    "dataset_path": (r"/.+", "Write an absolute path"),
    "checkpoints": (r"(s3://[^/].*)?", 'Write s3://bucket/folder, or "" for none'),
}
TOLERATION = {  # the keys of a pod's toleration, as kfp calls them
    "key": "key",
    "operator": "operator",
    "value": "value",
    "effect": "effect",
    "tolerationSeconds": "toleration_seconds",
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BACKOFF_FACTOR = 2  # each pause before a retry is this many times the one before
WAIT_FOR_NODE = "1d"  # of each try; the wait counts for the window, but not for the time-out of the pod
LONGEST_WINDOW = "3650d"  # the pauses of 40 retries would overflow the numbers of KFP and Argo


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The resources of one kind of step. profiles.yaml explains each field and holds its default.

    Raises:
        ConfigError: a value has the wrong type, or is not written as Kubernetes writes it.
    """

    cpu: str
    memory: str
    scratch: str
    shm: str
    gpus: int
    gpu_type: str
    nodes: int
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    timeout: str
    checkpoints: str
    retries: int
    backoff: str
    dataset_claim: str
    dataset_path: str
    image_pull_policy: str
    image_pull_secrets: list[str]
    labels: dict[str, str]
    config_map: str
    config_keys: list[str]
    secret: str
    secret_keys: list[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not SHAPES[str(field.type)][0](value):
                problem = f"must be {SHAPES[str(field.type)][1]}"
                raise ConfigError(problem, field=f"profiles, {field.name}", value=value)
            pattern, remedy = PATTERNS.get(field.name, ("", ""))
            if pattern and not re.fullmatch(pattern, value):
                raise ConfigError(
                    "not in the form that Kubernetes reads",
                    field=f"profiles, {field.name}",
                    value=value,
                    remedy=remedy,
                )
        if self.nodes < 1:
            raise ConfigError("must be at least 1", field="profiles, nodes", value=self.nodes)
        if self.nodes > 1 and not self.checkpoints:
            remedy = "Name an s3:// folder, through which nodes also get their data"
            raise ConfigError("needs checkpoints", field="profiles, nodes", value=self.nodes, remedy=remedy)

    @property
    def retry_window(self) -> int:
        """Seconds from the start of the first try to the moment when Argo kills the try that is running.

        All tries fit in it: (retries + 1) times the time-out and a wait for a node, and the growing pauses.
        """
        tries = (self.retries + 1) * (seconds(self.timeout) + seconds(WAIT_FOR_NODE))
        pauses: int = sum(seconds(self.backoff) * BACKOFF_FACTOR**retry for retry in range(self.retries))
        return min(tries + pauses, seconds(LONGEST_WINDOW))


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _names(value: Any) -> bool:
    return isinstance(value, list) and _texts(value)


def _labels(value: Any) -> bool:
    return isinstance(value, dict) and _texts(value) and _texts(value.values())


def _tolerations(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(i, dict) and i.keys() <= TOLERATION.keys() for i in value
    )


SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "text"),
    "int": (_count, "a whole number of at least 0"),
    "list[str]": (_names, "a list of names"),
    "dict[str, str]": (_labels, 'a mapping of text to text; put numbers, true and false in quotes ("1")'),
    "list[dict[str, Any]]": (_tolerations, f"a list of tolerations with {', '.join(TOLERATION)}"),
}


def load(path: str | Path | None = None, **trainings: Any) -> dict[str, Profile]:
    """The profile of each kind of step: the defaults, changed by a user's file.

    Args:
        path: a YAML file of sections with settings; None for the defaults.
        trainings: settings of the section `train` that win over the file; None for the file's value.

    Raises:
        ConfigError: the file cannot be read, has an unknown name, or holds a wrong value.
    """
    defaults, own = _read(DEFAULTS), _read(path) if path else {}
    _known(f"{path}", own, list(defaults))
    fields = [field.name for field in dataclasses.fields(Profile)]
    for section, values in own.items():
        _known(f"{path}, {section}", values, fields)
    profiles = {}
    for kind in defaults.keys() - {"all"}:
        values = {**defaults["all"], **defaults[kind], **own.get("all", {}), **own.get(kind, {})}
        if kind == "train":
            values |= {name: value for name, value in trainings.items() if value is not None}
        values["cpu"] = str(values["cpu"])  # YAML reads 4 as a number
        if kind != "train" and values["nodes"] != 1:
            remedy = "Write it below train:"
            raise ConfigError(
                "only trainings use several",
                field=f"{path}, {kind}, nodes",
                value=values["nodes"],
                remedy=remedy,
            )
        profiles[kind] = Profile(**values)
    return profiles


def seconds(text: str) -> int:
    """`90s`, `30m`, `4h` or `2d` in seconds."""
    return int(text[:-1]) * UNITS[text[-1]]


def _read(path: str | Path) -> dict[str, dict[str, Any]]:
    try:
        content = read_yaml(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", field="profiles", value=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"not valid YAML ({error})", field="profiles", value=str(path)) from error
    if not isinstance(content, dict) or not all(isinstance(part, dict) for part in content.values()):
        remedy = "Write `train:` and below it, indented, `memory: 32Gi`"
        raise ConfigError("must hold sections of settings", field="profiles", value=str(path), remedy=remedy)
    return content


def _known(where: str, found: Mapping[str, Any], known: list[str]) -> None:
    for name in found:
        if name not in known:
            remedy = did_you_mean(str(name), known)
            raise ConfigError("no such setting", field=where, value=str(name), remedy=remedy)
