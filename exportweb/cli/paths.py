"""What a PATH or a STORE on the command line means."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from exportweb import artifact
from exportweb.artifact import Artifact
from exportweb.backend import place
from exportweb.store import SUFFIXES, Store

_NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)


def location(text: str) -> Path | str:
    """Read a path, or a URL such as ``s3://bucket/runs/flowers``; a click type."""
    return place(text)


def named_location(text: str) -> tuple[str, Path | str]:
    """Read the location of a model, with the name that it goes by: ``flowers=runs/3``, or else its file's or folder's own."""
    named = None if Path(text).exists() else _NAMED.fullmatch(text)
    where = place(named[2] if named else text)
    if named:
        name = named[1]
    elif isinstance(where, str):
        name = where.rpartition("/")[2]
    else:
        own = where if where.name not in ("", "..") else where.resolve()
        name = own.stem if own.suffix in SUFFIXES else own.name
    if name.strip() in ("", ".", ".."):
        raise click.BadParameter(f"{text} needs a name to be served under: flowers={where}")
    return name, where


class Locations(click.ParamType):  # type: ignore[type-arg]  # which older versions of click have none of
    """The type of locations of models, each with its name. In a variable they stand as on a shell's command line: with whitespace between
    them, in quotes where they hold some. What is a path that is there as a whole needs none.
    """

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path | str]:
        """Read one."""
        return named_location(value) if isinstance(value, str) else value

    def split_envvar_value(self, rv: str) -> list[str]:
        """Read a variable; a usage error if a quote in it has no end."""
        named = _NAMED.fullmatch(rv)
        if any(os.path.exists(path) for path in (rv, named and named[2]) if path):  # noqa: PTH110  which raises nothing, however long it is
            return [rv]
        try:
            return shlex.split(rv)
        except ValueError as error:
            raise click.UsageError(
                f"EXPORTWEB_PATH={rv} can't be read ({error}); quote paths as in a shell: '/my runs/a' b=/runs/b"
            ) from None


def by_name(named: Iterable[tuple[str, Path | str]]) -> dict[str, Path | str]:
    """Return locations by their names; a usage error if two have the same."""
    found: dict[str, Path | str] = {}
    for name, where in named:
        if name in found:
            raise click.UsageError(f"{found[name]} and {where} would both be called {name!r}. Name one of them: other={where}")
        found[name] = where
    return found


def store_location(text: str) -> Path | str:
    """Read the path of a folder that is there, or a URL; a click type."""
    where = place(text)
    if isinstance(where, Path) and not where.is_dir():
        raise click.BadParameter(f"There is no folder {text}; a store is one, or a URL such as s3://bucket/runs/flowers.")
    return where


def artifact_path(path: Path | str) -> Path:
    """Return the artifact at a path or URL: the file itself, or the latest version of a store.

    A bucket's is downloaded, and deleted when the command ends.
    """
    if isinstance(path, Path):
        if path.is_file():
            return path
        if not path.exists():
            raise click.ClickException(f"There is nothing at {path}; it should be an ONNX file or a folder of versions.")
    store = Store(path)
    latest = store.latest()
    if latest is None:
        raise click.ClickException(f"{path} has no version yet.")
    if isinstance(path, Path):
        return store.path(latest.number)
    folder = click.get_current_context().with_resource(tempfile.TemporaryDirectory(prefix="exportweb-"))
    return store.download(latest.number, Path(folder))


def read_artifact(path: Path) -> Artifact:
    """Read the card of a file, whose graph stays unread and, if it is TorchScript, whose code isn't run."""
    try:
        return artifact.read(path)
    except OSError as error:
        raise click.ClickException(f"{path} can't be read: {error.strerror}.") from error
