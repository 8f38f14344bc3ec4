"""Preprocessing inside the ONNX graph: pixels of any size in, probabilities out.

The graph computes what `netslim.data.images.centre` and `netslim.data.normalisation.normalise` compute for
training. An image of the model's own size is not resized. Any other image is resized with antialiasing until
it covers 256/224 of that size, and the centre is cropped.
"""

# No `from __future__ import annotations`: onnxscript reads the annotations of `preprocess` as types.

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx.helper import make_node, make_tensor_value_info
from onnxscript import DOUBLE, FLOAT, INT64, UINT8, script
from onnxscript import opset18 as op

from netslim.bundle.layout import MODEL, PREPROC
from netslim.data.images import MARGIN
from netslim.data.normalisation import scale_and_offset
from netslim.errors import ExportError, first_line

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["preprocess", "write_preprocessing_model"]

PREFIX = "preprocessing/"  # of the names of all values and nodes that are added before the network
TYPES = onnx.TensorProto


@script(default_opset=op)  # type: ignore[untyped-decorator, unused-ignore]
def preprocess(images: UINT8, size: INT64, covered: DOUBLE, scale: FLOAT, offset: FLOAT) -> FLOAT:
    """Resize, crop and normalise a batch of images. onnxscript translates this function to ONNX operators.

    Args:
        images: uint8[batch, height, width, channels].
        size: int64[2], height and width of the network's input.
        covered: float64[2], height and width that the resized image has to cover before it is cropped.
        scale, offset: float32[1, channels, 1, 1], see `netslim.data.normalisation.scale_and_offset`.

    Returns:
        float32[batch, channels, *size].
    """
    pixels = op.Cast(op.Transpose(images, perm=[0, 3, 1, 2]), to=TYPES.FLOAT)
    given = op.Shape(pixels, start=2, end=4)
    sides = op.Cast(given, to=TYPES.DOUBLE)
    factor = op.ReduceMax(covered / sides, [0], keepdims=1)
    larger = op.Max(op.Cast(op.Round(sides * factor), to=TYPES.INT64), size)
    equal = op.Cast(op.Equal(given, size), to=TYPES.INT64)
    unchanged = op.Cast(op.ReduceMin(equal, [0], keepdims=1), to=TYPES.BOOL)
    target = op.Where(unchanged, size, larger)
    resized = op.Resize(
        pixels,
        None,
        None,
        target,
        mode="linear",
        antialias=1,
        axes=[2, 3],
        coordinate_transformation_mode="half_pixel",
    )
    # Pillow, which resizes the training images, rounds to whole grey levels. The graph has to do the same.
    levels = op.Clip(op.Round(resized), 0.0, 255.0)
    start = (target - size) / 2
    cropped = op.Slice(levels, start, start + size, [2, 3])
    return cropped * scale - offset


def write_preprocessing_model(folder: Path, info: "DatasetInfo") -> None:
    """Write model.preproc.onnx beside `folder`/model.onnx: uint8 `images` to float32 `probabilities`.

    Args:
        folder: holds model.onnx, whose input is `input` and whose output is `logits`.

    Raises:
        ExportError: the ONNX checker refuses the combined graph.
    """
    proto = onnx.load(folder / MODEL, load_external_data=False)
    graph = proto.graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["input", "logits"]
    network = list(graph.node)
    softmax = make_node("Softmax", ["logits"], ["probabilities"], f"{PREFIX}softmax", axis=1)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*_preprocessing_nodes(), *network, softmax])
    graph.initializer.extend(_preprocessing_constants(info))
    images = ["batch", "height", "width", info.channels]
    graph.input.append(make_tensor_value_info("images", TYPES.UINT8, images))
    graph.output.append(make_tensor_value_info("probabilities", TYPES.FLOAT, ["batch", len(info.classes)]))
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        problem = f"the ONNX checker refused the file ({first_line(error)})"
        raise ExportError(problem, field=PREPROC) from error
    (folder / PREPROC).write_bytes(proto.SerializeToString(deterministic=True))


def _preprocessing_nodes() -> list[onnx.NodeProto]:
    """The nodes of `preprocess`, from `images` to `input`, all other names with the prefix."""
    graph = preprocess.to_model_proto().graph
    names = {"images": "images", graph.output[0].name: "input", "": ""}  # "" is an input that is left out
    nodes = list(graph.node)
    for node in nodes:
        node.name = PREFIX + node.name
        for values in (node.input, node.output):
            values[:] = [names.get(name, PREFIX + name) for name in values]
    return nodes


def _preprocessing_constants(info: "DatasetInfo") -> list[onnx.TensorProto]:
    """The other parameters of `preprocess` as initializers."""
    scale, offset = (values.reshape(1, -1, 1, 1) for values in scale_and_offset(info))
    constants = {
        "size": np.asarray(info.image_size, np.int64),
        "covered": np.asarray(info.image_size, np.float64) * MARGIN,
        "scale": scale,
        "offset": offset,
    }
    return [onnx.numpy_helper.from_array(value, PREFIX + name) for name, value in constants.items()]
