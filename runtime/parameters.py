"""What a client may ask a task for, read from the strings of a query: each mistake is answered with what would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from exportweb.errors import BadParameter


def known(given: Mapping[str, object], names: Sequence[str], *, what: str) -> None:
    """Raise `BadParameter` for a parameter that is none of `names`; `what` is who knows them."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise BadParameter(f"Unknown parameter {', '.join(map(repr, unknown))}; {what} knows {', '.join(map(repr, names))}.")


def count(given: Mapping[str, object], name: str, *, most: int | None = None, of: str = "") -> int | None:
    """Read a whole number from 1 to `most`, which is the number `of` something; None if it isn't given. Raises `BadParameter`."""
    if name not in given:
        return None
    text = str(given[name])
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= (most or int(text))):
        limit = "from 1 on" if most is None else f"from 1 to {most}, the number of {of}"
        raise BadParameter(f"{name}={text[:40]} is not possible; it is a whole number {limit}.")
    return int(text)


def share(given: Mapping[str, object], name: str, default: float) -> float:
    """Read a number from 0 to 1. Raises `BadParameter`."""
    text = str(given.get(name, default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BadParameter(f"{name}={text[:40]} is not possible; it is a number from 0 to 1, such as {default}.")
    return value


def choice(given: Mapping[str, object], name: str, choices: Sequence[str]) -> str:
    """Read one of some words, the first where nothing is given. Raises `BadParameter`."""
    text = str(given.get(name, choices[0]))
    if text not in choices:
        raise BadParameter(f"{name}={text[:40]} is not possible; it is {', '.join(choices[:-1])} or {choices[-1]}.")
    return text
