"""Arrays as data: what a card's golden sample is made of (see `exportweb.card.Tensor`)."""

from __future__ import annotations

import math
import re
import zlib

import numpy as np
from numpy.typing import NDArray

from exportweb.card import Tensor
from exportweb.errors import CardError

_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")


def encode(array: NDArray[np.generic], *, level: int = 6) -> Tensor:
    """Return an array, of a boolean, integer or float dtype, as a `Tensor`; `level` is zlib's, 0 to 9."""
    if not _DTYPE.fullmatch(array.dtype.name):
        raise CardError(f"A card can hold numbers and booleans; this array is {array.dtype.name}.")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return Tensor(dtype=array.dtype.name, shape=array.shape, data=zlib.compress(little.tobytes(), level))


def decode(tensor: Tensor) -> NDArray[np.generic]:
    """Return the array that a `Tensor` holds, in native byte order.

    Raises `CardError` if its dtype is none of numbers, or its bytes are not what its shape asks for; never inflates more than that.
    """
    if not _DTYPE.fullmatch(tensor.dtype) or any(side < 0 for side in tensor.shape):
        raise CardError(f"The card holds a tensor of dtype {tensor.dtype!r} and shape {tensor.shape}, which can't be read.")
    dtype = np.dtype(tensor.dtype)
    size = math.prod(tensor.shape) * dtype.itemsize
    try:
        data = zlib.decompressobj().decompress(tensor.data, size + 1)
    except zlib.error as error:
        raise CardError("A tensor in the card can't be decompressed.") from error
    if len(data) != size:
        raise CardError(f"A tensor in the card of shape {tensor.shape} and dtype {tensor.dtype} does not have its {size} bytes.")
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(tensor.shape)
