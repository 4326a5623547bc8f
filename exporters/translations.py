"""What PyTorch's operators are in ONNX, where its own translation is missing, or holds for images of one size only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset20

op: Any = opset20  # its types know no values that are made one by one

Table = dict[Callable[..., Any], Callable[..., Any]]
"""Operators, and functions that build the same of ONNX's."""


def table(*, any_size: bool) -> Table:
    """Return the translations that a graph needs; `any_size` says that it is for images of any size."""
    found: Table = {torch.ops.aten._is_all_true.default: _all}
    if any_size:
        found |= {torch.ops.aten.adaptive_avg_pool2d.default: _pooled, torch.ops.aten._adaptive_avg_pool2d.default: _pooled}
    return found


def _all(condition: Any) -> Any:
    """Whether all are true: what `torch._check_tensor_all` asks, whose check itself is dropped."""
    return op.Cast(op.ReduceMin(op.Cast(condition, to=6), keepdims=0), to=9)


def _pooled(image: Any, output_size: Sequence[int]) -> Any:
    """Average [..., height, width] over `output_size` parts, which overlap where the size can't be divided by it.

    PyTorch's own translation asks whether it can while it is traced, and picks pixels by what it was then.
    """
    if list(output_size) == [1, 1]:
        return op.ReduceMean(image, op.Constant(value_ints=[-2, -1]))
    high, wide = (_shares(image, axis, parts) for axis, parts in zip((-2, -1), output_size, strict=True))
    return op.MatMul(op.MatMul(high, image), op.Transpose(wide, perm=[1, 0]))


def _shares(image: Any, axis: int, parts: int) -> Any:
    """Return [parts, size]: how much each place on an axis has in each part's average.

    Part i is from ``i * size // parts`` up to, without it, ``ceil((i + 1) * size / parts)``.
    """
    size = op.Shape(image, start=axis, end=None if axis == -1 else axis + 1)
    number = op.Constant(value=_column(range(parts)))
    of = op.Constant(value_int=parts)
    first = op.Div(op.Mul(number, size), of)
    behind = op.Div(op.Add(op.Mul(op.Constant(value=_column(range(1, parts + 1))), size), op.Constant(value_int=parts - 1)), of)
    place = op.Range(op.Constant(value_int=0), op.Squeeze(size), op.Constant(value_int=1))
    inside = op.And(op.GreaterOrEqual(place, first), op.Less(place, behind))
    return op.Div(op.CastLike(inside, image), op.CastLike(op.Sub(behind, first), image))


def _column(numbers: range) -> Any:
    return onnx.numpy_helper.from_array(np.array(numbers, np.int64)[:, None])
