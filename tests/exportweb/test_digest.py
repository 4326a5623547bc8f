from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from exportweb import Card, artifact
from exportweb.digest import Digest
from exportweb.errors import ArtifactError, TornArtifact


def test_it_is_blake3() -> None:
    """The first and the fourth of https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json."""
    digest = Digest()
    assert str(digest) == "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    digest.update(b"\0\1")
    digest.update(memoryview(b"\2"))
    assert str(digest) == "blake3:e1be4d7a8ab5560aa4199eea339849ba8e293d55ca0a81006726d184519e647f"


@pytest.mark.parametrize("count", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000, 9_000_000, None])
def test_a_file_is_read_from_where_it_stands(count: int | None) -> None:
    data = bytes(range(256)) * 12_000
    file = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    file.seek(1000)
    digest, expected = Digest(), Digest()
    digest.read(file, count)
    expected.update(data[1000:][:count])
    assert str(digest) == str(expected)
    assert file.tell() == min(len(data), 1000 + (len(data) if count is None else count))


def test_sha256_is_known(tmp_path: Path, card: Card, graph: bytes) -> None:
    path = tmp_path / "model.onnx"
    for data, torn in ((graph, False), (graph[:-1] + bytes([graph[-1] ^ 1]), True)):
        path.write_bytes(data + artifact.card_entry(card.replace(digest=f"sha256:{hashlib.sha256(graph).hexdigest()}")))
        if torn:
            with pytest.raises(TornArtifact, match="altered"):
                artifact.verify(artifact.read(path))
        else:
            artifact.verify(artifact.read(path))


def test_what_a_newer_exportweb_made_is_not_called_torn(tmp_path: Path, card: Card, graph: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph + artifact.card_entry(card.replace(digest="sha3-256:00")))
    with pytest.raises(ArtifactError, match=r"model\.onnx has a digest of a newer exportweb, 'sha3-256'; this one") as caught:
        artifact.verify(artifact.read(path))
    assert not isinstance(caught.value, TornArtifact)
