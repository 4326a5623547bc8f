"""What a PATH or a STORE on the command line means."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from exportweb.store import Store, place


def location(text: str) -> Path | str:
    """Read a path, or a URL such as ``s3://bucket/runs/flowers``; a click type."""
    return place(text)


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


def refuse_torchscript(path: Path) -> None:
    """Refuse a TorchScript file (a zip archive): it may hold any code, and this server runs none."""
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise click.ClickException(f"{path} can't be read: {error.strerror}.") from error
    if zipped or path.suffix == ".torchscript":
        raise click.ClickException(
            f"{path} is a TorchScript or PyTorch file, which can run any code when it is loaded; this version of "
            "exportweb serves ONNX only. Export the model: exportweb export --help"
        )
