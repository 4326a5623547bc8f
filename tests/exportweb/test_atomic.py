"""Files that appear whole or not at all, and bytes that the disk writes while others are still coming."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from exportweb.atomic import replace_file, write_synced

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
    with (tmp_path / "file").open("wb") as file:
        file.write(b"head")
        write_synced(file, [memoryview(chunk) if i % 2 else chunk for i, chunk in enumerate(chunks)])
        file.write(b"tail")
    assert (tmp_path / "file").read_bytes() == b"".join([b"head", *chunks, b"tail"])


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
def test_the_disk_begins_before_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int, int]] = []
    advise = os.posix_fadvise

    def note(fd: int, offset: int, length: int, advice: int) -> None:
        told.append((offset, length, os.fstat(fd).st_size))
        advise(fd, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", note)
    with (tmp_path / "file").open("wb") as file:
        file.write(b"head")
        write_synced(file, [bytes(3 * MB)] * 7)
    ends = [offset + length for offset, length, _ in told]
    assert [offset for offset, _, _ in told] == [4, *ends[:-1]], "each part follows the one before"
    assert ends == [size for _, _, size in told], "the disk is told of what is in the file already"
    assert len(told) == 2


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
def test_a_file_system_that_takes_no_advice_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, length: int, advice: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    with (tmp_path / "file").open("wb") as file:
        write_synced(file, [bytes(9 * MB), b"end"])
    assert (tmp_path / "file").read_bytes() == bytes(9 * MB) + b"end"
