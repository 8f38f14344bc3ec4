"""Preprocessing inside the graph: pixels of any size in, probabilities out, nothing left to get wrong.

The same arithmetic as `netslim.data.images.centre` and `netslim.onnx_export.runtime.normalise`, in ONNX
operators: an image of the model's own size stays as it is; any other is resized with antialiasing until it
covers 256/224 of that size, and the centre is cut out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netslim.bundle.layout import MODEL, PREPROC
from netslim.errors import ExportError

if TYPE_CHECKING:
    import onnx

    from netslim.data import DatasetInfo

__all__ = ["write_preproc"]

MARGIN = 256 / 224  # as in netslim.data.images
OWN = "preprocessing/"  # before the names of what is added
FLOAT, INT64, BOOL, DOUBLE = 1, 7, 9, 11  # onnx.TensorProto's numbers for types


def write_preproc(folder: Path, info: DatasetInfo) -> None:
    """Write model.preproc.onnx beside `folder`/model.onnx.

    Raises:
        ExportError: the ONNX checker refuses what was made.
    """
    import onnx

    proto = onnx.load(folder / MODEL, load_external_data=False)
    graph = proto.graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["input", "logits"]
    nodes, constants = _before(info)
    softmax = onnx.helper.make_node("Softmax", ["logits"], ["probabilities"], OWN + "softmax", axis=1)
    body = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *body, softmax])
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    del graph.input[:], graph.output[:], graph.value_info[:]
    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info
    graph.input.append(value("images", uint8, ["batch", "height", "width", info.channels]))
    graph.output.append(value("probabilities", float32, ["batch", len(info.classes)]))
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refused the file ({error})", field=PREPROC) from error
    (folder / PREPROC).write_bytes(proto.SerializeToString(deterministic=True))


def _before(info: DatasetInfo) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Nodes from `images`, uint8 [batch, height, width, C], to `input`, float32 [batch, C, H, W]."""
    from onnx.helper import make_node

    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {}

    def constant(name: str, value: Any, dtype: Any) -> str:
        constants[OWN + name] = np.asarray(value, dtype)
        return OWN + name

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = output if output == "input" else OWN + output
        nodes.append(make_node(op, inputs, [name], OWN + f"{output}_{op}", **attributes))
        return name

    size = constant("size", info.image_size, np.int64)
    first = constant("first_axis", [0], np.int64)
    channels_first = node("Transpose", ["images"], "pixels", perm=[0, 3, 1, 2])
    pixels = node("Cast", [channels_first], "floats", to=FLOAT)
    given = node("Shape", [pixels], "given", start=2, end=4)
    sides = node("Cast", [given], "sides", to=DOUBLE)
    goal = constant("goal", np.array(info.image_size) * MARGIN, np.float64)
    scale = node("ReduceMax", [node("Div", [goal, sides], "ratios"), first], "scale", keepdims=1)
    rounded = node("Round", [node("Mul", [sides, scale], "exactly")], "rounded")
    covering = node("Max", [node("Cast", [rounded], "at_least", to=INT64), size], "covering")
    # An image that has the model's size already stays as it is.
    fits = node("Cast", [node("Equal", [given, size], "equal")], "fits", to=INT64)
    both = node("Cast", [node("ReduceMin", [fits, first], "all", keepdims=1)], "as_it_is", to=BOOL)
    chosen = node("Where", [both, size, covering], "chosen")
    resized = node(
        "Resize",
        [pixels, "", "", chosen],
        "resized",
        mode="linear",
        antialias=1,
        axes=[2, 3],
        coordinate_transformation_mode="half_pixel",
    )
    # Pillow gives whole levels; so does this, and a network sees the same pixels either way.
    black, white = constant("black", 0, np.float32), constant("white", 255, np.float32)
    levels = node("Clip", [node("Round", [resized], "whole"), black, white], "levels")
    spare = node("Sub", [chosen, size], "spare")
    start = node("Div", [spare, constant("two", [2, 2], np.int64)], "start")
    end = node("Add", [start, size], "end")
    cut = node("Slice", [levels, start, end, constant("axes", [2, 3], np.int64)], "cut")
    mean, std = (np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (info.mean, info.std))
    scaled = node("Mul", [cut, constant("factor", 1 / (255 * std), np.float32)], "scaled")
    node("Sub", [scaled, constant("offset", mean / std, np.float32)], "input")
    return nodes, constants
