from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("s3fs")

SCRIPT = """
import asyncio, atexit, concurrent.futures, fsspec.asyn
from exportweb.s3 import config

loop = fsspec.asyn.get_loop()
resolver = config()["connector_args"]["resolver"]

def look_up():
    found = asyncio.run_coroutine_threadsafe(resolver.resolve("localhost", 80), loop).result(30)
    print({entry["port"] for entry in found}, {entry["host"] for entry in found})

look_up()
atexit.register(look_up)
"""


def test_an_address_is_found_while_the_interpreter_exits() -> None:
    """No thread pool takes work any more by then, which is what lookups otherwise run in."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    first, last = done.stdout.splitlines()
    assert "127.0.0.1" in last and first == last
