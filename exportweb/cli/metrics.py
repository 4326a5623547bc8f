"""Metrics that were measured later, in the card of a copy: an artifact itself never changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from exportweb import artifact as artifacts
from exportweb.artifact import Artifact
from exportweb.atomic import replace_file
from exportweb.store import SUFFIXES, Store


def check_target(target: Path | str) -> None:
    """Raise a usage error if nothing can be written there: it should be a file in a folder that is there, or a store that is."""
    if isinstance(target, Path) and not target.is_dir() and (target.suffix not in SUFFIXES or not target.parent.is_dir()):
        raise click.ClickException(
            f"{target} can't be written; it should be a file that ends in {' or '.join(SUFFIXES)}, in a folder that is there, or a store."
        )


def write_metrics(artifact: Artifact, metrics: Mapping[str, float], target: Path | str, *, evaluated: Path | str) -> str:
    """Write a copy of an artifact whose card has these metrics beside its own; return what was written.

    A store gets it as its next version. If it is the one that was `evaluated`, its latest version must still be this one: a newer one
    would be replaced by older weights.
    """
    assert artifact.card is not None  # it was evaluated
    source = artifact.card.source
    card = artifact.card.replace(source=msgspec.structs.replace(source, metrics={**source.metrics, **metrics}))
    if isinstance(target, Path) and not target.is_dir():
        replace_file(target, lambda file: artifacts.rewrite(file, artifact, card))
        return str(target)
    store = Store(target)
    with store.lock():
        latest = store.latest()
        if target == evaluated and latest is not None and latest.number != artifact.card.version:
            raise click.ClickException(
                f"{target} has a newer version by now, {latest.number}; version {artifact.card.version}, which was evaluated, is not "
                "published above it. Evaluate again."
            )
        number = store.publish(
            lambda file, number: artifacts.rewrite(file, artifact, card.replace(version=number)),
            suffix=SUFFIXES[artifact.format == "torchscript"],
        )
    return f"Version {number} of {target}"
