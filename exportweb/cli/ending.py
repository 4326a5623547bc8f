"""The end of a process in which threads may be inside long runs of a model."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

import click

from exportweb.errors import ExportwebError


@contextlib.contextmanager
def despite_runs() -> Iterator[None]:
    """End the process after a block, with or without an error, if a thread of the runtime is left: it is inside a run of a model.

    Python, were it to end around such a thread, would unwind it through C++ as soon as it comes back, which aborts the process.
    """
    try:
        yield
    except (ExportwebError, KeyboardInterrupt) as error:
        if _any_left():
            click.ClickException(str(error) or "interrupted").show()
            _end(1)
        raise
    if _any_left():
        _end(0)


def _any_left() -> bool:
    return any(thread.name.startswith("exportweb-") for thread in threading.enumerate())


def _end(code: int) -> None:
    logging.shutdown()
    os._exit(code)
