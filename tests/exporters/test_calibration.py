from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exportweb.errors import ExportError
from exportweb.exporters import calibration
from exportweb.runtime import Predictor


@pytest.fixture
def predictor(artifacts, tmp_path):
    """A predictor that names colours of pictures of 8 x 8 pixels."""
    return Predictor.load(artifacts.write(tmp_path / "colours.onnx"), device="cpu")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "images"
    path.mkdir()
    return path


def save(path, colour=(255, 0, 0)):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10), colour).save(path)


def test_a_folder_of_images_is_read_as_the_model_reads_images(predictor, folder):
    for name in ("a.jpg", "b.PNG", "c.webp", "d.gif", "e.bmp", "f.tiff"):
        save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".g.png").write_text("of some other program")
    found = calibration.load(folder, predictor)
    assert len(found.images) == 6 and found.labels is None
    prepared = predictor.prepare((folder / "b.PNG").read_bytes())
    assert np.array_equal(predictor.infer([found.images[1]])[0]["logits"], predictor.infer([prepared])[0]["logits"])


def test_subfolders_are_classes_where_they_are_called_so(predictor, folder):
    for label in ("red", "green"):
        for i in range(3):
            save(folder / label / f"{i}.png")
    (folder / "blue").mkdir()
    assert calibration.load(folder, predictor).labels == ["green"] * 3 + ["red"] * 3
    save(folder / "purple" / "0.png")
    assert calibration.load(folder, predictor).labels is None


def test_each_class_has_its_share_of_the_limit(predictor, folder):
    for label in ("red", "green", "blue"):
        for i in range(10):
            save(folder / label / f"{i}.png")
    told = []
    found = calibration.load(folder, predictor, limit=6, progress=lambda *words: told.append(words))
    assert found.labels == ["blue", "blue", "green", "green", "red", "red"]
    assert told[0] == ("reading images", 1, 6) and told[-1] == ("reading images", 6, 6)


def test_what_is_wrong_with_a_folder_is_said(predictor, folder):
    with pytest.raises(ExportError, match=r"nowhere: No such file"):
        calibration.load(folder / "nowhere", predictor)
    with pytest.raises(ExportError, match=r"images holds no image to calibrate with\. It should hold images \(.*\.webp\), or a folder"):
        calibration.load(folder, predictor)
    save(folder / "a.png")
    with pytest.raises(ExportError, match=r"a\.png: Not a directory"):
        calibration.load(folder / "a.png", predictor)
    with pytest.raises(ExportError, match="0 images can't calibrate"):
        calibration.load(folder, predictor, limit=0)
    data = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(data[:50])
    with pytest.raises(ExportError, match=r"b\.png can't be calibrated with.*cut short or damaged"):
        calibration.load(folder, predictor)
