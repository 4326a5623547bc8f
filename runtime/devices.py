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
"""Whether CUDA graphs made a file faster, by device, batch sizes and rough size: the next version of a model isn't measured again."""


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


def load(
    path: str | os.PathLike[str],
    *,
    device: str,
    threads: int = 0,
    memory_limit: int = 0,
    graphs: Sequence[int] = (),
    sides: Mapping[str, Sequence[int | None]] | None = None,
) -> Session:
    """Load a file onto each of these devices. On GPUs, batches of the sizes in `graphs` are recorded as CUDA graphs where that is faster.

    `threads`, `memory_limit` and `sides` are those of `OnnxSession`, which also says what is raised.
    """
    devices = parse(device)
    options: dict[str, Any] = {"threads": threads, "memory_limit": memory_limit, "sides": sides}
    first = _fastest(path, devices[0], graphs, options)
    if len(devices) == 1:
        return first
    sizes = graphs if first.recorded else ()
    return Sessions([first, *(OnnxSession(path, device=one, graphs=sizes, **options) for one in devices[1:])])


def _fastest(path: str | os.PathLike[str], device: str, graphs: Sequence[int], options: Mapping[str, Any]) -> OnnxSession:
    """Load a file onto a device, with CUDA graphs if they gain; measured once."""
    key = device, tuple(graphs), Path(path).stat().st_size.bit_length()
    if _GRAPHS.get(key) and (recorded := _recorded(path, device, graphs, options)):
        return recorded
    plain = OnnxSession(path, device=device, **options)
    if not graphs or plain.device == "cpu" or key in _GRAPHS:
        return plain
    recorded = _recorded(path, plain.device, graphs, options)
    _GRAPHS[key] = recorded is not None and faster(recorded, plain, graphs)
    return recorded if recorded is not None and _GRAPHS[key] else plain


def _recorded(path: str | os.PathLike[str], device: str, graphs: Sequence[int], options: Mapping[str, Any]) -> OnnxSession | None:
    """Load a file onto a GPU with CUDA graphs; None if its runs can't be recorded, because some are the CPU's or shapes vary."""
    try:
        return OnnxSession(path, device=device, graphs=graphs, **options)
    except ExportwebError as error:
        log.info("%s runs without CUDA graphs: %s", path, error)
        return None


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
