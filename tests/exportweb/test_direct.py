"""Files that go to the disk past the system's memory, where the system can do that."""

from __future__ import annotations

import errno
import os
import random
from array import array
from pathlib import Path

import pytest

from exportweb.direct import DirectFile

MB = 1 << 20
DIRECT = getattr(os, "O_DIRECT", 0)

linux = pytest.mark.skipif(not DIRECT, reason="this system has no O_DIRECT")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The flags with which files are opened, in their order."""
    flags: list[int] = []
    really = os.open

    def note(path: str, flag: int, mode: int = 0o777) -> int:
        flags.append(flag)
        return really(path, flag, mode)

    monkeypatch.setattr(os, "open", note)
    return flags


@pytest.mark.parametrize("sizes", [[], [0, 1, 0], [4096], [2 * MB], [20 * MB], [3, 9 * MB, 100, MB, 8 * MB, 5]], ids=str)
def test_all_bytes_arrive_in_their_order(tmp_path: Path, sizes: list[int]) -> None:
    chunks = [random.Random(size).randbytes(size) for size in sizes]
    with DirectFile(tmp_path / "file") as file:
        file.writelines(memoryview(chunk) if i % 2 else chunk for i, chunk in enumerate(chunks))
    assert (tmp_path / "file").read_bytes() == b"".join(chunks)


def test_an_array_is_written_as_its_bytes(tmp_path: Path) -> None:
    numbers = array("f", range(5 * MB))
    with DirectFile(tmp_path / "file") as file:
        file.write(numbers)
    assert (tmp_path / "file").read_bytes() == numbers.tobytes()


def test_what_comes_after_a_sync_is_there_too(tmp_path: Path) -> None:
    """As a card, which is written when all before it is on the disk."""
    graph = random.Random(0).randbytes(5 * MB + 17)
    with DirectFile(tmp_path / "file") as file:
        file.write(graph)
        file.flush()
        os.fsync(file.fileno())
        assert (tmp_path / "file").read_bytes() == graph
        file.write(b"card")
    assert (tmp_path / "file").read_bytes() == graph + b"card"


def test_what_was_written_can_be_written_over(tmp_path: Path) -> None:
    """As a zip archive does with the size of a member."""
    with DirectFile(tmp_path / "file") as file:
        file.write(bytes(3 * MB + 5))
        assert file.tell() == 3 * MB + 5
        file.seek(2)
        file.write(b"size")
        file.seek(0, os.SEEK_END)
        file.write(b"end")
        assert file.tell() == 3 * MB + 8
    assert (tmp_path / "file").read_bytes() == b"\0\0size" + bytes(3 * MB - 1) + b"end"


@linux
def test_the_disk_takes_all_whole_blocks_itself(tmp_path: Path, opened: list[int]) -> None:
    with DirectFile(tmp_path / "file") as file:
        file.write(bytes(5 * MB))
        assert opened[-1] & DIRECT
        assert (tmp_path / "file").stat().st_size == 4 * MB, "two buffers; the third isn't full"
    assert (tmp_path / "file").stat().st_size == 5 * MB


@linux
def test_a_file_system_that_cannot_do_it_is_written_as_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with DirectFile(tmp_path / "file") as file:
        file.writelines([bytes(9 * MB), b"end"])
    assert (tmp_path / "file").read_bytes() == bytes(9 * MB) + b"end"


@linux
def test_one_that_says_so_when_it_is_written_is_written_as_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that aren't as large as the disk's are refused: so is memory that doesn't begin where one may."""
    import mmap

    really = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", lambda fd, size: memoryview(really(fd, size + 1))[1:])
    data = random.Random(0).randbytes(9 * MB + 1)
    with DirectFile(tmp_path / "file") as file:
        file.write(data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        DirectFile(tmp_path / "missing" / "file")
