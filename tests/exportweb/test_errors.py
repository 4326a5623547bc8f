from __future__ import annotations

import inspect
import re

import pytest

from exportweb import errors
from exportweb.errors import ExportwebError, Overloaded, RequestError


def classes() -> dict[str, type[Exception]]:
    return {name: value for name, value in vars(errors).items() if inspect.isclass(value)}


def test_every_error_is_an_exportweb_error() -> None:
    assert all(issubclass(error, ExportwebError) for error in classes().values())


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Names, parents (by indentation) and statuses."""
    tree = (errors.__doc__ or "")[(errors.__doc__ or "").index("    ExportwebError") :]
    found, path = {}, []
    for line in tree.rstrip().splitlines():
        match = re.match(r"([ │├└─]*)(\w+)(.*)", line)
        assert match is not None
        depth = (len(match[1]) - 4) // 4
        path[depth:] = [match[2]]
        found[match[2]] = path[-2] if depth else "Exception"
        status = re.search(r"\b\d{3}\b", match[3])
        assert (status is None) or getattr(classes()[match[2]], "status") == int(status[0])  # noqa: B009
    assert found == {name: error.__mro__[1].__name__ for name, error in classes().items()}


def test_each_request_error_has_a_status_of_its_own() -> None:
    found = [error.status for error in RequestError.__subclasses__()]
    assert sorted(set(found)) == sorted(found)
    assert all(400 <= status < 600 for status in found)


def test_overloaded_says_when_to_come_back() -> None:
    assert Overloaded("full").retry_after == 1
    assert Overloaded("full", retry_after=5).retry_after == 5
    with pytest.raises(RequestError, match="full"):
        raise Overloaded("full")
