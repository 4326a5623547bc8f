"""Labels from a text file."""

from __future__ import annotations

from pathlib import Path

import click


def read_labels(path: Path) -> list[str]:
    """Return one label per line of a UTF-8 file; blank lines at its end don't count."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"The labels in {path} can't be read: {error}. It should be UTF-8 text.") from error
    labels = [line.strip() for line in text.rstrip().splitlines()]
    if not labels or not all(labels):
        raise click.ClickException(f"{path} should hold one label per line, with no empty line between them.")
    return labels
