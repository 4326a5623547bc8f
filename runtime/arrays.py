"""Named arrays: from the bytes that a client sent to what a graph takes, or to an error that says what is wrong with them.

Three kinds of bytes, told apart by how they begin: a .npy file (one array), a .npz file (several, by name), else JSON:

    {"inputs": {"age": [[31]], "city": [["Oslo"]]}}
    {"inputs": {"x": {"data": [1, 2, 3, 4], "shape": [2, 2], "dtype": "float32"}}}
    {"inputs": [[5.1, 3.5, 1.4, 0.2]]}                                              for a graph with one input
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from exportweb.card import TensorInput
from exportweb.errors import BadInput, BadParameter, TooLarge
from exportweb.runtime import nested, npz
from exportweb.runtime.convert import DTYPES, convert
from exportweb.runtime.session import Port

Array = NDArray[Any]

_WIDEST = 8  # bytes of a value


class _Call(msgspec.Struct):
    """The JSON request, with the place for parameters that other tasks have."""

    inputs: Any
    parameters: dict[str, Any] | None = None


_decode_call = msgspec.json.Decoder(_Call).decode  # made here for threads, as in exportweb.card


def decode(data: bytes, wanted: Sequence[TensorInput], *, max_values: int) -> dict[str, Array]:
    """Return the arrays that `wanted` describes, by name.

    Raises `BadInput` for an array that is missing, unknown, or of the wrong shape, dtype or values; `BadParameter` for a body that is
    none of the three kinds; `TooLarge` if the arrays have more than `max_values` values together.
    """
    names = [spec.name for spec in wanted]
    given: Mapping[str, Any]
    if data.startswith(npz.NPY):
        given = {_only(wanted, "A .npy file holds one array; send a .npz file"): npz.read_npy(data)}
    elif data.startswith(npz.NPZ):
        given = npz.read_npz(data, max_bytes=_WIDEST * max_values)
    else:
        given = _json(data, wanted)
    if sorted(given) != sorted(names):
        missing = ", ".join(repr(name) for name in names if name not in given)
        unknown = ", ".join(repr(name)[:80] for name in list(given)[:20] if name not in names)
        wrong = ", and ".join([f"{missing} is missing"] * bool(missing) + [f"{unknown} is none of them"] * bool(unknown))
        raise BadInput(f"The model takes {describe(wanted)}; {wrong}.")
    arrays = {spec.name: _array(given[spec.name], spec) for spec in wanted}
    count = sum(array.size for array in arrays.values())
    if count > max_values:
        raise TooLarge(f"The inputs have {count:,} values; the limit is {max_values:,}.")
    return arrays


def describe(inputs: Sequence[TensorInput]) -> str:
    """Return ``'x' (float32 [N, 4]), 'y' (string [N, 1])``, where N is any length."""
    return ", ".join(f"{spec.name!r} ({_port(spec).describe()})" for spec in inputs)


def _json(data: bytes, wanted: Sequence[TensorInput]) -> Mapping[str, Any]:
    try:
        call = _decode_call(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadParameter(
            f"The body begins with {bytes(data[:16])!r}: it is no .npy or .npz file, and as JSON it should be "
            f'{{"inputs": {{"{wanted[0].name}": [...]}}}}: {error}.'
        ) from None
    if call.parameters:
        raise BadParameter(f"Unknown parameter {', '.join(map(repr, sorted(call.parameters)))}; a model of arrays knows none in JSON.")
    if isinstance(call.inputs, dict):
        return call.inputs
    return {_only(wanted, 'Give "inputs" as an object'): call.inputs}


def _only(wanted: Sequence[TensorInput], otherwise: str) -> str:
    """Return the name of the one input, or say what to do where there are several."""
    if len(wanted) != 1:
        raise BadInput(f"{otherwise}, by name: the model takes {describe(wanted)}.")
    return wanted[0].name


def _array(given: Any, spec: TensorInput) -> Array:
    """Return one input as the graph takes it."""
    place = repr(spec.name)
    if not isinstance(given, np.ndarray):
        given = _explicit(given, spec, place) if isinstance(given, dict) else nested.to_array(given, spec.dtype, place)
    fits = given.ndim == len(spec.shape) and all(want in (None, has) for has, want in zip(given.shape, spec.shape, strict=True))
    if not fits:
        raise BadInput(f"{place} has the shape {list(given.shape)}; it should be {_port(spec).describe()}.")
    return convert(given, spec.dtype, place)


def _explicit(given: Mapping[str, Any], spec: TensorInput, place: str) -> Array:
    """Read ``{"data": [...], "shape": [...], "dtype": "..."}``, of which only the data is needed."""
    unknown = sorted(set(given) - {"data", "shape", "dtype"})
    if unknown or "data" not in given:
        keys = ", ".join(repr(key)[:40] for key in list(given)[:20])
        raise BadInput(f'{place} is an object with {keys or "nothing"}; it should be a list, or have "data", "shape" and "dtype".')
    dtype = given.get("dtype", spec.dtype)
    if dtype not in DTYPES:
        raise BadInput(f"{place} has the dtype {str(dtype)[:40]!r}; it should be {spec.dtype}.")
    array = convert(nested.to_array(given["data"], dtype, place), dtype, place)
    shape = given.get("shape", list(array.shape))
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise BadInput(f"{place} has the shape {str(shape)[:80]}; it should be a list of whole numbers.")
    if math.prod(shape) != array.size:
        raise BadInput(f'{place} has {array.size} values in "data"; its shape {shape} needs {math.prod(shape)}.')
    return array.reshape(shape)


def _port(spec: TensorInput) -> Port:
    return Port(spec.name, spec.dtype, spec.shape)
