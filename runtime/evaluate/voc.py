"""A Pascal VOC folder: Annotations (XML), JPEGImages, and ImageSets that say which images belong together."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from exportweb.card import Card
from exportweb.errors import DataError
from exportweb.runtime.evaluate.data import Data, Example, pictures
from exportweb.runtime.evaluate.names import Matching, match
from exportweb.runtime.evaluate.voc_precision import Truth, VocPrecision

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, the first pixel at 0
    difficult: bool


def load(folder: Path, card: Card, how: Matching, *, split: str | None = None) -> Data:
    """Read which images there are, and their objects: those of ``ImageSets/Main/<split>.txt``, or all that have an annotation.

    Raises `DataError` if a file can't be read, an image is missing from the split, or names don't fit the labels of the `card`.
    """
    found = {path.stem: path for path in pictures(folder / IMAGES)}
    stems = read_split(folder, "Main", split) if split else sorted(path.stem for path in (folder / ANNOTATIONS).glob("*.xml"))
    objects = {stem: _read(folder / ANNOTATIONS / f"{stem}.xml") for stem in stems}
    names = sorted({one.name for each in objects.values() for one in each})
    if not names:
        raise DataError(f"{folder} should have objects in its {ANNOTATIONS}; there is none in {len(stems)} files.")
    places = match(names, card.labels, how, what=f"names in {folder / ANNOTATIONS}")
    examples = [
        Example(
            found.get(stem, folder / IMAGES / f"{stem}.jpg"),
            [Truth(places[one.name], one.box, one.difficult) for one in objects[stem] if one.name in places],
        )
        for stem in stems
    ]
    named = {place: name for name, place in places.items()}
    return Data(f"{folder}, a VOC folder of {len(places)} classes", examples, lambda: VocPrecision(named))


def read_split(folder: Path, kind: str, split: str) -> list[str]:
    """Return the names of the images in ``ImageSets/<kind>/<split>.txt``; raise `DataError` if there is no such file."""
    path = folder / "ImageSets" / kind / f"{split}.txt"
    try:
        names = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        have = ", ".join(sorted(each.stem for each in path.parent.glob("*.txt"))[:8]) or "none"
        raise DataError(f"There is no split {split!r}: {path} can't be read. Splits there are: {have}.") from error
    if not names:
        raise DataError(f"{path} names no image.")
    return names


def _read(path: Path) -> list[_Object]:
    """Read the objects of an image. VOC counts pixels from 1 and includes the last one, so that only the first corner moves."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    found = []
    for each in root.iter("object"):
        try:
            left, top, right, bottom = (float(each.findtext(f"bndbox/{corner}") or "") for corner in _CORNERS)
        except ValueError as error:
            raise DataError(f"{path} has an object whose bndbox should have the numbers {', '.join(_CORNERS)}.") from error
        name = (each.findtext("name") or "").strip()
        found.append(_Object(name, (left - 1, top - 1, right, bottom), (each.findtext("difficult") or "0").strip() == "1"))
    return found
