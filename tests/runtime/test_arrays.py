"""Named arrays: three kinds of bytes come out as what the graph takes, and whatever else they are, an error with its place comes out."""

from __future__ import annotations

import contextlib
import io
import json
import random
from typing import Any

import numpy as np
import pytest

from exportweb.card import TensorInput
from exportweb.errors import BadInput, BadParameter, RequestError, TooLarge
from exportweb.runtime.arrays import decode

X = TensorInput(name="x", dtype="float32", shape=(None, 2))
WORDS = TensorInput(name="words", dtype="string", shape=(None,))


def read(inputs: object, *wanted: TensorInput, most: int = 1000) -> dict[str, Any]:
    return decode(json.dumps({"inputs": inputs}).encode(), wanted or (X,), max_values=most)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"inputs": {"x": [[1, 2], [3, 4.5]]}}).encode(),
        json.dumps({"inputs": [[1, 2], [3, 4.5]]}).encode(),
        json.dumps({"inputs": {"x": {"data": [1, 2, 3, 4.5], "shape": [2, 2], "dtype": "float64"}}, "parameters": {}}).encode(),
        npy(np.array([[1, 2], [3, 4.5]])),
        npy(np.asfortranarray(np.array([[1, 2], [3, 4.5]], ">f4"))),
        npz(x=np.array([[1, 2], [3, 4.5]])),
    ],
    ids=["by name", "the only one", "explicit", "npy", "big-endian, columns first", "npz"],
)
def test_one_array_in_every_way(body: bytes) -> None:
    (array,) = decode(body, (X,), max_values=100).values()
    assert (array.dtype, array.flags.c_contiguous) == (np.float32, True)
    assert array.tolist() == [[1, 2], [3, 4.5]]


@pytest.mark.parametrize("body", [json.dumps({"inputs": {"words": ["a", "ü"], "x": [[1, 2]]}}).encode(), npz(x=[[1, 2]], words=["a", "ü"])])
def test_several_arrays_by_name(body: bytes) -> None:
    found = decode(body, (X, WORDS), max_values=100)
    assert {name: array.tolist() for name, array in found.items()} == {"x": [[1, 2]], "words": ["a", "ü"]}


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([[1, 2], [3]], r"'x'\[1\] has the length 1; those before it have 2"),
        ([[1, "2"]], r"'x'\[0\]\[1\] is the string '2'; it should be a number or null"),
        ([1, 2], r"'x' has the shape \[2\]; it should be float32 \[N, 2\]"),
        ([[1e39, 1]], r"'x'\[0\]\[0\] is 1e\+39, too large for float32"),
        ({"y": 1}, r"takes 'x' \(float32 \[N, 2\]\); 'x' is missing, and 'y' is none of them"),
        ({"x": {"shape": [1, 2]}}, "an object with 'shape'; .* \"data\""),
        ({"x": {"data": [1, 2, 3], "shape": [2, 2]}}, r'3 values in "data"; its shape \[2, 2\] needs 4'),
        ({"x": {"data": [1, 2], "shape": [-1, 2]}}, "whole numbers"),
        ({"x": {"data": [[1, 2]], "dtype": "f"}}, "dtype 'f'; it should be float32"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(inputs: object, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read(inputs)


def test_one_array_is_not_enough_for_two_inputs() -> None:
    for body in (b'{"inputs": [[1, 2]]}', npy(np.ones((1, 2)))):
        with pytest.raises(BadInput, match=r"by name: the model takes 'x' \(float32 \[N, 2\]\), 'words' \(string \[N\]\)"):
            decode(body, (X, WORDS), max_values=4)


@pytest.mark.parametrize("body", [b"", b"\xff\xd8\xff\xe0 a photo", b"[1, 2]", b"{}", b'{"inputs": [[1, NaN]]}', b"[" * 100_000])
def test_what_is_none_of_the_three_kinds(body: bytes) -> None:
    with pytest.raises(BadParameter, match=r'as JSON it should be \{"inputs": \{"x": \[\.\.\.\]\}\}'):
        decode(body, (X,), max_values=4)


def test_parameters_are_not_passed_over() -> None:
    with pytest.raises(BadParameter, match="'top_k'"):
        decode(b'{"inputs": [[1, 2]], "parameters": {"top_k": 3}}', (X,), max_values=4)


def test_the_number_of_values_is_bounded() -> None:
    with pytest.raises(TooLarge, match="6 values; the limit is 5"):
        read([[1, 2]] * 3, most=5)


def test_whatever_the_bytes_are_only_our_errors_come_out() -> None:
    chance = random.Random(0)
    for whole in (npz(x=np.ones((1, 2))), npy(np.ones((1, 2))), b'{"inputs": [[1, 2]]}'):
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            with contextlib.suppress(RequestError):
                decode(bytes(data[: chance.randint(1, len(data))]), (X,), max_values=100)
