"""Conversion by value: an array as the dtype that a graph takes, wherever no value is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exportweb.errors import BadInput

Array = NDArray[Any]

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64", "bfloat16")
DTYPES = ("bool", *INTEGERS, *FLOATS, "string")
"""The dtypes that a graph's inputs may have."""

_NUMPY = {"bfloat16": "float32", "string": "object"}


def convert(array: Array, dtype: str, place: str) -> Array:
    """Return an array as a dtype of `DTYPES`; strings are objects, and bfloat16 is float32.

    Whole numbers become any dtype whose range they are in, floats become whole numbers if they are whole, and floats of another
    precision are rounded. `place` is what the array is called in errors. Raises `BadInput` for the first value that doesn't fit.
    """
    if array.size == 0:  # of no dtype that could be wrong: in JSON, [] has none
        return np.zeros(array.shape, _NUMPY.get(dtype, dtype))
    if dtype == "string":
        return _strings(array, place)
    if dtype == "bool":
        if array.dtype.kind != "b":
            raise BadInput(f"{place} is {_kind(array)}; it should be bool: true or false.")
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "biufO":
        raise BadInput(f"{place} is {_kind(array)}; it should be {dtype}.")
    target = np.dtype(_NUMPY.get(dtype, dtype))
    if array.dtype == target:
        return array if array.flags.c_contiguous else array.copy(order="C")
    if target.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(target, order="C")
        _refuse(np.isinf(cast) & np.isfinite(array.astype(np.float64)), array, f"too large for {dtype}", place)
        return cast
    info = np.iinfo(target)
    low, high = int(info.min), int(info.max)
    if array.dtype.kind == "f":
        _refuse(array != np.trunc(array), array, f"not whole, and {dtype} is", place)  # so is NaN
        wide = array.astype(np.float64)
        outside = (wide < float(low)) | (wide >= float(high + 1))  # powers of two, which a float64 holds exactly
    elif array.dtype.kind == "O":
        outside = np.array([not (isinstance(value, int) and low <= value <= high) for value in array.flat]).reshape(array.shape)
    else:
        outside = (array < low) | (array > high)
    _refuse(outside, array, f"not in the range of {dtype}, {low} to {high}", place)
    return array.astype(target, order="C")


def _strings(array: Array, place: str) -> Array:
    if array.dtype.kind not in "UO":
        raise BadInput(f"{place} is {_kind(array)}; it should be strings.")
    try:
        strings = array.astype(object, order="C")
        for text in strings.flat:
            text.encode("utf-8")
    except (ValueError, UnicodeError) as error:
        raise BadInput(f"{place} holds a string that is not Unicode text.") from error
    return strings


def _refuse(wrong: Array, array: Array, why: str, place: str) -> None:
    if wrong.any():
        index = np.unravel_index(int(np.argmax(wrong)), array.shape)
        value = array[index]
        raise BadInput(f"{place}{''.join(f'[{i}]' for i in index)} is {str(value)[:40]}, {why}.")


def _kind(array: Array) -> str:
    return "strings" if array.dtype.kind in "UO" else array.dtype.name
