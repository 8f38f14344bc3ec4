"""Why a model cannot be exported, to ONNX or as a program: the reason and the line of code, in a sentence."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from netslim.errors import first_line

__all__ = ["reason"]

_STDLIB = Path(sysconfig.get_paths()["stdlib"])
_OTHERS = (Path(torch.__file__).parent, Path(__file__).parents[1])
_NODE = re.compile(r"Error when translating node .*?target=torch\.ops\.([\w.]+)\]")
_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_ONE_SIZE = ("tracing inferred a static shape", "your code specialized it to be a constant")


def reason(error: BaseException) -> str:
    """The first cause of `error`, which is at the end of a chain of exceptions, in one sentence."""
    chain = list(_causes(error))
    for cause in reversed(chain):
        if type(cause).__name__ == "GuardOnDataDependentSymNode":
            return f"its forward branches on the values of a tensor{_place(cause)}"
        if operator := _OPERATOR.search(str(cause)):
            return f"ONNX has no operator for {operator[1]}"
        if node := _NODE.search(str(cause)):
            return f"{node[1]} cannot be written as ONNX: {first_line(chain[-1])}"
        if any(text in str(cause) for text in _ONE_SIZE):
            return "its forward works for one batch size only, for example because of len(x), a constant here"
        if "Not all values of batch" in str(cause):
            return "its forward does something else for some batch sizes"
    return f"{first_line(chain[-1])}{_place(chain[-1])}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it, the first cause last."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        yield error
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            return
        error = cause


def _place(error: BaseException) -> str:
    """The innermost line in the traceback that belongs neither to torch nor to netslim nor to Python."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if not file.is_absolute() or any(file.is_relative_to(folder) for folder in _OTHERS):
            continue
        if file.is_relative_to(_STDLIB) and not {"site-packages", "dist-packages"} & set(file.parts):
            continue
        return f", at {file.name}:{frame.lineno}: {(frame.line or '').strip()[:80]}"
    return ""
