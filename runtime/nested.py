"""Arrays in JSON: nested lists in, nested lists out, and what is wrong with them said with its place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exportweb.errors import BadInput

Array = NDArray[Any]

_NUMBERS = (bool, int, float)


def to_array(values: object, dtype: str, place: str) -> Array:
    """Return nested lists as an array: of strings (as objects) for the dtype ``"string"``, else of booleans or numbers.

    For a float dtype, null is NaN: JSON has no number for it. A whole number beyond 64 bits stays an object. `place` is what the list
    is called in errors. Raises `BadInput`.
    """
    text, nulls = dtype == "string", "float" in dtype
    allowed: tuple[type, ...] = (str,) if text else (*_NUMBERS, type(None)) if nulls else _NUMBERS
    try:
        found = np.array(values, object if text else None)
        if found.dtype.kind in "biuf":
            return found  # no list, string or null is among them
    except ValueError:  # ragged, or deeper than NumPy's arrays are
        found = None
    _check(values, _shape(values), allowed, place)
    if found is None:
        raise BadInput(f"{place} is nested too deep.")
    if nulls:
        try:
            return np.array(values, np.float64)
        except OverflowError:
            raise BadInput(f"{place} holds a number that is too large for {dtype}.") from None
    return found


def plain(value: Any) -> Any:
    """Return an output of a graph as what JSON has: lists, numbers, strings, objects for maps. NaN and the infinities become null when it
    is written.
    """
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return value


def _shape(values: object) -> list[int]:
    """Return the shape that the first element of each level has."""
    shape = []
    while isinstance(values, list):
        shape.append(len(values))
        values = values[0] if values else None
    return shape


def _check(values: object, shape: list[int], allowed: tuple[type, ...], place: str) -> None:
    """Raise `BadInput` at the first place where the lists don't have this shape, or hold what isn't allowed."""
    if not shape:
        if not isinstance(values, allowed):
            names = dict.fromkeys(_NAMES[kind] for kind in allowed if kind is not bool)
            raise BadInput(f"{place} is {_name(values)}; it should be {' or '.join(names)}.")
    elif not isinstance(values, list):
        raise BadInput(f"{place} is {_name(values)}; those before it are lists, of {shape[0]}.")
    elif len(values) != shape[0]:
        raise BadInput(f"{place} has the length {len(values)}; those before it have {shape[0]}.")
    else:
        for i, each in enumerate(values):
            _check(each, shape[1:], allowed, f"{place}[{i}]")


_NAMES = {str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null", list: "a list", dict: "an object"}


def _name(value: object) -> str:
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    return _NAMES[type(value)]
