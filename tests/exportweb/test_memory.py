from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import mmap
from exportweb.memory import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE

large = b"x" * (16 << 20)
del large  # from now on the C library keeps freed blocks of up to this size
blocks = [b"%d" % i * (1 << 20) for i in range(65)]
last = blocks.pop()  # lies behind the others
del blocks
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other C libraries give back by themselves")
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 32 << 20
