"""Where a version runs: on the CPU, on a GPU, or on several, each with a session of its own. A run goes to the GPU that has the fewest."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exportweb.errors import DeviceError, ExportwebError
from exportweb.runtime import cuda
from exportweb.runtime.graphs import faster
from exportweb.runtime.session import Array, OnnxSession, Session, parse_device

log = logging.getLogger(__name__)

_GRAPHS: dict[tuple[object, ...], bool] = {}
"""Whether CUDA graphs made a file much faster, by device, batch sizes and rough size: the next version of a model isn't measured again."""


def parse(device: str) -> list[str]:
    """Return ``["cuda:0", "cuda:1"]`` for ``"cuda:0,cuda:1"``, or for ``"cuda:all"`` where there are two; raise `DeviceError`."""
    if device == "cuda:all":
        devices = [f"cuda:{index}" for index in range(cuda.count())]
        if not devices:
            raise DeviceError("device='cuda:all' was asked for, but NVIDIA's driver finds no GPU here; use device='cpu'.")
        return devices
    devices = device.split(",")
    if len(devices) > 1:
        places = [parse_device(one) for one in devices]
        if len(set(places)) < len(places) or {kind for kind, _ in places} != {"cuda"}:
            raise DeviceError(f"device={device!r} should name each GPU once, such as cuda:0,cuda:1.")
    return devices


def load(path: str | os.PathLike[str], *, device: str, threads: int = 0, memory_limit: int = 0) -> Session:
    """Load a file onto each of these devices.

    `threads` and `memory_limit` are those of `OnnxSession`, which also says what is raised.
    """
    options: dict[str, Any] = {"threads": threads, "memory_limit": memory_limit}
    sessions = [OnnxSession(path, device=one, **options) for one in parse(device)]
    return sessions[0] if len(sessions) == 1 else Sessions(sessions)


def load_recorded(path: str | os.PathLike[str], plain: Session, *, graphs: Sequence[int]) -> OnnxSession | None:
    """Load a file again, for runs that are alone on the first of a session's GPUs, with batches of these sizes recorded as CUDA graphs.

    None where that isn't worth the memory of its weights: its runs aren't much faster, which is measured once for a graph of this size, or
    can't be recorded, because some are the CPU's or shapes vary.
    """
    first = split(plain)[0]
    key = first.device, tuple(graphs), Path(path).stat().st_size.bit_length()
    if first.device == "cpu" or not graphs or not _GRAPHS.get(key, True):
        return None
    try:
        recorded = OnnxSession(path, device=first.device, graphs=graphs)
    except ExportwebError as error:
        log.info("%s runs without CUDA graphs: %s", path, error)
        _GRAPHS[key] = False
        return None
    if key not in _GRAPHS:
        _GRAPHS[key] = faster(recorded, first, min(graphs))
    return recorded if _GRAPHS[key] else None


class Sessions:
    """One graph on several devices, as one session; `device` names them all, with commas."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = tuple(sessions)
        self.inputs = sessions[0].inputs
        self.outputs = sessions[0].outputs
        self.providers = sessions[0].providers
        self.threads = sessions[0].threads
        self.device = ",".join(session.device for session in sessions)
        self._lock = threading.Lock()
        self._runs = [0] * len(sessions)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph on the device that has the fewest runs, the first of several."""
        with self._lock:
            chosen = self._runs.index(min(self._runs))
            self._runs[chosen] += 1
        try:
            return self.sessions[chosen].run(inputs, outputs)
        finally:
            with self._lock:
                self._runs[chosen] -= 1


def split(session: Session) -> Sequence[Session]:
    """Return a session's sessions, one for each device."""
    return session.sessions if isinstance(session, Sessions) else (session,)
