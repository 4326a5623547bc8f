"""Graphs that were traced with images of one size and hold for any: they can be checked with a small image.

Tracing writes down how large everything is. A network of convolutions that averages over what is left of an image computes nothing from
that: where the sizes that were written down are taken back, it answers images of any size as the model does. A golden sample of 64 x
64 pixels costs a version a twelfth of the arithmetic of one of 224 x 224, in training and again in each server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx
from onnx import ModelProto, shape_inference

from exportweb.exporters import golden
from exportweb.exporters.graph import Exported, weightless
from exportweb.exporters.image_model import Outputs

Size = tuple[int, int]
"""Height and width, in pixels."""

_SIDES = 64, 96, 128  # of a small image: two places are left after a stride of 32, or a few where the edges are not padded
_ODD = 11, 37  # what makes such a side one that no stride divides
_NOISE = 1e-6


def sizes(whole: Size) -> Iterator[tuple[Size, Size]]:
    """Yield the sizes that a small image may have, in place of one of the size `whole`, each with an odd one of about that size."""
    for side in _SIDES:
        if 2 * side * side <= whole[0] * whole[1]:
            yield (side, side), (side + _ODD[0], side + _ODD[1])


def freed(model: bytes, names: Collection[str]) -> Exported | None:
    """Return a serialised graph without the sizes that follow from its image's; None if some don't.

    What is between gets names for its sides, which are the same where the sides are for images of any size: ONNX Runtime joins a
    convolution with the addition behind it if it knows that both have the same shape. `names` are those of the weights.
    """
    light = ModelProto.FromString(weightless(onnx.load_from_string(model), names))
    high, wide = (side.dim_value for side in _sides(light))
    try:
        shapes = _inferred(light, (high, wide))
        others = {value.name: value for value in _inferred(light, (high + _ODD[0], wide + _ODD[1]))}
        known = [value for value in shapes if value.name in others]
        for value in known:
            for side, other in zip(value.type.tensor_type.shape.dim, others[value.name].type.tensor_type.shape.dim, strict=True):
                if side.dim_value and other.dim_value and side.dim_value != other.dim_value:
                    side.dim_param = f"side_{side.dim_value}_{other.dim_value}"
                elif side.dim_value != other.dim_value:  # only one of them is known
                    side.Clear()
    except (shape_inference.InferenceError, ValueError):  # of two sizes that don't even have as many dimensions
        return None
    whole = onnx.load_from_string(model)
    del whole.graph.value_info[:]
    whole.graph.value_info.extend(known)
    for side, name in zip(_sides(whole), ("height", "width"), strict=True):
        side.dim_param = name
    return Exported(whole.SerializeToString(), weightless(whole, names))


def same(got: Outputs, expected: Outputs) -> bool:
    """Whether answers to two images are PyTorch's; how far those are apart says how exact that has to be."""
    return all(golden.near(got[name], expected[name], expected[name][::-1], noise=_NOISE) for name in expected)


def _sides(model: ModelProto) -> list[onnx.TensorShapeProto.Dimension]:
    """Return the height and width of the image that a graph takes."""
    image = next(value for value in model.graph.input if value.name == "image")
    return list(image.type.tensor_type.shape.dim)[1:3]


def _inferred(light: ModelProto, size: Size) -> list[onnx.ValueInfoProto]:
    """Return what is between, with the shapes that it has for images of this size."""
    model = ModelProto()
    model.CopyFrom(light)
    del model.graph.value_info[:]
    for side, pixels in zip(_sides(model), size, strict=True):
        side.dim_value = pixels
    return list(shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.value_info)
