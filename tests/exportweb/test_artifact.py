from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from exportweb import Card, artifact
from exportweb.errors import ArtifactError, CardError, TornArtifact

Write = Callable[[Path], Path]


@pytest.fixture
def path(tmp_path: Path, write_artifact: Write) -> Path:
    return write_artifact(tmp_path / "model.onnx")


def test_a_card_is_read_back_with_its_digest(path: Path, card: Card) -> None:
    found = artifact.read(path)
    assert found.card is not None
    assert found.card.replace(digest=None) == card
    assert found.card.digest is not None
    assert found.card.digest.startswith("blake3:")
    artifact.verify(found)


def test_the_file_is_ordinary_onnx(path: Path, graph: bytes) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["author", "exportweb.card"]
    assert path.read_bytes().startswith(graph)


def test_a_model_that_onnx_saved_again_keeps_its_card(path: Path, card: Card, tmp_path: Path) -> None:
    """Another tool may reorder the fields: the card is found wherever it is; the digest then tells of the change."""
    again = tmp_path / "again.onnx"
    model = onnx.load(path)
    model.producer_name = "another tool"
    onnx.save(model, again)
    found = artifact.read(again)
    assert found.card is not None
    assert found.card.name == card.name
    with pytest.raises(TornArtifact, match="altered"):
        artifact.verify(found)


def test_a_foreign_file_has_no_card(tmp_path: Path, graph: bytes) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(graph)
    found = artifact.read(path)
    assert found.card is None
    artifact.verify(found)


def test_cut_short_anywhere_it_has_no_card(path: Path, tmp_path: Path) -> None:
    """At no length is a part of an artifact taken for a whole one."""
    data, cut = path.read_bytes(), tmp_path / "cut.onnx"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        try:
            found = artifact.read(cut)
        except ArtifactError:
            continue
        assert found.card is None, f"{length} of {len(data)} bytes"


def test_every_altered_byte_is_noticed(path: Path, tmp_path: Path) -> None:
    found = artifact.read(path)
    data, altered = path.read_bytes(), tmp_path / "altered.onnx"
    for at in range(found.card_span[0]):
        altered.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((ArtifactError, CardError)):
            artifact.verify(artifact.read(altered))


def test_bytes_added_behind_the_card_are_noticed(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\x08\x0a")  # ir_version = 10, again: protobuf takes the last one
    with pytest.raises(TornArtifact):
        artifact.verify(artifact.read(path))


def test_writing_in_pieces_is_writing_at_once(card: Card, graph: bytes) -> None:
    whole, pieces = io.BytesIO(), io.BytesIO()
    artifact.write(whole, [graph], card)
    artifact.write(pieces, [graph[:5], memoryview(graph)[5:9], memoryview(bytearray(graph))[9:]], card)
    assert whole.getvalue() == pieces.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, world",
        b"\xff\xd8\xff\xe0" + bytes(60),
        b"PK\x03\x04" + bytes(60),
        b"\x89PNG\r\n\x1a\n",
        bytes(100),
        b"\xff" * 40,
    ],
    ids=["empty", "text", "jpeg", "zip", "png", "zeros", "ones"],
)
def test_other_files_are_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "holiday.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"holiday\.onnx"):
        artifact.read(path)


def test_random_bytes_are_refused_and_nothing_worse(tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    for _ in range(200):
        path.write_bytes(os.urandom(64))
        with pytest.raises(ArtifactError):
            artifact.read(path)


def test_a_card_that_is_no_card_says_so(tmp_path: Path, graph: bytes) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load_from_string(graph)
    onnx.helper.set_model_props(model, {"exportweb.card": "not JSON"})
    onnx.save(model, path)
    with pytest.raises(CardError, match="can't be read"):
        artifact.read(path)


def test_a_missing_file_stays_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artifact.read(tmp_path / "none.onnx")


def test_the_graph_is_not_read(tmp_path: Path, card: Card) -> None:
    """A card behind 8 GB of graph (a hole in the file) is there in a few seeks."""
    path, length = tmp_path / "large.onnx", 8_000_000_000
    with path.open("wb") as file:
        file.write(bytes([7 << 3 | 2]) + artifact.encode_varint(length))
        file.seek(length, os.SEEK_CUR)
        file.write(artifact.card_entry(card))
    found = artifact.read(path)
    assert found.card == card
    assert found.card_span == (length + 6, path.stat().st_size)


@pytest.mark.parametrize(("value", "encoded"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varints_are_protobufs(value: int, encoded: bytes) -> None:
    assert artifact.encode_varint(value) == encoded


def test_a_copy_with_another_card_has_the_same_graph(path: Path, card: Card, graph: bytes, tmp_path: Path) -> None:
    """Wherever the first card lies in the file."""
    source = path
    found = artifact.read(source)
    start, end = found.card_span
    data = source.read_bytes()
    source.write_bytes(data[start:end] + data[:start])
    with (tmp_path / "copy.onnx").open("wb") as file:
        artifact.rewrite(file, artifact.read(source), card.replace(name="renamed"))
    copy = artifact.read(tmp_path / "copy.onnx")
    artifact.verify(copy)
    assert copy.card is not None
    assert copy.card.name == "renamed"
    assert (tmp_path / "copy.onnx").read_bytes()[: len(graph)] == graph
