"""A COCO data set: one JSON that names images and their objects, and the folder that the images lie in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exportweb.card import Card
from exportweb.errors import DataError
from exportweb.runtime.evaluate.average_precision import AveragePrecision, check_installed
from exportweb.runtime.evaluate.data import Data, Example
from exportweb.runtime.evaluate.names import Matching, match

_KEYS = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id", "category_id", "bbox")}


def load(path: Path, card: Card, how: Matching, *, images: Path | None = None) -> Data:
    """Read which images there are, and what is known of them. Categories, by their ids, are matched with the labels of the `card`.

    `images` is the folder of the images, looked for beside the JSON if it isn't given. Raises `DataError` if the file isn't such a data
    set, the images aren't found, or it doesn't fit the labels.
    """
    check_installed()
    content = _read(path)
    categories = sorted(content["categories"], key=lambda each: int(each["id"]))
    places = match([each["name"] for each in categories], card.labels, how, what=f"categories in {path}")
    used = {each["name"]: each for each in categories if each["name"] in places}
    if len(used) < len(places) or len({each["id"] for each in categories}) < len(categories):
        raise DataError(f"{path} has categories of the same name or id; each should have its own.")
    folder = _folder(path, content["images"], images)
    ids = {places[name]: each["id"] for name, each in used.items()}
    known = _complete(content["annotations"], set(ids.values()))
    truth = {"images": content["images"], "categories": list(used.values()), "annotations": known}
    return Data(
        f"{path}, a COCO data set of {len(places)} categories",
        [Example(folder / each["file_name"], each["id"]) for each in content["images"]],
        lambda: AveragePrecision(truth, ids, card.task, points=len(card.keypoints)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as JSON: {error}.") from error
    found: dict[str, Any] = content if isinstance(content, dict) else {}
    for name, keys in _KEYS.items():
        entries = found.get(name)
        if not isinstance(entries, list) or not (entries or name == "annotations"):
            raise DataError(f"{path} should be a COCO data set, a JSON object with the lists 'images', 'categories' and 'annotations'.")
        for i, entry in enumerate(entries):
            missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise DataError(f"{path} should be a COCO data set, but number {i} of its {name} has no {missing[0]!r}.")
    if any("not_exhaustive_category_ids" in each for each in found["images"]):
        raise DataError(f"{path} is LVIS, whose images are not searched for every category: its own metric is needed, not COCO's.")
    return found


def _complete(annotations: Sequence[Mapping[str, Any]], ids: set[Any]) -> list[dict[str, Any]]:
    """Return the objects of these categories with all that pycocotools needs, which data sets of other hands leave out; their ids count
    from 1, since it takes one of 0 for no match.
    """
    kept = [each for each in annotations if each["category_id"] in ids]
    return [{"iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3], **each, "id": i} for i, each in enumerate(kept, start=1)]


def _folder(path: Path, images: Sequence[Mapping[str, Any]], given: Path | None) -> Path:
    """Return where the images are: as COCO's own files lie, ``annotations/instances_val2017.json`` beside ``val2017``, or near the JSON."""
    split, root = path.stem.rpartition("_")[2], path.parent.parent
    near = [path.parent, path.parent / "images", root / split, root / "images" / split, root / "images", root]
    candidates = [given] if given is not None else list(dict.fromkeys(near))
    first = [each["file_name"] for each in images[:10]]
    for folder in candidates:
        if any((folder / name).is_file() for name in first):
            return folder
    where = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"The images of {path}, such as {first[0]}, are not in {where}. Say where they are: --images DIR")
