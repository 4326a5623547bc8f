"""A folder of images for each class."""

from __future__ import annotations

from pathlib import Path

import pytest

from exportweb.errors import DataError
from exportweb.runtime.evaluate import image_folder
from exportweb.runtime.evaluate.names import Matching

NAMED, BY_INDEX = Matching(), Matching(by_index=True)


def folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_every_image_has_the_class_of_its_folder(tmp_path: Path) -> None:
    data = image_folder.load(
        folder(tmp_path, "dog/b.JPG", "dog/more/a.png", "dog/notes.txt", "cat/1.webp", ".cache/x.png", "dog/.thumb.png", "empty/x.txt"),
        ["cat", "bird", "Dog"],
        NAMED,
    )
    assert [(str(path.relative_to(tmp_path)), place) for path, place in data.examples] == [
        ("cat/1.webp", 0),
        ("dog/b.JPG", 2),
        ("dog/more/a.png", 2),
    ]
    assert data.what == f"{tmp_path}, an image folder of 2 classes"


def test_numbers_are_places_unless_they_are_labels(tmp_path: Path) -> None:
    root = folder(tmp_path, "0/a.png", "2/a.png")
    assert [place for _, place in image_folder.load(root, ["cat", "dog", "bird"], NAMED).examples] == [0, 2]
    assert [place for _, place in image_folder.load(root, ["2", "1", "0"], NAMED).examples] == [2, 0]
    with pytest.raises(DataError, match="the places of the model's 2 labels, 0 to 1, each once; there are 0, 2"):
        image_folder.load(root, ["cat", "dog"], NAMED)


def test_by_index_the_sorted_folders_are_the_classes(tmp_path: Path) -> None:
    root = folder(tmp_path, "n02/a.png", "n01/b.png")
    assert [(path.name, place) for path, place in image_folder.load(root, ["tench", "goldfish"], BY_INDEX).examples] == [
        ("b.png", 0),
        ("a.png", 1),
    ]


def test_a_folder_without_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="should hold a folder of images for each class"):
        image_folder.load(folder(tmp_path, "a.png"), ["cat"], NAMED)
