"""An image folder: one folder of images for each class, whose name is its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exportweb.errors import DataError
from exportweb.runtime.evaluate.accuracy import Accuracy
from exportweb.runtime.evaluate.data import Data, Example, hidden, pictures
from exportweb.runtime.evaluate.names import Matching, match


def load(folder: Path, labels: Sequence[str], how: Matching) -> Data:
    """Read which images there are. Folders are matched with the model's labels by name, or, where all their names are numbers that aren't
    labels, by those.

    Raises `DataError` if there is no such folder, or if they don't fit the labels.
    """
    found = {entry.name: pictures(entry) for entry in sorted(folder.iterdir()) if entry.is_dir() and not hidden(Path(entry.name))}
    found = {name: paths for name, paths in found.items() if paths}
    if not found:
        raise DataError(f"{folder} should hold a folder of images for each class, called as the model's labels are; it holds none.")
    names = list(found)
    if not how.by_index and all(name.isdecimal() for name in names) and not set(names) <= set(labels):
        places = _numbered(folder, names, len(labels))
    else:
        places = match(names, labels, how, what=f"folders in {folder}")
    examples = [Example(path, places[name]) for name in names if name in places for path in found[name]]
    named = {place: name for name, place in places.items()}
    return Data(f"{folder}, an image folder of {len(places)} classes", examples, lambda: Accuracy(named))


def _numbered(folder: Path, names: Sequence[str], count: int) -> dict[str, int]:
    places = {name: int(name) for name in names}
    beyond = [name for name, place in places.items() if place >= count]
    if beyond or len(set(places.values())) < len(names):
        raise DataError(
            f"The folders in {folder} have numbers for names, so they should be the places of the model's {count} labels, 0 to "
            f"{count - 1}, each once; there are {', '.join(names[:5])} … {names[-1]}."
        )
    return places
