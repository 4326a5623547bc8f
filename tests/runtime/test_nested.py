from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from exportweb.errors import BadInput
from exportweb.runtime.nested import plain, to_array


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1, 2], "float32", "i"),
        ([1, 2.5], "int64", "f"),
        ([True], "bool", "b"),
        (["a"], "string", "O"),
        (3, "float32", "i"),
        ([], "int8", "f"),
    ],
)
def test_lists_become_arrays(values: Any, dtype: str, kind: str) -> None:
    array = to_array(values, dtype, "'x'")
    assert array.dtype.kind == kind
    assert array.tolist() == values


def test_null_is_nan_among_floats_only() -> None:
    np.testing.assert_array_equal(to_array([[1, None]], "float32", "'x'"), [[1, np.nan]])
    with pytest.raises(BadInput, match=r"'x'\[1\] is null; it should be a number"):
        to_array([1, None], "int64", "'x'")


def test_no_digit_of_a_large_number_is_lost() -> None:
    assert to_array([2**63 - 1, -(2**63)], "int64", "'x'").tolist() == [2**63 - 1, -(2**63)]
    assert to_array([2**80], "int64", "'x'").tolist() == [2**80]


@pytest.mark.parametrize(
    ("values", "dtype", "says"),
    [
        ([[1, 2], 3], "float32", r"'x'\[1\] is a number; those before it are lists, of 2"),
        ([1, [2]], "float32", r"'x'\[1\] is a list; it should be a number or null"),
        ([[["a"], ["b", "c"]]], "string", r"'x'\[0\]\[1\] has the length 2; those before it have 1"),
        (["a", 1], "string", r"'x'\[1\] is a number; it should be a string"),
        ([{"a": 1}], "int64", r"'x'\[0\] is an object"),
        ([10**400], "float64", "too large for float64"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(values: object, dtype: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        to_array(values, dtype, "'x'")


def test_lists_deeper_than_arrays_are() -> None:
    values: Any = 1
    for _ in range(70):
        values = [values]
    with pytest.raises(BadInput, match="nested too deep"):
        to_array(values, "float32", "'x'")


def test_outputs_become_what_json_has() -> None:
    """Among them what scikit-learn's converter answers: a list of maps from class to probability."""
    outputs = {
        "label": np.array([1, 0]),
        "maps": [{0: 0.25, 1: 0.75}],
        "words": np.array([["a"]], object),
        "half": np.array([0.5, np.nan, np.inf], np.float16),
        "sequence": [np.array([True]), np.array([[2]])],
    }
    assert msgspec.json.decode(msgspec.json.encode(plain(outputs))) == {
        "label": [1, 0],
        "maps": [{"0": 0.25, "1": 0.75}],
        "words": [["a"]],
        "half": [0.5, None, None],
        "sequence": [[True], [[2]]],
    }
