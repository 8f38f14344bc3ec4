"""One exception class for each kind of user error, with the exit code of the process.

    NetslimError            1   anything below
    ├── ConfigError         2   an option or a config file holds a wrong value
    ├── DataError           3   a dataset is missing, truncated, corrupt or of the wrong shape
    ├── ModelError          4   a model is unknown, has no BatchNorm, or cannot be slimmed as asked
    ├── TrainingError       5   training diverged, or a checkpoint does not fit
    ├── TrackingError       6   the MLflow tracking server cannot be used
    ├── ExportError         7   the ONNX file does not compute what the PyTorch model computes
    ├── StorageError        8   a disk or an object store refused an operation
    ├── PipelineError       9   a pipeline step or a cluster operation failed
    └── BundleError        10   a bundle is incomplete, or its files contradict each other

The codes are API (docs/guide.md lists them). `assert` is kept for our own bugs.

A step runs in a process of its own. Its error crosses to the next process as the JSON of
`NetslimError.to_json`, and `NetslimError.from_json` makes the same exception there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

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
    "did_you_mean",
    "first_line",
    "printable",
]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOT_PRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class NetslimError(Exception):
    """A user error: the field, its value, the problem and its remedy. `str` gives all four in one line.

    Args:
        problem: what is wrong, as a sentence without its final full stop.
        field: the option, file or layer concerned, by the name that the user knows.
        value: the wrong value; shown with `repr` when it is not a string.
        remedy: what the user can do about it, as a sentence without its final full stop.
    """

    exit_code = 1

    def __init__(
        self, problem: str, *, field: str | None = None, value: object = None, remedy: str | None = None
    ) -> None:
        subject = field or ""
        if (shown := _shown(value)) is not None:
            subject = f"{subject} = {shown}" if subject else shown
        text = f"{subject}: {problem}" if subject else problem
        text = f"{_sentence(text)} {_sentence(remedy)}" if remedy else _sentence(text)
        super().__init__(printable(text, lines=True))
        self.problem, self.field, self.value, self.remedy = problem, field, value, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and `copy`: an exception is made again from its fields, not from its message."""
        fields = {"field": self.field, "value": _shown(self.value), "remedy": self.remedy}
        return _made_again, (type(self), self.problem, fields)

    def to_json(self) -> dict[str, str | None]:
        """The error as JSON data, for another process; the value becomes the text that the message shows."""
        return {
            "kind": type(self).__name__,
            "problem": self.problem,
            "field": self.field,
            "value": _shown(self.value),
            "remedy": self.remedy,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> NetslimError:
        """The error that `to_json` wrote: its class, its message and its exit code.

        A class that this version does not have becomes a PipelineError with the same message.
        """
        kind = _PUBLIC.get(data["kind"], PipelineError)
        return kind(data["problem"], field=data["field"], value=data["value"], remedy=data["remedy"])


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


_PUBLIC: dict[str, type[NetslimError]] = {"NetslimError": NetslimError}
_PUBLIC |= {kind.__name__: kind for kind in NetslimError.__subclasses__()}


def first_line(error: BaseException | str, *, limit: int = 200) -> str:
    """The first line of a message of another library, at most `limit` characters of it.

    An exception without a message gives the name of its class.
    """
    lines = _COLOUR.sub("", str(error)).strip().splitlines()
    if lines:
        return printable(lines[0][:limit])
    return type(error).__name__ if isinstance(error, BaseException) else "no message"


def printable(text: str, *, lines: bool = False) -> str:
    """The text with control characters as escapes, such as `\\x1b`, so that a terminal only shows them.

    Characters that change the direction of text and lone surrogates are escaped, too.

    Args:
        lines: line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        return character if character in kept else character.encode("unicode_escape").decode("ascii")

    return _NOT_PRINTABLE.sub(escaped, text)


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str | None = None, at_most: int = 1) -> str:
    """A remedy for a name that does not exist: the known names that are spelled most like it.

    Args:
        word: the name that the user gave.
        known: the names that exist.
        otherwise: the remedy when no known name is close; by default the list of all known names.
        at_most: how many names to suggest.
    """
    import difflib  # only where something is wrong: this module is imported everywhere

    names = list(known)
    if close := difflib.get_close_matches(word, names, n=at_most):
        return f"Did you mean {' or '.join(close)}?"
    return f"Choose one of {', '.join(names)}" if otherwise is None else otherwise


def _made_again(kind: type[NetslimError], problem: str, fields: Mapping[str, Any]) -> NetslimError:
    return kind(problem, **fields)


def _shown(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else repr(value)


def _sentence(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."  # another library's text may be a sentence
