"""A network as data: the name of its factory and the arguments. `models.build` makes the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netslim.errors import ModelError

__all__ = ["Architecture"]


@dataclass(frozen=True)
class Architecture:
    """A network before training and before slimming.

    Args:
        factory: a name of ours ("vgg19"), "torchvision:<classifier>", or "package.module:callable".
        arguments: the factory's keyword arguments; JSON values only. Sequences become lists, so that an
            architecture equals what is read back from its JSON.

    Raises:
        ModelError: an argument cannot be written as JSON.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(dict(self.arguments), allow_nan=False))
        except (TypeError, ValueError) as error:
            remedy = "Use numbers, strings, booleans and lists: the architecture is stored as JSON"
            raise ModelError(f"not a JSON value ({error})", field="model arguments", remedy=remedy) from error
        object.__setattr__(self, "arguments", plain)

    def to_json(self) -> dict[str, Any]:
        return {"factory": self.factory, "arguments": dict(self.arguments)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Architecture:
        """The architecture that `to_json` wrote.

        Raises:
            ModelError: `value` does not hold one.
        """
        try:
            factory, arguments = value["factory"], value["arguments"]
        except (KeyError, TypeError) as error:
            raise ModelError("holds no factory and arguments", field="architecture", value=value) from error
        if not isinstance(factory, str) or not isinstance(arguments, Mapping):
            raise ModelError(
                "factory must be a string, arguments an object", field="architecture", value=value
            )
        return cls(factory, arguments)
