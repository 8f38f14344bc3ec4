"""Count the weights in an ONNX graph."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["count_weights"]

WEIGHTED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def count_weights(proto: Any) -> int:
    """Number of weights of convolutions and matrix products in a ModelProto.

    Counts the values of initializers with two or more axes, once for each use.
    """
    sizes = {
        tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer if len(tensor.dims) > 1
    }
    nodes = [node for node in proto.graph.node if node.op_type in WEIGHTED_OPERATORS]
    return sum(sizes.get(name, 0) for node in nodes for name in node.input)
