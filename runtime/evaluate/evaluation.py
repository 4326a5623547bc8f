"""An evaluation: each image asked about, each answer compared, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from exportweb.errors import DataError, ExportwebError
from exportweb.runtime.evaluate.data import Data, spread
from exportweb.runtime.evaluate.kinds import Kind
from exportweb.runtime.evaluate.pipeline import Pipeline

Eager = Callable[[Path], Any]
"""What another implementation of the model answers about an image's file, as a `Kind` reads it."""


class Against(msgspec.Struct, frozen=True):
    """What came of the model in the framework itself: its name, how its images were prepared, its figures, and how much both agree."""

    model: str
    prepared: str
    metrics: dict[str, float]
    agreement: dict[str, float]


class Left(msgspec.Struct, frozen=True):
    """An image that doesn't count, and why."""

    image: str
    error: str


class Evaluation(msgspec.Struct, frozen=True):
    """What came of an evaluation: of which file, on what data, of so many images in so many seconds; figures by name, 0 to 1, one for
    each class, and the images that couldn't be read.
    """

    file: str
    data: str
    images: int
    seconds: float
    metrics: dict[str, float]
    classes: dict[str, float]
    unreadable: list[Left]
    against: Against | None = None


class Other(NamedTuple):
    """A second model to ask: what it is called, how it prepares images, and how it answers."""

    model: str
    prepared: str
    answer: Eager


def evaluate(
    pipeline: Pipeline,
    data: Data,
    kind: Kind,
    *,
    file: str,
    limit: int | None = None,
    other: Other | None = None,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Ask about at most `limit` images, spread evenly over the data set, and compare. `file` is what the model is called.

    `other` is asked the same. `progress` is called with 1 for each image that is done. Images that can't be read are left out, and named.
    Raises `DataError` if none can be.
    """
    begin = time.perf_counter()
    metric, metric_of_other, agreement = data.metric(), data.metric(), kind.agreement()
    count, left = 0, []
    for example, answer in pipeline.answers(spread(data.examples, limit), kind.asks):
        if progress is not None:
            progress(1)
        if isinstance(answer, Exception):
            left.append(Left(str(example.path), _reason(answer)))
            continue
        read = kind.read(answer)
        try:
            metric.add(example.target, read)
        except DataError as error:
            left.append(Left(str(example.path), str(error)))
            continue
        count += 1
        if other is not None:
            theirs = other.answer(example.path)
            metric_of_other.add(example.target, theirs)
            agreement.add(read, theirs)
    if not count:
        first = f" The first, {left[0].image}: {left[0].error}" if left else ""
        raise DataError(f"{data.what}: none of {len(left)} images could be evaluated.{first}")
    score = metric.result()
    against = other and Against(other.model, other.prepared, metric_of_other.result().metrics, agreement.result())
    return Evaluation(file, data.what, count, round(time.perf_counter() - begin, 3), score.metrics, score.classes, left, against)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ExportwebError) else getattr(error, "strerror", None) or str(error)
