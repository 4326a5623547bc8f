"""`exportweb inspect`: what a file says about itself."""

from __future__ import annotations

import json
from pathlib import Path

from exportweb import Store
from scripts import exportweb as run
from scripts import fails
from serving import Artifacts


def test_inspect_shows_the_card(file: Path) -> None:
    done = run("inspect", file)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "colours, version 4"
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert shown["task"] == "image-classification"
    assert shown["input"] == "image: 8 x 8, RGB, uint8 NHWC, normalised in the graph"
    assert shown["resize"] == "shortest edge to 8, bicubic, then the centre"
    assert shown["labels"] == "3: red, green, blue"
    assert shown["source"] == "numpy mean, epoch 3"
    assert shown["metrics"] == "accuracy 0.5, loss 1.25"
    assert shown["golden"] == "image uint8 [2, 8, 8, 3] -> logits float32 [2, 3], tolerance 0.001"
    assert shown["digest"].endswith("verified")
    assert shown["size"].endswith("kB")
    assert len({line.index(line.split(maxsplit=1)[1]) for line in lines}) == 1, "the values are aligned"


def test_inspect_for_a_program(file: Path) -> None:
    shown = json.loads(run("inspect", file, "--json").stdout)
    assert shown["torn"] is None
    assert shown["size"] == file.stat().st_size
    assert shown["card"]["labels"] == ["red", "green", "blue"]
    assert "golden" not in shown["card"]


def test_inspect_a_store_shows_its_latest(store: Store) -> None:
    store.rollback(2)
    assert run("inspect", store.folder).stdout.startswith("colours, version 2\n")


def test_inspect_an_altered_file(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data.replace(b"colours", b"colourS", 1))
    done = run("inspect", file)
    assert done.returncode == 1
    assert "does NOT match" in done.stdout
    assert "altered" in done.stderr
    assert "altered" in json.loads(run("inspect", file, "--json").stdout)["torn"]


def test_inspect_a_foreign_file_says_how_to_serve_it(artifacts: Artifacts, tmp_path: Path) -> None:
    done = run("inspect", artifacts.write(tmp_path / "foreign.onnx", carded=False))
    assert done.returncode == 0
    assert "without a card" in done.stdout
    assert "--task image-classification" in done.stdout


def test_inspect_what_is_no_model(tmp_path: Path) -> None:
    text = tmp_path / "notes.onnx"
    text.write_text("hello, world")
    fails("inspect", text, says="notes.onnx is (torn, or )?not an ONNX file")
    fails("inspect", tmp_path / "none.onnx", says="nothing at .*none.onnx")
    (tmp_path / "empty").mkdir()
    fails("inspect", tmp_path / "empty", says="no version yet")
    script = tmp_path / "model.pt"
    script.write_bytes(b"PK\x03\x04" + bytes(100))
    fails("inspect", script, says="TorchScript")
