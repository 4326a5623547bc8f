"""`exportweb evaluate`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import found
from digits import NAMES, SIDE, TRAINED_ON, Digits
from exportweb import Store, artifact
from scripts import exportweb as run

MODULE = """
import torch
import found
from digits import make_model

def trained():
    model = make_model()
    model.load_state_dict(torch.load({weights!r}))
    return model
"""


@pytest.fixture(scope="module")
def data(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that the model hasn't seen, in folders by class."""
    folder: Path = tmp_path_factory.mktemp("val")
    for i, (image, name) in enumerate(digits.held_out()):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{i:03}.png").write_bytes(image)
    return folder


def accuracy(digits: Digits) -> float:
    """What PyTorch itself says."""
    pictures = [picture.resize((SIDE, SIDE), 2) for picture in digits.pictures[TRAINED_ON:]]
    images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))[:, None] / 255
    with torch.no_grad():
        found = digits.model(images).argmax(1)
    return sum(NAMES[i] == name for i, name in zip(found.tolist(), digits.names[TRAINED_ON:], strict=True)) / len(pictures)


def test_the_accuracy_is_pytorchs(digits: Digits, data: Path, tmp_path: Path) -> None:
    done = run("evaluate", digits.artifact, data, "--write", tmp_path / "measured.onnx")
    assert done.returncode == 0, done.stderr
    first, top1, top5, written = done.stdout.splitlines()
    assert first.startswith(f"{digits.artifact} on {data}, an image folder of 10 classes: 397 images in ")
    assert top1 == f"top1  {accuracy(digits):.4f}"
    assert top5.startswith("top5  0.9")
    assert done.stderr == "", "no progress where nobody looks"
    assert written == f"{tmp_path / 'measured.onnx'} has them in its card."
    copy = artifact.read(tmp_path / "measured.onnx")
    artifact.verify(copy)
    assert copy.card is not None
    assert copy.card.source.metrics == {"top1": pytest.approx(accuracy(digits)), "top5": pytest.approx(float(top5[6:]), abs=1e-4)}
    assert copy.card.golden is not None


def test_against_the_eager_model_for_a_program(digits: Digits, data: Path, tmp_path: Path) -> None:
    torch.save(digits.model.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "mine.py").write_text(MODULE.format(weights=str(tmp_path / "weights.pt")))
    (data / "one" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (data / "one" / "torn.txt").write_text("not called as an image is")
    command = [sys.executable, "-m", "exportweb", "evaluate", digits.artifact, data, "--against", "mine:trained", "--json"]
    path = os.pathsep.join([str(Path(__file__).parents[1] / "support"), str(tmp_path)])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path})
    (data / "one" / "torn.png").unlink()
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["images"] == 397
    assert [one["image"] for one in shown["unreadable"]] == [str(data / "one" / "torn.png")]
    assert shown["against"]["metrics"] == shown["metrics"]
    assert shown["against"]["agreement"]["same top class"] == 1
    assert shown["against"]["agreement"]["largest difference of a score"] < 1e-5


def test_a_store_gets_a_version(digits: Digits, data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for _ in range(2):
        first = artifact.read(digits.artifact)
        assert first.card is not None
        card = first.card
        store.publish(lambda file, number: artifact.rewrite(file, first, card.replace(version=number)))  # noqa: B023
    done = run("evaluate", store.folder, data, "--write", store.folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Version 3 of {store.folder} has them in its card."
    latest = artifact.read(store.path(3))
    artifact.verify(latest)
    assert latest.card is not None
    assert (latest.card.version, set(latest.card.source.metrics)) == (3, {"top1", "top5"})


def test_objects_by_coco_and_by_voc(tmp_path: Path) -> None:
    """Two circles, a square and a star are found in each picture. For VOC the second circle is wrong, but none comes after it."""
    pytest.importorskip("pycocotools")
    model = found.write(tmp_path / "shapes.onnx", "object-detection", found.detections())
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(found.jpeg())
    boxes = [(found.LABELS[place], box) for place, box in zip(found.CLASSES, found.BOXES, strict=True)]
    content = {
        "images": [{"id": 1, "file_name": "JPEGImages/a.jpg"}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(found.LABELS)],
        "annotations": [
            {"image_id": 1, "category_id": found.LABELS.index(name), "bbox": [x0, y0, x1 - x0, y1 - y0]} for name, (x0, y0, x1, y1) in boxes
        ],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    done = run("evaluate", model, tmp_path / "data.json")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.startswith(f"{model} on {tmp_path / 'data.json'}, a COCO data set of 3 categories: 1 images in ")
    assert {row.split()[0]: row.split()[1] for row in rows}["box_mAP"] == "1.0000"

    (tmp_path / "Annotations").mkdir()
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1) in [boxes[0], *boxes[2:]]
    )
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    done = run("evaluate", model, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["metrics"], shown["classes"]) == ({"mAP50": 1.0}, {"circle": 1.0, "square": 1.0, "star": 1.0})


def test_without_pycocotools_it_says_what_to_install(tmp_path: Path) -> None:
    """In an environment that can't find it."""
    model = found.write(tmp_path / "shapes.onnx", "object-detection", found.detections())
    (tmp_path / "data.json").write_text("{}")
    code = """if True:
        import sys
        class Without:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "pycocotools":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Without())
        from exportweb.cli import main
        main(["evaluate", *sys.argv[1:]])
    """
    done = subprocess.run([sys.executable, "-c", code, model, tmp_path / "data.json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == 'Error: COCO\'s metrics need pycocotools, which is not installed: pip install "exportweb[evaluate]"\n'


def test_mistakes(digits: Digits, data: Path, tmp_path: Path) -> None:
    for args, says in (
        ((tmp_path / "none.onnx", data), "There is nothing at"),
        ((digits.artifact, tmp_path / "none"), "it should be an image folder"),
        ((digits.artifact, data.parent), "not among the model's labels"),
        ((digits.artifact, data, "--against", "nowhere:f"), "can't be found"),
        ((digits.artifact, data, "--write", tmp_path / "no" / "x.onnx"), "in a folder that is there, or a store"),
        ((digits.artifact, data, "--limit", 5, "--write", tmp_path / "x.onnx"), "leave out --limit"),
    ):
        done = run("evaluate", *args)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1 and says in done.stderr, done.stderr
