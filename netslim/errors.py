"""Every mistake a user can make, as one exception each, with the process's exit code.

    NetslimError            1   anything below
    ├── ConfigError         2   an option or a config file holds a wrong value
    ├── DataError           3   a dataset is missing, truncated, corrupt or of the wrong shape
    ├── ModelError          4   a model is unknown, has no BatchNorm, or cannot be slimmed as asked
    ├── TrainingError       5   training diverged, or a checkpoint does not fit
    ├── TrackingError       6   the MLflow tracking server cannot be used
    ├── ExportError         7   the ONNX file is not what the PyTorch model computes
    ├── StorageError        8   a disk or an object store refused
    ├── PipelineError       9   a step of the pipeline failed
    └── BundleError        10   a bundle is not whole, or not what it says it is

The codes are API (docs/guide.md lists them). `assert` is kept for our own bugs.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "ExportError",
    "ModelError",
    "NetslimError",
    "PipelineError",
    "StorageError",
    "TrackingError",
    "TrainingError",
]


class NetslimError(Exception):
    """One clear sentence: which field, which value, what is wrong, and what to do about it.

    Args:
        problem: what is wrong, as a sentence without its final full stop.
        field: the option, file or layer concerned, named as the user knows it.
        value: the offending value; shown with `repr` when it is not a string.
        remedy: what to do about it, as a sentence without its final full stop.
    """

    exit_code = 1

    def __init__(
        self, problem: str, *, field: str | None = None, value: object = None, remedy: str | None = None
    ) -> None:
        subject = field or ""
        if value is not None:
            shown = value if isinstance(value, str) else repr(value)
            subject = f"{subject} = {shown}" if subject else shown
        text = f"{subject}: {problem}" if subject else problem
        super().__init__(f"{text}. {remedy}." if remedy else f"{text}.")
        self.problem, self.field, self.value, self.remedy = problem, field, value, remedy


class ConfigError(NetslimError):
    exit_code = 2


class DataError(NetslimError):
    exit_code = 3


class ModelError(NetslimError):
    exit_code = 4


class TrainingError(NetslimError):
    exit_code = 5


class TrackingError(NetslimError):
    exit_code = 6


class ExportError(NetslimError):
    exit_code = 7


class StorageError(NetslimError):
    exit_code = 8


class PipelineError(NetslimError):
    exit_code = 9


class BundleError(NetslimError):
    exit_code = 10
