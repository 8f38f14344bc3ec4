"""What can be counted in an ONNX graph."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["weights_of"]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def weights_of(proto: Any) -> int:
    """Values of initializers of two or more axes that convolutions and products use, as often as they do."""
    sizes = {i.name: math.prod(i.dims) for i in proto.graph.initializer if len(i.dims) >= 2}
    return sum(
        sizes.get(name, 0) for node in proto.graph.node if node.op_type in WEIGHTED for name in node.input
    )
