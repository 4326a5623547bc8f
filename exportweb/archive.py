"""A TorchScript artifact: the zip archive that `torch.jit.save` writes, with the card as its last record.

The card is the extra file ``exportweb.card.json``, which PyTorch hands out, too (``torch.jit.load(..., _extra_files=...)``). The digest in
it covers all bytes before its own record; behind that there is nothing but the archive's directory, and a file that was cut short has
none. Reading and writing one needs no PyTorch, and reading runs nothing that the archive holds.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO, cast

from exportweb.card import Card
from exportweb.digest import Digest
from exportweb.errors import ArtifactError, CardError, TornArtifact

CARD = "exportweb.card.json"

_MAGIC = b"PK\x03\x04"
_LARGEST = 1 << 26  # bytes of a card: what an archive claims to unfold to isn't believed
_DATE = (1980, 1, 1, 0, 0, 0)  # the same weights make the same bytes


def is_archive(file: BinaryIO) -> bool:
    """Whether an open file begins as a zip archive; leaves it at its start."""
    file.seek(0)
    magic = file.read(len(_MAGIC))
    file.seek(0)
    return magic == _MAGIC


def read_card(file: BinaryIO, *, what: str) -> tuple[Card | None, tuple[int, int]]:
    """Read the card of an open TorchScript archive, which can seek, and from where to where nothing belongs to its digest.

    Raises `TornArtifact` if the archive has no end, `ArtifactError` if it isn't TorchScript, `CardError` if its card can't be understood.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if not any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in names):
                raise ArtifactError(
                    f"{what} is a zip archive, but not TorchScript. Weights alone are no model: export the model that they belong to."
                )
            name = f"{names[0].partition('/')[0]}/extra/{CARD}"
            if name not in names:
                return None, (0, 0)
            entry = archive.getinfo(name)
            if entry.file_size > _LARGEST:
                raise CardError(f"The card of {what} says that it has {entry.file_size} bytes; {_LARGEST} is the most that is read.")
            return Card.decode(archive.read(entry)), (entry.header_offset, file.seek(0, os.SEEK_END))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise TornArtifact(f"{what} is torn, or not a TorchScript archive: {error}.") from error


class Writer:
    """Writes a TorchScript artifact into an open file, record by record, each from where it lies in memory; the card comes last."""

    def __init__(self, file: BinaryIO) -> None:
        self._sink = _Hashed(file)
        self._archive = zipfile.ZipFile(cast(BinaryIO, self._sink), "w")
        self._root = ""

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Write a record under its whole name (``archive/data/0``), uncompressed."""
        self._root = self._root or name.partition("/")[0]
        self._archive.writestr(zipfile.ZipInfo(name, _DATE), data)

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return str(self._sink.digest)

    def finish(self, card: Card) -> None:
        """Write the card and the archive's directory; the file stays open."""
        self.add(f"{self._root}/extra/{CARD}", card.encode())
        self.close()

    def close(self) -> None:
        """Write the archive's directory, without a card."""
        self._archive.close()


def rewrite(file: BinaryIO, source: Path, card: Card) -> None:
    """Write a copy of the archive at `source` whose card is another; what its records hold is copied as it is."""
    writer = Writer(file)
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if not name.endswith(f"/extra/{CARD}"):
                writer.add(name, archive.read(name))
    writer.finish(card.replace(digest=writer.digest))


class _Hashed:
    """A file that hashes what is written to it, and that can't seek, so that `zipfile` never goes back to change something."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = Digest()

    def write(self, data: bytes | memoryview) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
