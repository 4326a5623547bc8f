"""``exportweb versions``: what is in a store."""

from __future__ import annotations

from pathlib import Path

import click

from exportweb.cli.table import metrics, size, table, when


@click.command
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def command(store: Path, as_json: bool) -> None:
    """List the versions in STORE, oldest first."""
    import msgspec

    from exportweb import artifact
    from exportweb.errors import ExportwebError
    from exportweb.store import Store

    versions = Store(store)
    latest = versions.latest()
    found: list[dict[str, object]] = []
    rows = [("version", "", "epoch", "metrics", "created", "size")]
    for number, path in versions.versions().items():
        current = latest is not None and latest.number == number
        entry: dict[str, object] = {"version": number, "latest": current, "file": path.name, "error": None}
        try:
            count = entry["size"] = path.stat().st_size
            card = artifact.read(path).card if path.suffix == ".onnx" else None
        except FileNotFoundError:  # pruned while we looked
            continue
        except (ExportwebError, OSError) as error:
            card, entry["error"] = None, str(error)
        source = card.source if card else None
        entry |= {
            "epoch": source and source.epoch,
            "step": source and source.step,
            "metrics": dict(source.metrics) if source else {},
            "created": source and source.created,
        }
        found.append(entry)
        state = ("latest, by rollback" if latest.rollback else "latest") if latest and current else ""
        epoch = str(source.epoch) if source and source.epoch is not None else "-"
        what = "unreadable" if entry["error"] else metrics(source.metrics) if source else "-"
        rows.append((str(number), state, epoch, what, when(source.created if source else None), size(count)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    elif found:
        click.echo(table(rows, right=(0, 2, 5)))
    else:
        click.echo(f"{store} has no version yet.")
