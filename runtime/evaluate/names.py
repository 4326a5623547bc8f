"""Which of a model's classes a data set means by each of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from exportweb.errors import DataError

_SHOWN = 5


class Matching(NamedTuple):
    """How classes are matched. `by_index`: the data set's, in their order, are the model's in theirs. `known_only`: by name, and what has a
    name that the model doesn't know is left out.
    """

    by_index: bool = False
    known_only: bool = False


def match(names: Sequence[str], labels: Sequence[str], how: Matching, *, what: str) -> dict[str, int]:
    """Return the place in the model's `labels` for each of the data set's `names`, which `what` calls in the plural.

    Case does not count, and an underscore is a space. Raises `DataError`, showing both sides, if they don't fit.
    """
    if how.by_index:
        if labels and len(names) != len(labels):
            raise DataError(
                f"--by-index needs as many {what} as the model has labels: there are {len(names)} ({_some(names)}) and "
                f"{len(labels)} ({_some(labels)})."
            )
        return {name: i for i, name in enumerate(names)}
    counts = Counter(map(_plain, labels))
    places = {_plain(label): i for i, label in enumerate(labels)}
    found = {name: places[_plain(name)] for name in names if _plain(name) in places}
    twice = [name for name in found if counts[_plain(name)] > 1]
    if twice:
        raise DataError(f"Several of the model's labels are called {_some(twice)}, so names don't tell which is meant. {_BY_INDEX}")
    unknown = [name for name in names if name not in found]
    if unknown and not (how.known_only and found):
        by_index = f" {_BY_INDEX}" if len(names) == len(labels) else ""
        rest = " To leave out what the model has no label for: --known-only." if found else ""
        raise DataError(
            f"{len(unknown)} of {len(names)} {what} are not among the model's labels: {_some(unknown)}. "
            f"The model has {len(labels)} labels: {_some(labels)}.{by_index}{rest}"
        )
    return found


_BY_INDEX = "If the data set's classes, in their order, are the model's: --by-index."


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _some(names: Sequence[str]) -> str:
    more = f", … {names[-1]!r}" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more if names else "none"
