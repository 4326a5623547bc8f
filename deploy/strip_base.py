"""Takes pip, and all else that installs packages, out of the Python of an image's base. `deploy/Dockerfile` runs it in the final stage."""

from __future__ import annotations

import importlib.util
import site
import sys
from pathlib import Path

from trim import remove


def main() -> None:
    """Empty the interpreter's own site-packages (the server has its own), and remove pip's commands and its bundled copy."""
    for folder in map(Path, site.getsitepackages([sys.base_prefix])):
        for path in folder.iterdir() if folder.is_dir() else ():
            remove(path)
    bundled = importlib.util.find_spec("ensurepip")
    if bundled is not None and bundled.origin is not None:
        remove(Path(bundled.origin).parent)
    for command in Path(sys.base_prefix, "bin").glob("pip*"):
        remove(command)


if __name__ == "__main__":
    main()
