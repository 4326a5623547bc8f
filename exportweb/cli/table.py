"""Text in columns, and values as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Align rows of cells; the columns in `right` end, rather than begin, at one edge."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size(count: int) -> str:
    """Return a number of bytes as in ``44.7 MB`` (powers of 1000)."""
    value, units = float(count), ("B", "kB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if value < 999.95:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {units[-1]}"


def when(moment: str | None) -> str:
    """Return an ISO 8601 moment in local time, to the second; what isn't one, as it is."""
    if moment is None:
        return "-"
    try:
        parsed = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    except ValueError:
        return moment
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone.utc)
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def metrics(values: Mapping[str, float]) -> str:
    """Return metrics as in ``accuracy 0.9731, loss 0.08``."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items()) or "-"
