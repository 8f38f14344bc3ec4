"""YAML as users write it: `1e-4` is a number, and a key that occurs twice is an error.

PyYAML follows YAML 1.1, where `1e-4` is text, `1:30` is 90 and `010` is 8, and keeps the last of several
equal keys without a warning. Here `1:30` and `010` are text, which is an error where a number is expected.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

__all__ = ["DuplicateKeyError", "read_yaml", "write_yaml"]

MERGE = "tag:yaml.org,2002:merge"  # `<<: *defaults`, whose keys may be overridden


class DuplicateKeyError(ValueError):
    """A mapping has the same key twice."""

    def __init__(self, key: object, line: int) -> None:
        super().__init__(f"the key {key} is given a second time in line {line}")
        self.key, self.line = key, line


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the floats of YAML 1.2, which refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True) if key_node.tag != MERGE else None
            if key_node.tag != MERGE and isinstance(key, Hashable):
                if key in seen:
                    raise DuplicateKeyError(key, key_node.start_mark.line + 1)
                seen.add(key)
        return super().construct_mapping(node, deep)


_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_WHOLE = r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)$"
_DECIMAL = (
    r"^([-+]?(\d[\d_]*\.\d*|\.\d+|(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(_WHOLE), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_DECIMAL), list("-+.0123456789"))


def read_yaml(text: str) -> Any:
    """The value that `text` holds.

    Raises:
        ValueError: it is not valid YAML; the message is one line and has the position.
        DuplicateKeyError: a mapping in it has the same key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # derived from the safe one
    except RecursionError:
        raise ValueError("too deeply nested") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def write_yaml(value: object) -> str:
    """`value` on one line as YAML, for messages: `true`, `'true'` for the text, `{epochs: 3}`.

    A value that YAML has no form for is written as Python shows it.
    """
    try:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    except yaml.YAMLError:
        return repr(value)
    return text.removesuffix("\n").removesuffix("\n...")
