"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from exportweb.atomic import replace_file

MB = 1 << 20


@pytest.mark.parametrize("direct", [False, True])
def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path, direct: bool) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    replace_file(path, lambda file: file.write(b"new"), direct=direct)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_file_is_untouched_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_file(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("direct", [False, True])
def test_all_bytes_arrive(tmp_path: Path, direct: bool) -> None:
    chunks = [random.Random(size).randbytes(size) for size in (3, 9 * MB, 100, MB, 0, 5)]
    replace_file(tmp_path / "file", lambda file: file.writelines(chunks), direct=direct)
    assert (tmp_path / "file").read_bytes() == b"".join(chunks)
