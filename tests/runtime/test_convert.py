from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exportweb.errors import BadInput
from exportweb.runtime.convert import DTYPES, convert


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255]), "uint8"),
        (np.array([3.0, -4.0]), "int64"),
        (np.array([True, False]), "float32"),
        (np.array([1.5, np.nan, np.inf]), "float16"),
        (np.array([2**63 - 1]), "uint64"),
        (np.array([1, 2**62], object), "int64"),
        (np.array(["a", "ü"]), "string"),
        (np.array([True]), "bool"),
        (np.array([0.5]), "bfloat16"),
    ],
)
def test_values_are_kept(values: Any, dtype: str) -> None:
    converted = convert(values, dtype, "'x'")
    assert converted.dtype == {"string": object, "bfloat16": "float32"}.get(dtype, dtype)
    np.testing.assert_array_equal(converted, values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_of_any_dtype(dtype: str) -> None:
    assert convert(np.zeros((0, 3)), dtype, "'x'").shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "dtype", "says"),
    [
        (np.array([[1, 300]]), "uint8", r"'x'\[0\]\[1\] is 300, not in the range of uint8, 0 to 255"),
        (np.array([-1]), "uint64", r"'x'\[0\] is -1, not in the range of uint64"),
        (np.array([2.0**31]), "int32", "range of int32"),
        (np.array([2.0**31], np.float32), "int32", "range of int32"),
        (np.array([2.0**63]), "int64", "range of int64"),
        (np.array([2**80], object), "int64", "1208925819614629174706176, not in the range"),
        (np.array([np.inf]), "int64", "range of int64"),
        (np.array([1.5]), "int64", "1.5, not whole"),
        (np.array([np.nan]), "int64", "nan, not whole"),
        (np.array([1e5]), "float16", "too large for float16"),
        (np.array([1]), "bool", "'x' is int64; it should be bool"),
        (np.array([1]), "string", "'x' is int64; it should be strings"),
        (np.array(["1"]), "float32", "'x' is strings; it should be float32"),
        (np.array(["\ud800"]), "string", "not Unicode text"),
    ],
)
def test_a_value_that_would_be_lost(values: Any, dtype: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        convert(values, dtype, "'x'")
