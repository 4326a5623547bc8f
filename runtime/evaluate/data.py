"""What a data set is once it is read, whatever form it had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from exportweb.errors import DataError
from exportweb.runtime.images import SUFFIXES


class Example(NamedTuple):
    """An image's file, and what a metric has to know about it."""

    path: Path
    target: Any


class Score(NamedTuple):
    """What a metric says: figures by name, 0 to 1, and one figure for each class by its name in the data set."""

    metrics: dict[str, float]
    classes: dict[str, float]


class Metric(Protocol):
    """Compares answers, as a `Kind` reads them, with what is known."""

    def add(self, target: Any, answer: Any) -> None:
        """Count one image. Raises `DataError` if what is known of it can't be read."""

    def result(self) -> Score:
        """Return the figures for all images so far, of which there is at least one."""


class Data(NamedTuple):
    """A data set: what it is, in words; its images in an order that doesn't change; `metric` makes an empty metric for it."""

    what: str
    examples: Sequence[Example]
    metric: Callable[[], Metric]


def spread(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    """Return `limit` examples, spread evenly, so that each class has its share; all of them without a limit."""
    if limit is None or limit >= len(examples):
        return examples
    return [examples[i * len(examples) // limit] for i in range(limit)]


def pictures(folder: Path) -> list[Path]:
    """Return the files in a folder, and in the folders in it, that are called as images are, sorted. Raises `DataError`."""
    try:
        return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not hidden(path.relative_to(folder)))
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror}.") from error


def hidden(path: Path) -> bool:
    """Whether one of the names in a path begins with a dot."""
    return any(part.startswith(".") for part in path.parts)
