"""bfloat16, which NumPy hasn't: the upper half of a float32. ONNX Runtime takes and gives it only as values of its own."""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ONNX_TYPE = 16  # TensorProto.BFLOAT16


def run(session: Any, narrow: Container[str], names: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Run an ONNX Runtime session whose inputs, those called as in `narrow`, or outputs are bfloat16: float32 arrays here."""
    make = importlib.import_module("onnxruntime").OrtValue
    values = {
        name: make.ortvalue_from_numpy_with_onnx_type(pack(array), _ONNX_TYPE) if name in narrow else make.ortvalue_from_numpy(array)
        for name, array in inputs.items()
    }
    return [_array(value) for value in session.run_with_ort_values(list(names), values)]


def pack(array: NDArray[Any]) -> NDArray[np.uint16]:
    """Return float32 values as bfloat16's bits, rounded to the nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    packed: NDArray[np.uint16] = np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)
    return packed


def unpack(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return bfloat16's bits as the float32 values that they are."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _array(value: Any) -> Any:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    shape = tuple(value.shape())
    if 0 in shape:
        return np.zeros(shape, np.float32)
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return unpack(np.ctypeslib.as_array(pointer, (math.prod(shape),)).reshape(shape))  # a copy: `value` owns the memory
