"""``python -m exportweb``: the command line, also where its script isn't on the path."""

from __future__ import annotations

from exportweb.cli import main

if __name__ == "__main__":
    main(prog_name="exportweb")
