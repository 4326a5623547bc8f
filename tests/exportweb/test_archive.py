from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from exportweb import Store, archive, artifact
from exportweb.errors import ArtifactError, CardError, TornArtifact
from scripted import Colours, publish_script, script, traced
from serving import Artifacts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "colours.torchscript"
    path.write_bytes(script(epoch=3))
    return path


def test_a_card_is_read_back_without_pytorch(path: Path) -> None:
    code = f"import sys; from exportweb import artifact; print(artifact.read({str(path)!r}).card.source.epoch, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["3", "False"], done.stderr


def test_what_is_read_is_what_was_written_and_whole(path: Path) -> None:
    found = artifact.read(path)
    artifact.verify(found)
    assert found.format == "torchscript"
    assert found.card is not None
    assert found.card.replace(digest=None) == Artifacts().card(epoch=3)


def test_pytorch_itself_reads_graph_and_card(path: Path) -> None:
    extra = {archive.CARD: ""}
    module = torch.jit.load(path, _extra_files=extra)
    assert torch.equal(module(torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)), torch.full((1, 3), 10.0))
    assert b'"name":"colours"' in extra[archive.CARD]


def test_any_byte_before_the_card_is_covered(path: Path) -> None:
    data = path.read_bytes()
    end = artifact.read(path).card_span[0]
    for at in range(0, end, end // 50):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((TornArtifact, ArtifactError)):
            artifact.verify(artifact.read(path))


def test_a_file_that_was_cut_short_anywhere_says_so(path: Path) -> None:
    data = path.read_bytes()
    for end in (4, 100, len(data) // 2, len(data) - 30, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(TornArtifact, match=r"torn, or not a TorchScript archive"):
            artifact.read(path)


def test_a_torchscript_file_from_elsewhere_has_no_card(tmp_path: Path) -> None:
    torch.jit.save(traced(Colours()), tmp_path / "plain.pt")
    found = artifact.read(tmp_path / "plain.pt")
    assert (found.card, found.format) == (None, "torchscript")
    artifact.verify(found)  # there is nothing to compare with


def test_a_card_that_pytorch_wrote_as_an_extra_file_is_read(tmp_path: Path) -> None:
    card = Artifacts().card()
    torch.jit.save(traced(Colours()), tmp_path / "m.pt", _extra_files={archive.CARD: card.encode()})
    assert artifact.read(tmp_path / "m.pt").card == card


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    with pytest.raises(ArtifactError, match=r"not TorchScript\. Weights alone are no model"):
        artifact.read(tmp_path / "weights.pt")


def test_a_card_that_unfolds_to_too_much_is_not_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/constants.pkl", b"")
        bomb.writestr(f"archive/extra/{archive.CARD}", bytes(archive._LARGEST + 1))
    with pytest.raises(CardError, match="67108865 bytes"):
        archive.read_card(file, what="bomb.pt")


def test_the_same_records_make_the_same_bytes() -> None:
    files = []
    for _ in range(2):
        files.append(io.BytesIO())
        writer = archive.Writer(files[-1])
        writer.add("archive/data/0", b"weights")
        writer.finish(Artifacts().card())
    assert files[0].getvalue() == files[1].getvalue()


def test_a_store_holds_both_formats(tmp_path: Path, artifacts: Artifacts) -> None:
    store = Store(tmp_path)
    artifacts.publish(store)
    assert publish_script(store, epoch=7) == 2
    assert artifacts.publish(store) == 3
    assert [path.name for path in store.versions().values()] == ["000001.onnx", "000002.torchscript", "000003.onnx"]
    card = store.card(2)
    assert card is not None
    assert card.source.epoch == 7
    store.rollback(2)
    assert (tmp_path / "LATEST").read_text() == "000002.torchscript\nrollback\n"
    assert store.prune(1) == [1]


def test_a_copy_with_another_card_answers_the_same(tmp_path: Path) -> None:
    publish_script(Store(tmp_path))
    found = artifact.read(tmp_path / "000001.torchscript")
    assert found.card is not None
    with (tmp_path / "copy.torchscript").open("wb") as file:
        artifact.rewrite(file, found, found.card.replace(name="renamed"))
    copy = artifact.read(tmp_path / "copy.torchscript")
    artifact.verify(copy)
    assert copy.card == found.card.replace(name="renamed", digest=copy.card and copy.card.digest)
    image = torch.arange(8 * 8 * 3, dtype=torch.uint8).view(1, 8, 8, 3)
    answers = [torch.jit.load(path)(image) for path in (found.path, copy.path)]
    assert torch.equal(*(answer[0] if isinstance(answer, tuple) else answer for answer in answers))
