"""The processes of a distributed run, each a script of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

_PRELUDE = """
import sys, torch, torch.distributed as dist
from pathlib import Path
from torch import nn
from models import Tiny, batches, example, train_round
from exportweb import export_hook
folder = Path(sys.argv[1])
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = Tiny()
"""


def run_ranks(body: str, folder: Path, *, count: int = 2, timeout: float = 300) -> list[subprocess.CompletedProcess[str]]:
    """Run a script in `count` processes that know each other; return how each ended.

    It begins with a `model` that is the same everywhere, `rank` and `folder`, the process group made.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _PRELUDE + textwrap.dedent(body), str(folder)],
            env={**common, "PYTHONPATH": path, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [subprocess.CompletedProcess(p.args, p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]
