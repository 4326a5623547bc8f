"""ONNX Runtime, as the rest of the runtime sees it: a file and a device in, named arrays in, named arrays out.

One session serves any number of threads at once: `Run` keeps no state. It is built from a path, so that no copy of the file's
bytes lives on beside it, and its real provider is looked at after the build, because ONNX Runtime falls back to the CPU with
no more than a warning.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from exportweb.errors import ArtifactError, DeviceError
from exportweb.runtime import bfloat16, cuda
from exportweb.runtime.binding import Place
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.graphs import Graphs, recordable

log = logging.getLogger(__name__)

Array = NDArray[Any]

_CPU = "CPUExecutionProvider"
_DEVICE = re.compile(r"(auto|cpu|cuda)(?::(\d+))?")
_SILENT = 4  # ONNX Runtime's severity "fatal": what goes wrong comes back as an exception, which we explain ourselves
_NUMPY_NAMES = {"float": "float32", "double": "float64"}

# What ONNX Runtime's exceptions at load time mean, by class name; its own texts go to the log, not to a client.
_REASONS = {
    "InvalidProtobuf": "it is not an ONNX model, or is damaged",
    "NoModel": "it holds no model",
    "NotImplemented": "it uses an operator that this ONNX Runtime does not have",
    "InvalidGraph": "its graph is not valid",
}

# What ONNX Runtime says where there isn't enough memory: its arena, or CUDA.
_NO_ROOM = ("smaller than requested bytes", "Failed to allocate memory", "out of memory")


class Port(NamedTuple):
    """An input or output of a graph: a dynamic side of `shape` is None. `dtype` is NumPy's name, or ONNX Runtime's where NumPy has none:
    ``"string"``, ``"bfloat16"``, ``"seq(map(int64,tensor(float)))"``.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def numeric(self) -> bool:
        """Whether it is an array of numbers or booleans of a dtype that NumPy has."""
        return self.dtype in np.sctypeDict and np.dtype(self.dtype).kind in "biuf"

    def sized(self, sides: Sequence[int | None] | None) -> Port:
        """Return this port with these lengths behind the batch where its own are any."""
        if sides is None or len(self.shape) != 1 + len(sides):
            return self
        known = (side if own is None else own for own, side in zip(self.shape[1:], sides, strict=True))
        return self._replace(shape=(self.shape[0], *known))

    def describe(self) -> str:
        """Return ``float32 [N, 3]``, where N is any length."""
        return f"{self.dtype} [{', '.join('N' if side is None else str(side) for side in self.shape)}]"


class Session(Protocol):
    """A graph on a device, ready to be run by any number of threads at once.

    `device` is ``"cpu"`` or ``"cuda:N"``, `providers` what really runs it there, `threads` how many one run may use on the CPU.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    device: str
    providers: tuple[str, ...]
    threads: int

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph and return these of its outputs (all of them by default), by name; raise `ArtifactError` if it can't be run."""


class OnnxSession:
    """An ONNX graph on a device, ready to run: a file, or the bytes of one.

    `device` is ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``: CUDA where it really works, else the CPU. `threads` is how many one
    run may use on the CPU, 0 for all that are usable. `spinning` lets idle threads of its pool wait busily for work: quicker for
    a single stream of small runs, slower as soon as two runs or anything else want the cores. Without `optimize` the graph is run as it
    stands, for a session that runs once.

    `sides` are how long the dimensions of inputs are behind the batch, by name, where the graph takes any length and others say which.

    On a GPU, `memory_limit` bounds what ONNX Runtime's arena takes of its memory for this session, in bytes; `graphs` are batch sizes to
    record as CUDA graphs, of a session that is then run by one thread after the other.

    Raises `DeviceError` if the device can't be had, `ArtifactError` if the file can't be loaded, or if its runs can't be recorded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | bytes,
        *,
        device: str = "auto",
        threads: int = 0,
        spinning: bool = False,
        optimize: bool = True,
        memory_limit: int = 0,
        graphs: Sequence[int] = (),
        sides: Mapping[str, Sequence[int | None]] | None = None,
    ) -> None:
        ort = _onnxruntime()
        self.threads = threads or usable_cpus()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _SILENT
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        kind, index = parse_device(device)
        providers: list[tuple[str, dict[str, str]]] = [(_CPU, {})]
        if kind != "cpu" and _has_cuda(ort, device):
            providers.insert(0, (cuda.PROVIDER, cuda.options(index, memory_limit=memory_limit, graphs=bool(graphs))))
        options.enable_mem_pattern = len(providers) > 1  # on the CPU it takes memory (25 of resnet50's 240 MB) and no time less
        try:
            self._session = _build(ort, path, options, providers)
        except DeviceError:
            if kind == "cuda":
                raise
            self._session = _build(ort, path, options, [(_CPU, {})])
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.device = f"cuda:{index}" if cuda.PROVIDER in self.providers else "cpu"
        if len(providers) > 1 and self.device == "cpu":
            if kind == "cuda":
                raise DeviceError(
                    f"device={device!r} was asked for, but ONNX Runtime {ort.__version__} fell back to the CPU: check that the GPU exists "
                    "and that its driver, CUDA and cuDNN have the versions it needs, or use device='cpu'."
                )
            _warn_of_cpu("Its GPU, driver, CUDA or cuDNN isn't one that it can use.")
        self.inputs: tuple[Port, ...] = tuple(_port(arg).sized((sides or {}).get(arg.name)) for arg in self._session.get_inputs())
        self.outputs: tuple[Port, ...] = tuple(_port(arg) for arg in self._session.get_outputs())
        self.recorded = bool(graphs)
        self._run = self._runner(graphs)

    def _runner(self, graphs: Sequence[int]) -> Callable[[Sequence[str], Mapping[str, Array]], list[Any]]:
        """Choose how runs get their inputs to the device and their outputs back."""
        ports = (*self.inputs, *self.outputs)
        if graphs:
            if not recordable(ports):
                raise ArtifactError("Runs of this graph can't be recorded as CUDA graphs: its shapes don't depend on the batch size alone.")
            try:
                return Graphs(self._session, Place(*parse_device(self.device)), self.inputs, self.outputs, graphs)
            except Exception as error:  # ONNX Runtime's exceptions have no base of their own
                raise ArtifactError(f"Runs of this graph can't be recorded as CUDA graphs: {_first_line(error)}") from error
        if narrow := {port.name for port in ports if port.dtype == "bfloat16"}:
            return functools.partial(bfloat16.run, self._session, narrow)
        # Not bound: binding copies inputs with the GIL held, a run copies them without.
        return self._session.run if self.device == "cpu" else self._gated

    def _gated(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Any]:
        with cuda.GATE.use():
            return self._session.run(names, inputs)  # type: ignore[no-any-return]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph and return these of its outputs (all of them by default), by name; bfloat16 is float32 in and out.

        Raises `ArtifactError` if ONNX Runtime can't run it on these arrays.
        """
        names = [port.name for port in self.outputs] if outputs is None else list(outputs)
        try:
            return dict(zip(names, self._run(names, dict(inputs)), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            got = ", ".join(f"{name} {_dtype(array)}{list(array.shape)}" for name, array in inputs.items())
            log.warning("ONNX Runtime failed to run on %s: %s", got, error)
            raise ArtifactError(f"ONNX Runtime could not run the model on {got}.") from error


def available_devices() -> list[str]:
    """Return what `device` can be here: ``["cpu"]``, with ``"cuda"`` in front where ONNX Runtime was built with it."""
    return ["cuda", "cpu"] if cuda.PROVIDER in _onnxruntime().get_available_providers() else ["cpu"]


@functools.cache
def _warn_of_cpu(reason: str) -> None:
    """Say once, not for every version, that a GPU build runs on the CPU."""
    log.warning("CUDA is compiled into ONNX Runtime but can't be used here; running on the CPU. %s", reason)


def _onnxruntime() -> Any:
    try:
        ort: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DeviceError(
            "ONNX Runtime is not installed. Install exportweb[cpu], or exportweb[gpu] for NVIDIA GPUs; not both in one environment."
        ) from error
    ort.set_default_logger_severity(_SILENT)
    return ort


def _build(ort: Any, path: str | os.PathLike[str] | bytes, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
    """Build a session, without ONNX Runtime's own fallback, which prints."""
    model = path if isinstance(path, bytes) else os.fspath(path)
    try:
        with cuda.GATE.use():
            return ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        path = "the graph" if isinstance(path, bytes) else path
        log.info("ONNX Runtime can't load %s: %s", path, error)
        if "graph capture" in str(error):
            raise ArtifactError("Runs of this graph can't be recorded as CUDA graphs: parts of it run on the CPU.") from error
        if any(word in str(error) for word in _NO_ROOM):
            room = "the memory of its device, or what a limit (--gpu-mem-limit) leaves of it, is too small for it"
            raise ArtifactError(f"{path} can't be loaded: {room}.") from error
        if "CUDA" in str(error) or "cuda" in str(error):
            raise DeviceError(f"CUDA can't be used: {_first_line(error)}") from error
        raise ArtifactError(f"{path} can't be loaded: {_reason(error, ort)}.") from error


def _reason(error: Exception, ort: Any) -> str:
    text = str(error)
    if "IR version" in text or "opset" in text.lower():
        return f"it was written for a newer ONNX Runtime than {ort.__version__}; update onnxruntime or export with a lower opset"
    if "external" in text.lower():
        return "its weights are in another file; save it as one file (external_data=False)"
    return _REASONS.get(type(error).__name__, f"ONNX Runtime {ort.__version__} refuses it ({type(error).__name__})")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _has_cuda(ort: Any, device: str) -> bool:
    """Whether ONNX Runtime can load its CUDA provider; raise `DeviceError` if it can't and this device asks for it."""
    if cuda.PROVIDER not in ort.get_available_providers():
        if device != "auto":
            raise DeviceError(
                f"device={device!r} was asked for, but the ONNX Runtime {ort.__version__} installed here has no CUDA. "
                "Replace onnxruntime by onnxruntime-gpu (exportweb[gpu]), or use device='cpu'."
            )
        return False
    obstacle = cuda.obstacle(ort)
    if obstacle and device != "auto":
        raise DeviceError(f"device={device!r} was asked for, but CUDA can't be used: {obstacle} Or use device='cpu'.")
    if obstacle:
        _warn_of_cpu(obstacle)
    return not obstacle


def parse_device(device: str) -> tuple[str, int]:
    """Return ``("cuda", 1)`` for ``"cuda:1"``; raise `DeviceError` for what is no device."""
    match = _DEVICE.fullmatch(device)
    if match is None or (match[2] and match[1] != "cuda"):
        raise DeviceError(f"device={device!r} is unknown; it is 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    return match[1], int(match[2] or 0)


def _dtype(array: Array) -> str:
    return "string" if array.dtype == object else array.dtype.name


def _port(arg: Any) -> Port:
    dtype = str(arg.type)
    if dtype.startswith("tensor("):
        dtype = dtype[len("tensor(") : -1]
    shape = tuple(side if isinstance(side, int) else None for side in arg.shape)
    return Port(arg.name, _NUMPY_NAMES.get(dtype, dtype), shape)
