"""Where a version came from: package versions, the commit of the training code, the time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path


def packages(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of these distributions and of exportweb."""
    found = {}
    for name in (*names, "exportweb"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def commit() -> str | None:
    """Return the commit that the running script was checked out from, with ``+`` if it was changed since; None without git."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path.cwd()
    folder = script.resolve().parent if script.is_file() else Path.cwd()
    try:
        head = _git(folder, "rev-parse", "HEAD").strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + "+" if changed else head


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout
