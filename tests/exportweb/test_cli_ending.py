"""A process ends as it should, though a thread is inside a run of a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving import Artifacts

SCRIPT = """
import sys, threading, time
import numpy as np
import onnxruntime
from exportweb.cli.ending import despite_runs
from exportweb.errors import ExportwebError

class Late:
    def __del__(self, sleep=time.sleep):
        sleep(2)  # so that Python, were it to end by itself, would do so after the run

def again():
    while True:
        session.run(None, {"image": np.zeros((1, 8, 8, 3), np.uint8)})

late = Late()
session = onnxruntime.InferenceSession(sys.argv[1])
threading.Thread(target=again, name="exportweb-aside", daemon=True).start()
time.sleep(0.1)
with despite_runs():
    if error := sys.argv[2]:
        raise KeyboardInterrupt if error == "Ctrl-C" else ExportwebError(error)
"""


@pytest.mark.parametrize(
    ("error", "code", "says"), [("", 0, ""), ("There is none.", 1, "Error: There is none.\n"), ("Ctrl-C", 1, "Error: interrupted\n")]
)
def test_it_ends_while_a_model_runs(artifacts: Artifacts, tmp_path: Path, error: str, code: int, says: str) -> None:
    path = artifacts.write(tmp_path / "slow.onnx", slow=0.5)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path), error], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, says)
