"""How a run ended: by its own results, or by a step that failed or was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["FINISHED", "Ending", "Status"]

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a run. A run that ended by its own results needs no reason.

    Args:
        status: FINISHED; FAILED after a step's error; KILLED where a run was stopped from outside.
        step: the title of the step that ended it, such as `pass 1: fine-tune`; empty where it is not known.
        cause: in a word or two, such as `out of memory`, `time-out`, `canceled`; empty where it is not known.
        message: the step's own error message, or that of Kubernetes.
    """

    status: Status
    step: str = ""
    cause: str = ""
    message: str = ""

    @property
    def sentence(self) -> str:
        """`The run failed in pass 1: fine-tune (out of memory). OOMKilled`; empty for a finished run."""
        if self.status == "FINISHED":
            return ""
        what = "The run failed" if self.status == "FAILED" else "The run was stopped"
        where = f" in `{self.step}`" if self.step else ""
        why = f" ({self.cause})" if self.cause else ""
        return f"{what}{where}{why}. {self.message}".rstrip()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ending:
        return cls(**{name: data[name] for name in ("status", "step", "cause", "message")})


FINISHED = Ending(status="FINISHED")
