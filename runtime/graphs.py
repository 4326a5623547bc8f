"""CUDA graphs: a session's run of each batch size, recorded once and then replayed, without launching its kernels one by one.

That gains where a run is many small kernels, and wherever batches change their size, and costs that only one run can go on at a time:
whoever loads a session decides by measuring (see `runtime.devices`). A replay reads and writes the addresses that it was recorded with, so
each size has inputs and outputs of its own on the device, and a batch between two sizes is run as the next one. ONNX Runtime keeps a
recording with the thread that made it: a session with graphs is run by one thread of its own.
"""

from __future__ import annotations

import importlib
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.binding import Bindings, Place
from exportweb.runtime.cuda import GATE

if TYPE_CHECKING:
    from exportweb.runtime.session import Port, Session

log = logging.getLogger(__name__)

Array = NDArray[Any]

_PLAIN = -1  # the number that asks for a run without a graph
_RUNS = 3  # ONNX Runtime runs twice, so that all memory is there, before it records


_GAIN = 0.95  # the share of its time that a run may take to count as faster


def recordable(ports: Sequence[Port]) -> bool:
    """Whether runs on these inputs and outputs have one shape for each batch size."""
    return all(port.shape[:1] == (None,) and None not in port.shape[1:] and port.numeric for port in ports)


class Graphs:
    """What runs a session by CUDA graphs: `InferenceSession.run`, for any number of threads, one after the other.

    `sizes` are batch sizes; `inputs` and `outputs` the graph's ports, which have to be `recordable`. The session has to be built with
    `enable_cuda_graph`; on another device nothing is recorded, and all else is the same.
    """

    def __init__(self, session: Any, place: Place, inputs: Sequence[Port], outputs: Sequence[Port], sizes: Sequence[int]) -> None:
        self._plain = Bindings(session, place)
        self._outputs = [port.name for port in outputs]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="exportweb-graphs")
        self._recorded = [self._thread.submit(_Recorded, session, place, inputs, outputs, size).result() for size in sorted(sizes)]

    def __call__(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Return these outputs. Raises what ONNX Runtime raises."""
        for recorded in self._recorded:
            if recorded.fits(inputs):
                whole, count = recorded.whole(inputs)  # here, not where other runs would wait for it
                found = dict(zip(self._outputs, self._thread.submit(recorded.run, whole, count).result(), strict=True))
                return [found[name] for name in names]
        return self._thread.submit(self._plain, names, inputs, _annotated(_PLAIN)).result()


class _Recorded:
    """The run of one batch size. Made and run in one thread."""

    def __init__(self, session: Any, place: Place, inputs: Sequence[Port], outputs: Sequence[Port], size: int) -> None:
        self._session = session
        self._size = size
        self._options = _annotated(size)
        self._io = session.io_binding()
        self._shapes = {port.name: (np.dtype(port.dtype), _sides(port)) for port in inputs}
        blank = {name: np.zeros((size, *shape), dtype) for name, (dtype, shape) in self._shapes.items()}
        with GATE.use():
            self._inputs = {name: place.empty(array.shape, array.dtype) for name, array in blank.items()}
            self._outputs = [place.empty((size, *_sides(port)), port.dtype) for port in outputs]
            for name, value in self._inputs.items():
                self._io.bind_ortvalue_input(name, value)
            for port, value in zip(outputs, self._outputs, strict=True):
                self._io.bind_ortvalue_output(port.name, value)
            self._replay(blank, _annotated(_PLAIN))  # the slow first run, in which others go on
        with GATE.record():
            for _ in range(_RUNS):
                self._replay(blank, self._options)

    def fits(self, inputs: Mapping[str, Array]) -> bool:
        """Whether these inputs are a batch that can be run as one of this size."""
        counts = {len(array) if array.ndim else 0 for array in inputs.values()}
        return (
            len(counts) == 1
            and 0 < counts.pop() <= self._size
            and {name: (array.dtype, array.shape[1:]) for name, array in inputs.items()} == self._shapes
        )

    def whole(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
        """Return inputs that fit as a batch of this size, and how many they are: what lies behind them is computed in vain."""
        count = len(next(iter(inputs.values())))
        if count == self._size:
            return inputs, count
        filled = {}
        for name, array in inputs.items():
            filled[name] = np.empty((self._size, *array.shape[1:]), array.dtype)
            filled[name][:count], filled[name][count:] = array, 0
        return filled, count

    def run(self, inputs: Mapping[str, Array], count: int) -> list[Array]:
        """Return the first `count` of all outputs, for inputs that are a whole batch."""
        with GATE.use():
            self._replay(inputs, self._options)
            return [np.array(value.numpy()[:count]) for value in self._outputs]

    def _replay(self, inputs: Mapping[str, Array], options: Any) -> None:
        for name, value in self._inputs.items():
            value.update_inplace(inputs[name])
        self._session.run_with_iobinding(self._io, options)


def _sides(port: Port) -> tuple[int, ...]:
    """Return the sides behind the batch dimension, which a recordable port has."""
    return tuple(side or 0 for side in port.shape[1:])


def _annotated(number: int) -> Any:
    """Return options of a run that say which graph it is, for ONNX Runtime."""
    options = importlib.import_module("onnxruntime").RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def faster(recorded: Session, plain: Session, sizes: Sequence[int], *, rounds: int = 3) -> bool:
    """Whether CUDA graphs answer batches whose sizes change, as a server's do, sooner than plain runs; measured.

    Batches of one size are no measure: a plain run of another size than the last plans each convolution anew, since ONNX Runtime keeps the
    plan of the last size only.
    """
    share = _seconds(recorded, sizes, rounds) / _seconds(plain, sizes, rounds)
    log.info("with CUDA graphs, batches of %d and %d by turns take %.2f of the time", min(sizes), max(sizes), share)
    return share <= _GAIN


def _seconds(session: Session, sizes: Sequence[int], rounds: int) -> float:
    """Return the seconds that a small and a large batch of zeros take, one after the other: the median of rounds, without the first."""
    batches = [{port.name: np.zeros((size, *_sides(port)), port.dtype) for port in session.inputs} for size in (min(sizes), max(sizes))]
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for batch in batches:
            session.run(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
