"""A single file, served and replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from exportweb.errors import TornArtifact
from exportweb.runtime import builder, card_for_onnx
from serving import Artifacts
from versions import Served, float_graph, replace, score, version

Serve = Callable[..., Served]
Picture = Callable[..., bytes]


def states(served: Served) -> list[tuple[int, str]]:
    return [(info.version, info.state) for info in served.model.versions()]


def test_a_file_that_is_replaced_serves_again(tmp_path: Path, serve_model: Serve, picture: Picture) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(scale=1.0))
    served = serve_model(path)
    assert served.heard.wait("loaded").info.version == 1
    replace(path, version(scale=2.0))
    assert served.heard.wait("loaded").info.version == 2
    answer = served.ask(picture(), top_k=1)
    assert (answer.version, answer.result[0]["score"]) == (2, pytest.approx(score(2)))
    path.write_bytes(version(scale=3.0))  # in place
    assert served.heard.wait("loaded").info.version == 3
    path.unlink()
    assert served.ask(picture()).version == 3


def test_a_file_that_appears_later(tmp_path: Path, serve_model: Serve, picture: Picture) -> None:
    path = tmp_path / "models" / "model.onnx"
    served = serve_model(path, wait=False)
    path.parent.mkdir()
    path.write_bytes(version(version=12))
    assert served.heard.wait("loaded").info.version == 12
    assert served.ask(picture()).version == 12


def test_a_file_that_is_being_copied_is_waited_for(
    tmp_path: Path, serve_model: Serve, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "SETTLED", 2.0)
    path, data = tmp_path / "model.onnx", version(scale=2.0)
    path.write_bytes(version(scale=1.0))
    served = serve_model(path)
    pause = threading.Event()
    with path.open("wb") as file:
        for at in range(0, len(data), len(data) // 5):
            file.write(data[at : at + len(data) // 5])
            file.flush()
            pause.wait(0.1)  # a copy takes its time
            assert served.ask(picture()).version == 1
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.version == 2
    assert served.heard.of("rejected") == []


def test_a_file_that_stays_torn_is_rejected_once(tmp_path: Path, serve_model: Serve, picture: Picture) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(scale=1.0))
    served = serve_model(path)
    path.write_bytes(version(scale=2.0)[:-50])
    served.heard.wait("rejected")
    assert served.ask(picture()).version == 1
    path.write_bytes(version(scale=2.0))
    served.heard.wait("loaded")
    served.heard.wait("loaded")
    assert len(served.heard.of("rejected")) == 1


def test_the_same_bytes_again_are_no_new_version(tmp_path: Path, serve_model: Serve) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(scale=1.0))
    served = serve_model(path)
    replace(path, version(scale=1.0))
    replace(path, version(scale=2.0))
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.version == 2


def test_an_older_file_is_rejected(tmp_path: Path, serve_model: Serve) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(scale=5.0, version=5))
    served = serve_model(path)
    replace(path, version(scale=4.0, version=4))
    reason = served.heard.wait("rejected").info.reason
    assert reason is not None
    assert "older than 5" in reason
    replace(path, version(scale=6.0, version=6))
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.version == 6


def test_a_file_without_a_number_is_older_by_when_it_was_made(tmp_path: Path, serve_model: Serve) -> None:
    path, source = tmp_path / "model.onnx", Artifacts().card(scale=1.0).source
    path.write_bytes(version(scale=1.0))
    served = serve_model(path)
    yesterday = msgspec.structs.replace(source, created="2026-01-01T03:04:05Z")
    replace(path, version(scale=2.0, source=yesterday))
    assert "made at 2026-01-01T03:04:05Z, before" in str(served.heard.wait("rejected").info.reason)
    tomorrow = msgspec.structs.replace(source, created="2026-01-03T03:04:05.678Z")
    replace(path, version(scale=3.0, source=tomorrow))
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.created == "2026-01-03T03:04:05.678Z"


def test_a_torn_file_is_the_reason_that_start_raises(tmp_path: Path, serve_model: Serve) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version()[:-10])
    with pytest.raises(TornArtifact):
        serve_model(path)


def test_a_foreign_file_with_a_card_of_the_users_words(tmp_path: Path, serve_model: Serve, picture: Picture) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(float_graph())
    card = card_for_onnx(path, task="image-classification", labels=["r", "g", "b"], mean=[0], std=[0.1])
    served = serve_model(path, card=card)
    assert served.ask(picture("green"), top_k=1).result[0]["label"] == "g"
    replace(path, float_graph() + b"")  # a new training of the same graph
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.version == 2


# -- the rest ---------------------------------------------------------------------------------------------------------
