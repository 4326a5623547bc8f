"""Calibration images: real pictures in a folder, as the model takes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from exportweb.errors import ExportError, RequestError
from exportweb.runtime import Predictor
from exportweb.runtime.images import SUFFIXES
from exportweb.runtime.reader import Prepared

IMAGES = 200

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many images of it are."""


class Calibration(NamedTuple):
    """Images as the predictor prepares them, and for each the label that its folder says, None where that is no label of the model."""

    images: list[Prepared]
    labels: list[str] | None


def load(folder: str | os.PathLike[str], predictor: Predictor, *, limit: int = IMAGES, progress: Progress | None = None) -> Calibration:
    """Read the images of a folder, or those of its subfolders where there are any, prepared as the predictor prepares them.

    Of more than `limit` images as many are taken, spread evenly over the sorted names, so that each class has its share. If every
    subfolder of theirs is called as one of the model's labels, that is what its images show.

    Raises `ExportError` if the folder holds no image, or one that can't be read.
    """
    if limit < 1:
        raise ExportError(f"{limit} images can't calibrate anything; take 1 or more, such as {IMAGES}.")
    paths = _find(Path(folder))
    if len(paths) > limit:
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    images = []
    for path in paths:
        try:
            images.append(predictor.prepare(path.read_bytes()))
        except (RequestError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ExportError(f"{path} can't be calibrated with; repair it or take it away. {reason}") from error
        if progress is not None:
            progress("reading images", len(images), len(paths))
    names = [path.parent.name for path in paths]
    known = set(names) <= set(predictor.card.labels)
    return Calibration(images, names if known else None)


def _find(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
        folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        paths = [path for inner in folders for path in sorted(inner.iterdir()) if _is_image(path)] or list(filter(_is_image, entries))
    except OSError as error:
        raise ExportError(f"The calibration images can't be read: {error.filename or folder}: {error.strerror}.") from error
    if not paths:
        raise ExportError(
            f"{folder} holds no image to calibrate with. It should hold images ({', '.join(sorted(SUFFIXES))}), or a folder of them for "
            "each class; 100 or more, of the kind that the model will see."
        )
    return paths


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
