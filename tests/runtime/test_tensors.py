from __future__ import annotations

import zlib

import numpy as np
import pytest

from exportweb.card import Tensor
from exportweb.errors import CardError
from exportweb.runtime.tensors import decode, encode


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64", "bool", ">f4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(0).random(shape) * 2).astype(dtype)
    back = decode(encode(array))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")


def test_an_array_that_is_not_contiguous() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    np.testing.assert_array_equal(decode(encode(array)), array)


def test_bytes_are_little_endian_and_in_c_order() -> None:
    tensor = encode(np.array([[1, 2], [3, 4]], ">u2"))
    assert zlib.decompress(tensor.data) == bytes([1, 0, 2, 0, 3, 0, 4, 0])


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(dtype="object", shape=(1,), data=zlib.compress(b"x" * 8)),
        Tensor(dtype="uint8", shape=(-1,), data=zlib.compress(b"x")),
        Tensor(dtype="uint8", shape=(2,), data=zlib.compress(b"x")),
        Tensor(dtype="uint8", shape=(2,), data=zlib.compress(b"x" * 10_000_000)),
        Tensor(dtype="uint8", shape=(2,), data=b"not zlib"),
    ],
)
def test_refuses_what_is_no_tensor(tensor: Tensor) -> None:
    with pytest.raises(CardError):
        decode(tensor)


def test_refuses_to_encode_what_is_no_number() -> None:
    with pytest.raises(CardError, match="numbers and booleans"):
        encode(np.array(["a"]))
