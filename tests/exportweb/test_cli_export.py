"""``exportweb export`` in another precision; by name, it is tested with what a release installs."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from exportweb import Store, artifact
from exportweb.cli import main
from scripts import exportweb
from serving import Server

run = functools.partial(exportweb, timeout=300)


def fails(*args: object, code: int, says: str) -> None:
    """Assert that a command ends with this code, and says this."""
    done = CliRunner().invoke(main, ["export", *map(str, args)])
    assert done.exit_code == code, done.output
    assert says in " ".join(done.stderr.split()), done.stderr


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory) -> Store:
    """A store with the digits' artifact as its one version."""
    store = Store(tmp_path_factory.mktemp("runs") / "digits")
    store.publish(lambda file, number: file.write(digits.artifact.read_bytes()))
    return store


def test_a_version_that_was_trained_is_quantised_and_served(digits, store, tmp_path, serve: Callable[..., Server]) -> None:
    path = tmp_path / "int8.onnx"
    done = run("export", store.path(1), "--precision", "int8", "--calibrate", digits.calibration, "--calibrate-images", 100, "-o", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path} is written (int8, top class as in fp32 on ") and done.stderr == ""

    shown = run("inspect", path).stdout
    assert "precision  int8, top class as in fp32 on" in shown and "of 100 images" in shown and "accuracy" in shown
    assert json.loads(run("inspect", path, "--json").stdout)["card"]["precision"]["name"] == "int8"

    server = serve(path)
    server.wait(lambda: server.http.get("/readyz").status_code == 200)
    pictures = digits.held_out()[:40]
    labels = [server.http.post("/predict?top_k=1", content=data).json()[0]["label"] for data, _ in pictures]
    assert sum(got == name for got, (_, name) in zip(labels, pictures, strict=True)) >= 34


def test_the_latest_version_of_a_store_becomes_float16(store, tmp_path) -> None:
    done = run("export", store.folder, "--precision", "fp16", "-o", tmp_path / "fp16.onnx")
    assert done.returncode == 0, done.stderr
    card = artifact.read(tmp_path / "fp16.onnx").card
    assert card is not None and card.precision is not None and (card.precision.name, card.precision.images) == ("fp16", 0)


def test_a_model_by_name_in_float16(tmp_path) -> None:
    pytest.importorskip("timm")
    done = run("export", "timm/test_resnet", "--precision", "fp16", "-o", tmp_path / "fp16.onnx")
    assert done.returncode == 0, done.stderr
    assert "is written (fp16). Try: exportweb serve" in done.stdout


def test_mistakes_are_explained_and_leave_no_file(digits, store, tmp_path) -> None:
    out = ("-o", tmp_path / "out.onnx")
    path = shutil.copy(store.path(1), tmp_path / "model.onnx")
    images = digits.calibration
    fails(path, *out, code=2, says="is exported already. It can become smaller: --precision fp16, or --precision int8 --calibrate DIR")
    fails(path, *out, "--precision", "fp16", "--pretrained", code=2, says="options are for a model by name")
    fails(path, *out, "--calibrate", images, code=2, says="--calibrate is for --precision fp16 or int8")
    fails(path, *out, "--precision", "int8", code=1, says="int8 needs images to calibrate with: --calibrate DIR")
    fails(path, *out, "--precision", "int8", "--calibrate", tmp_path / "nowhere", code=1, says="nowhere: No such file or directory")
    fails(path, *out, "--precision", "int8", "--calibrate", tmp_path, code=1, says="holds no image to calibrate with")
    fails(tmp_path / "none.onnx", *out, "--precision", "fp16", code=1, says="There is nothing at")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
