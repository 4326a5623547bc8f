"""The command line, for models that take arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tensors
from exportweb import artifact
from exportweb.runtime import card_for_onnx
from scripts import exportweb as run
from serving import Server
from versions import float_graph


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    path = tmp_path / "double.onnx"
    path.write_bytes(tensors.linear(scale=2))
    return path


def test_serve_a_model_of_arrays(serve: Callable[..., Server], foreign: Path) -> None:
    server = serve(foreign)
    assert "has no card and takes no images, so it is served as arrays in, arrays out (--task tensor)" in server.log
    answer = server.http.post("/predict", json={"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}})
    assert answer.json()["outputs"]["y"] == [[2, 4, 6]]


def test_serve_images_as_arrays_when_that_is_said(serve: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "image.onnx"
    path.write_bytes(float_graph(layout="NHWC", side=1))
    done = run("serve", path, "--port", 0)
    assert done.returncode == 1
    assert "--task image-classification" in done.stderr and "--task tensor" in done.stderr
    server = serve(path, "--task", "tensor")
    assert server.http.post("/predict", json={"inputs": [[[[1, 2, 3]]]]}).json() == {"outputs": {"output": [[1, 2, 3]]}}
    assert "so it is served" not in server.log  # it was asked for


def test_serve_arrays_have_no_labels(foreign: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    done = run("serve", foreign, "--port", 0, "--task", "tensor", "--labels", labels)
    assert done.returncode == 1
    assert "labels, mean, std, color, resize and probabilities are an image's" in done.stderr


def test_serve_a_card_of_arrays(serve: Callable[..., Server], foreign: Path, tmp_path: Path) -> None:
    """A file with such a card needs no option; inspect shows what it takes."""
    path = tmp_path / "carded.onnx"
    with path.open("wb") as file:
        artifact.write(file, [foreign.read_bytes()], card_for_onnx(foreign).replace(version=4))
    shown = run("inspect", path).stdout
    assert "input    x: float32 [N, 3]" in shown and "input    words: string [N, 1]" in shown
    answer = serve(path).http.post("/predict", json={"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}})
    assert (answer.headers["x-model-version"], answer.json()["outputs"]["y"]) == ("4", [[2, 4, 6]])


def test_predict_arrays(foreign: Path, tmp_path: Path) -> None:
    path, inputs = tmp_path / "carded.onnx", tmp_path / "inputs.json"
    with path.open("wb") as file:
        artifact.write(file, [foreign.read_bytes()], card_for_onnx(foreign))
    inputs.write_text('{"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}}')
    assert run("predict", path, inputs).stdout == '{"outputs":{"y":[[2.0,4.0,6.0]],"same":[["a"]]}}\n'


def test_inspect_a_foreign_file_says_both_ways_to_serve_it(foreign: Path) -> None:
    shown = run("inspect", foreign).stdout
    assert "--task image-classification" in shown and "--task tensor" in shown


def test_serve_knows_two_ways_to_decode(foreign: Path) -> None:
    done = run("serve", foreign, "--decode", "quick")
    assert done.returncode == 2
    assert "'exact', 'fast'" in done.stderr
