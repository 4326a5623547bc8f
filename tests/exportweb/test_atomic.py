"""Files that appear whole or not at all, and that the disk begins with before all is there."""

from __future__ import annotations

import errno
import os
import random
from array import array
from pathlib import Path

import pytest

from exportweb.atomic import replace_file

MB = 1 << 20


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    replace_file(path, lambda file: file.write(b"new"))
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


@pytest.mark.parametrize("sizes", [[], [0, 1, 0], [20 * MB], [3, 9 * MB, 100, MB, 8 * MB, 5]], ids=str)
def test_all_bytes_arrive_in_their_order(tmp_path: Path, sizes: list[int]) -> None:
    chunks = [random.Random(size).randbytes(size) for size in sizes]
    replace_file(tmp_path / "file", lambda file: file.writelines(memoryview(chunk) if i % 2 else chunk for i, chunk in enumerate(chunks)))
    assert (tmp_path / "file").read_bytes() == b"".join(chunks)


def test_an_array_is_written_as_its_bytes(tmp_path: Path) -> None:
    numbers = array("f", range(5 * MB))
    replace_file(tmp_path / "file", lambda file: file.write(numbers))
    assert (tmp_path / "file").read_bytes() == numbers.tobytes()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
def test_the_disk_begins_before_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int, int]] = []
    advise = os.posix_fadvise

    def note(fd: int, offset: int, length: int, advice: int) -> None:
        told.append((offset, length, os.fstat(fd).st_size))
        advise(fd, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", note)
    replace_file(tmp_path / "file", lambda file: file.writelines([b"head", *[bytes(3 * MB)] * 6, bytes(20 * MB)]))
    ends = [offset + length for offset, length, _ in told]
    assert [offset for offset, _, _ in told] == [0, *ends[:-1]], "each part follows the one before"
    assert ends == [size for _, _, size in told], "the disk is told of what is in the file already"
    assert len(told) == 4, "of 38 MB, in parts of 8 or a little more"


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
def test_a_file_system_that_takes_no_advice_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, length: int, advice: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    replace_file(tmp_path / "file", lambda file: file.writelines([bytes(9 * MB), b"end"]))
    assert (tmp_path / "file").read_bytes() == bytes(9 * MB) + b"end"
