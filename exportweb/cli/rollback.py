"""``exportweb rollback``: point a store back to a version that it has."""

from __future__ import annotations

from pathlib import Path

import click

from exportweb.cli.paths import store_location


@click.command
@click.argument("store", type=store_location)
@click.option("--to", "number", type=click.IntRange(min=1), required=True, metavar="N", help="The version to serve again.")
def command(store: Path | str, number: int) -> None:
    """Point STORE back to version N; servers follow at once."""
    from exportweb.store import Store

    versions = Store(store)
    before = versions.latest()
    versions.rollback(number)
    was = f" (was {before.number})" if before is not None and before.number != number else ""
    click.echo(f"{store}: version {number} is the latest now{was}. The next version that is published follows it.")
