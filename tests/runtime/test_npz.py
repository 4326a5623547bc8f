from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from exportweb.errors import BadInput, TooLarge
from exportweb.runtime.npz import read_npy, read_npz, write_npz


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in members.items():
            made.writestr(f"{name}.npy", data)
    return file.getvalue()


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.float32(1.5), np.zeros((0, 2)), np.array(["a", "bc"]), np.array([True])])
def test_reads_what_numpy_writes(array: Any) -> None:
    for read in (read_npy(npy(array)), read_npz(archive(x=npy(array)), max_bytes=10_000)["x"]):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_numpy_reads_what_is_written() -> None:
    arrays = {"a": np.arange(3), "b": np.array([["ü"]])}
    with np.load(io.BytesIO(write_npz(arrays))) as back:
        assert {name: back[name].tolist() for name in back} == {"a": [0, 1, 2], "b": [["ü"]]}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_bomb_is_refused_before_it_is_unpacked(compression: int) -> None:
    bomb = archive(compression, x=npy(np.zeros(1_000_000)))
    with pytest.raises(TooLarge, match=r"8,000,128 bytes; the limit is 4,000,000"):
        read_npz(bomb, max_bytes=4_000_000)


def test_a_bomb_that_lies_about_its_size() -> None:
    bomb = bytearray(archive(x=npy(np.zeros(1_000_000))))
    at = bomb.rindex(b"PK\x01\x02") + 24  # the size in the directory
    bomb[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(BadInput, match="cut short or damaged"):
        read_npz(bytes(bomb), max_bytes=4_000_000)


def test_too_many_members() -> None:
    with pytest.raises(TooLarge, match="1000 members"):
        read_npz(archive(**{f"x{i}": b"" for i in range(1001)}), max_bytes=1000)


def test_a_compression_without_a_bound_is_not_read() -> None:
    with pytest.raises(BadInput, match=r"'x\.npy' is compressed"):
        read_npz(archive(zipfile.ZIP_LZMA, x=npy(np.ones(1))), max_bytes=1000)


def test_objects_are_never_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([print], object), allow_pickle=True)
    with pytest.raises(BadInput, match="object"):
        read_npy(file.getvalue())


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }", r"is 8000000000000 bytes, and it has 16"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -1), }", "damaged"),
        ("{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }", "complex128"),
        ("print('hello')", "header can't be read"),
    ],
)
def test_a_header_that_promises_what_is_not_there(header: str, says: str) -> None:
    text = header.encode() + b"\n"
    with pytest.raises(BadInput, match=says):
        read_npy(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16))
