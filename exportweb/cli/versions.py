"""``exportweb versions``: what is in a store."""

from __future__ import annotations

import os
from pathlib import Path

import click

from exportweb.cli.paths import store_location
from exportweb.cli.table import metrics, size, table, when


@click.command
@click.argument("store", type=store_location)
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def command(store: Path | str, as_json: bool) -> None:
    """List the versions in STORE, oldest first."""
    import msgspec

    from exportweb.errors import ExportwebError
    from exportweb.store import Store

    versions = Store(store)
    latest, pinned, best = versions.latest(), versions.pinned(), versions.best()
    found: list[dict[str, object]] = []
    rows = [("version", "", "epoch", "metrics", "created", "size")]
    for number, path in versions.versions().items():
        current = latest is not None and latest.number == number
        entry: dict[str, object] = {"version": number, "latest": current, "pinned": number in pinned, "best": number == best}
        entry |= {"file": path.name, "error": None}
        card, count = None, 0
        try:
            with versions.open(number) as file:
                count = entry["size"] = file.seek(0, os.SEEK_END)
            card = versions.card(number)
        except ExportwebError as error:
            if number not in versions.versions():  # pruned while we looked
                continue
            entry["error"] = str(error)
        source = card.source if card else None
        entry |= {
            "epoch": source and source.epoch,
            "step": source and source.step,
            "metrics": dict(source.metrics) if source else {},
            "created": source and source.created,
        }
        found.append(entry)
        served = "latest, by rollback" if latest and latest.rollback else "latest"
        marks = {served: current, "best": number == best, "pinned": number in pinned}
        state = ", ".join(mark for mark, holds in marks.items() if holds)
        epoch = str(source.epoch) if source and source.epoch is not None else "-"
        what = "unreadable" if entry["error"] else metrics(source.metrics) if source else "-"
        rows.append((str(number), state, epoch, what, when(source.created if source else None), size(count)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    elif found:
        click.echo(table(rows, right=(0, 2, 5)))
    else:
        click.echo(f"{store} has no version yet.")
