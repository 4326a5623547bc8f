"""`exportweb card`: a foreign file gets a card and is then served without a word."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import cells
from exportweb import artifact
from scripts import exportweb as run
from serving import Artifacts
from versions import float_graph


def test_a_yolo_needs_no_option(tmp_path: Path) -> None:
    done = run("card", cells.write(tmp_path), "-o", tmp_path / "carded.onnx")
    assert done.returncode == 0, done.stderr
    assert "carded.onnx is written (object-detection, 3 labels). Try: exportweb serve" in done.stdout
    found = artifact.read(tmp_path / "carded.onnx")
    artifact.verify(found)
    assert found.card is not None
    assert found.card.labels == ("red", "green", "it's blue")
    onnx.checker.check_model(onnx.load(tmp_path / "carded.onnx"))


def test_the_options_are_those_of_serve(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(float_graph())
    (tmp_path / "data.yaml").write_text("names: {0: a, 1: b, 2: c}\n")
    options = ["--task", "image-classification", "--labels", tmp_path / "data.yaml", "--mean", "0.5", "--std", "0.5", "--name", "means"]
    done = run("card", path, "-o", path, *options)
    assert done.returncode == 0, done.stderr
    card = artifact.read(path).card
    assert card is not None
    assert (card.name, card.labels) == ("means", ("a", "b", "c"))
    again = run("card", path, "-o", path)
    assert again.returncode == 1
    assert "has a card, which says what it is" in again.stderr


def test_what_can_not_get_one(tmp_path: Path, artifacts: Artifacts) -> None:
    path = artifacts.write(tmp_path / "foreign.onnx", carded=False)
    done = run("card", path, "-o", tmp_path / "none" / "out.onnx", "--task", "tensor")
    assert (done.returncode, "a folder that is there" in done.stderr) == (1, True)
    model = onnx.load(path)
    onnx.save_model(model, tmp_path / "apart.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    assert artifact.external(tmp_path / "apart.onnx")
    assert not artifact.external(path)
    done = run("card", tmp_path / "apart.onnx", "-o", tmp_path / "out.onnx", "--task", "tensor")
    assert (done.returncode, "keeps weights in another file" in done.stderr) == (1, True)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("task", ["object-detection", "tensor"])
def test_the_task_given_goes_before_what_the_file_says(tmp_path: Path, task: str) -> None:
    done = run("card", cells.write(tmp_path), "-o", tmp_path / "out.onnx", "--task", task)
    assert done.returncode == 0, done.stderr
    card = artifact.read(tmp_path / "out.onnx").card
    assert card is not None
    assert card.task == task
