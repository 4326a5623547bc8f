"""The artifact: one immutable file that holds graph, weights and card, and needs nothing beside it.

An ONNX artifact is an ordinary ONNX file. Its card is the ``metadata_props`` entry ``exportweb.card`` of the ModelProto, and is
written last: protobuf fields may come in any order, so a card can be appended to a finished graph, the digest in it covers all
bytes that are not the card's own, and a file that was cut short has lost its card. Reading one takes a few seeks, never the `onnx`
package (protobuf's wire format: https://protobuf.dev/programming-guides/encoding; field numbers: onnx/onnx.proto, ModelProto).

A TorchScript artifact is a zip archive; see `exportweb.archive`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from exportweb import archive
from exportweb.card import Card
from exportweb.digest import Digest
from exportweb.errors import ArtifactError, TornArtifact

KEY = b"exportweb.card"

# Fields of ModelProto, of the StringStringEntryProto in its metadata_props, of GraphProto, and of TensorProto where it is kept elsewhere.
_GRAPH, _METADATA, _ENTRY_KEY, _ENTRY_VALUE = 7, 14, 1, 2
_INITIALIZER, _LOCATION = 5, 13
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CHUNK = 1 << 20


class Field(NamedTuple):
    """A protobuf field: its number, where its tag starts, where its value starts and ends (offsets in bytes)."""

    number: int
    tag: int
    start: int
    end: int


class Artifact(NamedTuple):
    """An artifact on disk: `card` is None for a file from elsewhere; `card_span` is where the card's entry lies."""

    path: Path
    card: Card | None
    card_span: tuple[int, int]
    format: Literal["onnx", "torchscript"] = "onnx"


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read the card of an ONNX or TorchScript file without loading its graph; nothing in it is run.

    Raises `TornArtifact` if the file ends too early, `ArtifactError` if it is neither, `CardError` if its card can't be understood,
    `OSError` if it can't be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        format: Literal["onnx", "torchscript"] = "torchscript" if archive.is_archive(file) else "onnx"
        return Artifact(path, *read_card(file, what=str(path)), format)


def read_card(file: BinaryIO, *, what: str) -> tuple[Card | None, tuple[int, int]]:
    """Read the card of an open file, which can seek, and where its entry lies; `what` names the file in errors.

    Raises what `read` raises. A few short reads: cheap of a file far away, too.
    """
    if archive.is_archive(file):
        return archive.read_card(file, what=what)
    span, value, graph = (0, 0), None, False
    for field in fields(file, 0, file.seek(0, os.SEEK_END), what=what):
        graph = graph or field.number == _GRAPH
        if field.number == _METADATA:
            entry = {f.number: f for f in fields(file, field.start, field.end, what=what)}
            if _ENTRY_KEY in entry and _bytes(file, entry[_ENTRY_KEY]) == KEY and _ENTRY_VALUE in entry:
                span, value = (field.tag, field.end), _bytes(file, entry[_ENTRY_VALUE])
    if not graph:
        raise ArtifactError(f"{what} is not an ONNX file: it holds no graph.")
    return None if value is None else Card.decode(value), span


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return what an ONNX file says about itself in its ``metadata_props``, by key. Raises what `read` raises, but `CardError`."""
    with Path(path).open("rb") as file:
        what, found = str(path), {}
        for field in fields(file, 0, file.seek(0, os.SEEK_END), what=what):
            if field.number == _METADATA:
                entry = {f.number: _bytes(file, f).decode("utf-8", "replace") for f in fields(file, field.start, field.end, what=what)}
                found[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE, "")
        return found


def external(path: str | os.PathLike[str]) -> bool:
    """Whether some weight of an ONNX file lies in another file. Raises what `metadata` raises."""
    with Path(path).open("rb") as file:
        what = str(path)
        graphs = [field for field in fields(file, 0, file.seek(0, os.SEEK_END), what=what) if field.number == _GRAPH]
        weights = [field for graph in graphs for field in fields(file, graph.start, graph.end, what=what) if field.number == _INITIALIZER]
        return any(field.number == _LOCATION for weight in weights for field in fields(file, weight.start, weight.end, what=what))


def verify(artifact: Artifact) -> None:
    """Compare the digest in an artifact's card with its bytes.

    Raises `TornArtifact` if they disagree, `ArtifactError` if it is not known how the digest was made.

    An artifact without a card, or with a card that has no digest, passes: there is nothing to compare with.
    """
    if artifact.card is None or artifact.card.digest is None:
        return
    found = Digest.like(artifact.card.digest, what=str(artifact.path))
    start, end = artifact.card_span
    with artifact.path.open("rb", buffering=0) as file:
        found.read(file, start)
        file.seek(end)
        found.read(file)
    if str(found) != artifact.card.digest:
        raise TornArtifact(f"{artifact.path} is torn or was altered: its bytes don't match the digest in its card.")


def write(file: BinaryIO, chunks: Iterable[bytes | memoryview], card: Card) -> None:
    """Write an ONNX artifact: the bytes of a ModelProto that holds no card, then the card with their digest.

    Buffers are hashed and written as they come, so a weight can be written from where it lies. Syncing is the caller's.
    """

    def written() -> Iterator[bytes | memoryview]:
        for chunk in chunks:
            file.write(chunk)
            yield chunk

    file.write(card_entry(card.replace(digest=digest(written()))))


def rewrite(file: BinaryIO, artifact: Artifact, card: Card) -> None:
    """Write a copy of an artifact, of either format, whose card is another. Syncing is the caller's. `OSError` if it can't be read."""
    if artifact.format == "torchscript":
        archive.rewrite(file, artifact.path, card)
    else:
        write(file, _without_card(artifact), card)


def _without_card(artifact: Artifact) -> Iterator[bytes]:
    start, end = artifact.card_span
    with artifact.path.open("rb") as file:
        for begin, stop in ((0, start), (end, file.seek(0, os.SEEK_END))):
            file.seek(begin)
            while begin < stop and (block := file.read(min(_CHUNK, stop - begin))):
                yield block
                begin += len(block)


def digest(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the digest that a card has of the artifact without it."""
    made = Digest()
    for chunk in chunks:
        made.update(chunk)
    return str(made)


def card_entry(card: Card) -> bytes:
    """Return the card as a ``metadata_props`` entry, ready to be appended to a serialised ModelProto."""
    entry = _field_bytes(_ENTRY_KEY, KEY) + _field_bytes(_ENTRY_VALUE, card.encode())
    return _field_bytes(_METADATA, entry)


def fields(file: BinaryIO, start: int, end: int, *, what: str = "protobuf") -> Iterator[Field]:
    """Walk the protobuf fields between two offsets of a file, without reading their values.

    Raises `TornArtifact` when a field runs past `end`, `ArtifactError` when the bytes are no protobuf.
    """
    offset = start
    while offset < end:
        file.seek(offset)
        head = file.read(min(20, end - offset))  # a tag and a length are two varints of at most ten bytes
        tag, used = _varint(head, 0, what)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, used = _varint(head, used, what)
            value, stop = offset + used, offset + used + length
        elif wire == _VARINT:
            value, stop = offset + used, offset + _varint(head, used, what)[1]
        elif wire in (_FIXED64, _FIXED32):
            value = offset + used
            stop = value + (8 if wire == _FIXED64 else 4)
        else:
            raise ArtifactError(f"{what} is not an ONNX file (unknown protobuf wire type {wire} at byte {offset}).")
        if number == 0:
            raise ArtifactError(f"{what} is not an ONNX file (field number 0 at byte {offset}).")
        if stop > end:
            raise TornArtifact(f"{what} is torn, or not an ONNX file: a field at byte {offset} runs past its end.")
        yield Field(number, offset, value, stop)
        offset = stop


def _varint(data: bytes, at: int, what: str) -> tuple[int, int]:
    """Decode a base-128 varint; return the value and the offset behind it."""
    value = shift = 0
    for i in range(at, min(len(data), at + 10)):
        value |= (data[i] & 0x7F) << shift
        if data[i] < 0x80:
            return value, i + 1
        shift += 7
    raise TornArtifact(f"{what} is torn, or not an ONNX file: a number in it has no end.")


def encode_varint(value: int) -> bytes:
    """Encode a non-negative integer as a base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field_bytes(number: int, value: bytes) -> bytes:
    return encode_varint(number << 3 | _BYTES) + encode_varint(len(value)) + value


def _bytes(file: BinaryIO, field: Field) -> bytes:
    file.seek(field.start)
    return file.read(field.end - field.start)
