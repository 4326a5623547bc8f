"""Timing that holds on a noisy machine: contenders take turns, medians are quoted, and figures are ratios within one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TABLES = Path(__file__).with_name("README.md")


def interleaved(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int, warm: int = 1, between: Callable[[], object] | None = None
) -> dict[str, list[float]]:
    """Call each contender in turn, `rounds` times over; return their seconds, without the first `warm` rounds.

    `between` is called after each, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(warm + rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if round_ >= warm:
                seconds[name].append(time.perf_counter() - start)
            if between is not None:
                between()
    return seconds


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median of the ratios of two contenders' seconds, round by round."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, file: Path = TABLES) -> None:
    """Print a table in Markdown, and keep it in a file under its title, in place of the one before."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    print(f"\n## {title}\n\n" + "\n".join(lines), flush=True)
    head, *sections = file.read_text("utf-8").split("\n## ")
    kept = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    notes = [line for line in kept.get(title, "").splitlines() if not line.startswith("|")]
    kept[title] = "\n".join([*notes, *lines] if notes else lines).strip()
    parts = [head.strip(), *(f"## {name}\n\n{body}" for name, body in kept.items())]
    file.write_text("\n\n".join(parts) + "\n", "utf-8")
