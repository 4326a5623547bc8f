"""``exportweb pin``: keep a version of a store for good."""

from __future__ import annotations

from pathlib import Path

import click

from exportweb.cli.paths import store_location


@click.command
@click.argument("store", type=store_location)
@click.argument("number", metavar="VERSION", type=click.IntRange(min=1))
@click.option("--undo", is_flag=True, help="Let it go the way of the others again.")
def command(store: Path | str, number: int, undo: bool) -> None:
    """Keep VERSION in STORE, however many newer ones come."""
    from exportweb.store import Store

    if undo:
        Store(store).unpin(number)
        click.echo(f"{store}: version {number} is not pinned any more.")
    else:
        Store(store).pin(number)
        click.echo(f"{store}: version {number} stays until: exportweb pin {store} {number} --undo")
