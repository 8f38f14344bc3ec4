"""The calls of torch in one run of a network, to compare another run with it.

A network is traced in eval mode, and must be followed in train mode as well: its own code may read
`self.training` in any way. Mostly it makes the same calls, so the second run is compared with the first, call
by call, and takes the results of the first. That takes a tenth of the time of a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from netslim.dependency.symbolic_size import ChannelCount, plain

__all__ = ["AT_END", "CallLog", "OtherCall"]


LoggedCall = tuple[Any, tuple[Any, ...], dict[str, Any], Any, bool]
"""Function or layer, arguments, keyword arguments, result, and whether the mode may change the arguments that
are not tensors (as for dropout)."""

AT_END = object()
"""In place of a result: the first run made no further calls."""


class OtherCall(BaseException):
    """The second run made another call than the first. (Not an `Exception`: the model may catch those.)"""


@dataclass(eq=False)
class CallLog:
    """The calls of a run, in order.

    Attributes:
        calls: the calls of the first run.
        position: the call that the second run makes next.
        repeats: the second run takes results of the first; not any more behind its last call.
    """

    calls: list[LoggedCall] = field(default_factory=list)
    position: int = 0
    repeats: bool = False

    def add(self, call: LoggedCall) -> None:
        """Record a call. Lists are copied, because the model may extend them later."""
        func, args, kwargs, result, any_mode = call
        for value in args:
            if type(value) is list:
                args = tuple(list(item) if type(item) is list else item for item in args)
                call = func, args, kwargs, result, any_mode
                break
        self.calls.append(call)

    def next_result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the next call, which must be the same call; AT_END behind the last one.

        Raises:
            OtherCall: the first run made another call here.
        """
        position, self.position = self.position, self.position + 1
        if position >= len(self.calls):
            self.repeats = False
            return AT_END
        before, first_args, first_kwargs, result, any_mode = self.calls[position]
        if before is not func or len(args) != len(first_args):
            raise OtherCall
        for a, b in zip(args, first_args, strict=True):
            if a is not b and not _same(a, b, any_mode):
                raise OtherCall
        if (kwargs or first_kwargs) and not _same(kwargs, first_kwargs, any_mode):
            raise OtherCall
        return result


def _same(a: Any, b: Any, any_mode: bool) -> bool:
    """Whether two arguments are equal; tensors have to be the same object."""
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b):
        return any_mode and not isinstance(a, Tensor) and not isinstance(b, Tensor)
    if kind is tuple or kind is list:
        return len(a) == len(b) and all(_same(x, y, any_mode) for x, y in zip(a, b, strict=True))
    if kind is dict:
        return a.keys() == b.keys() and all(_same(a[key], b[key], any_mode) for key in a)
    if kind is slice:
        return _same((a.start, a.stop, a.step), (b.start, b.stop, b.step), any_mode)
    if isinstance(a, Tensor):
        return False
    if any_mode:
        return True
    if isinstance(a, ChannelCount):
        return plain(a) == plain(b) and np.array_equal(a.labels, b.labels)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y, any_mode) for x, y in zip(a, b, strict=True))
    return kind in _COMPARED and bool(a == b)


_COMPARED = {int, float, bool, str, complex}
