"""Commands and training scripts, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

_SUPPORT = Path(__file__).parent


def exportweb(*args: object, stdin: bytes | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``exportweb`` with these arguments."""
    command = [sys.executable, "-m", "exportweb", *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def fails(*args: object, says: str) -> None:
    """Assert that ``exportweb`` ends with 1 and one line that matches."""
    done = exportweb(*args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(says, done.stderr), done.stderr


def script(body: str, *args: object, setup: str = "") -> list[str]:
    """Return the command that runs `setup` and `body`, which find this folder's modules and `sys`."""
    lines = ["import sys", f"sys.path.insert(0, {str(_SUPPORT)!r})", textwrap.dedent(setup), textwrap.dedent(body)]
    return [sys.executable, "-c", "\n".join(lines), *map(str, args)]


def run(body: str, *args: object, setup: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, with these variables in its environment."""
    words = script(body, *args, setup=setup)
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
