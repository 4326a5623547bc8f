"""NumPy's own file formats, read from bytes that may be anything: bounded before anything is unpacked, and never a pickle.

Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from exportweb.errors import BadInput, TooLarge

NPY, NPZ = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")
"""What the files begin with; the second kind of .npz is an empty one."""

_MEMBERS = 1000  # of a .npz: each costs memory before its size is known
_MEMBER = b"PK\x01\x02"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_KINDS = "biufU"


def read_npy(data: bytes) -> NDArray[Any]:
    """Return the array of a .npy file, read-only and without a copy: booleans, numbers or strings.

    Raises `BadInput` if it is damaged, or holds anything else.
    """
    file = io.BytesIO(data)
    try:
        shape, fortran, dtype = _HEADERS[npy.read_magic(file)](file)
    except Exception as error:  # a header is a Python literal, and can be wrong in every way that one can
        raise BadInput("The .npy file's header can't be read; write it with numpy.save(file, array).") from error
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise BadInput(f"The .npy file holds {dtype.name}; what can be sent is booleans, whole numbers, floats and strings (not objects).")
    size, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if size != there or min(shape, default=0) < 0:
        raise BadInput(f"The .npy file is cut short or damaged: {dtype.name} {list(shape)} is {size} bytes, and it has {there}.")
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def read_npz(data: bytes, *, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file by name.

    Raises `TooLarge` if they would unpack to more than `max_bytes`, `BadInput` if the file is damaged or holds anything else.
    """
    if data.count(_MEMBER) > _MEMBERS:
        raise TooLarge(f"The .npz file has more than {_MEMBERS} members.")
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)  # reading a member never gives more than its file_size
            if total > max_bytes:
                raise TooLarge(f"The .npz file unpacks to {total:,} bytes; the limit is {max_bytes:,}.")
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
                    raise BadInput(f"The .npz file's {member.filename!r} is compressed in a way that is not read; use numpy.savez.")
                arrays[member.filename.removesuffix(".npy")] = read_npy(archive.read(member))
    except (BadInput, TooLarge):
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, LookupError) as error:  # encrypted, cut, ...
        raise BadInput("The .npz file is cut short or damaged; write it with numpy.savez(file, name=array).") from error
    return arrays


def write_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays, of no objects, as a .npz file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(array), allow_pickle=False)
    return file.getvalue()
