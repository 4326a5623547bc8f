"""What a PATH on the command line means."""

from __future__ import annotations

from pathlib import Path

import click


def artifact_path(path: Path) -> Path:
    """Return the artifact at a path: the file itself, or the latest version of a store."""
    if path.is_file():
        return path
    if not path.exists():
        raise click.ClickException(f"There is nothing at {path}; it should be an ONNX file or a folder of versions.")
    from exportweb.store import Store

    store = Store(path)
    latest = store.latest()
    if latest is None:
        raise click.ClickException(f"{path} has no version yet.")
    return store.path(latest.number)


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
