"""NVIDIA GPUs, as ONNX Runtime uses them: how many there are, what its CUDA provider is told, and why it can't be had."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROVIDER = "CUDAExecutionProvider"

_LIBRARY = "capi/libonnxruntime_providers_cuda.so"


def options(index: int, *, memory_limit: int = 0, graphs: bool = False) -> dict[str, str]:
    """Return the provider's options for a GPU; `memory_limit` is in bytes, 0 for none.

    float32 convolutions and products are computed in TF32 where the GPU has it, as ONNX Runtime does by default.
    """
    chosen = {
        "device_id": str(index),
        "use_tf32": "1",
        "cudnn_conv_algo_search": "HEURISTIC",  # its default tries every algorithm in the first run of each batch size: seconds
        "arena_extend_strategy": "kSameAsRequested",  # its default doubles what it holds; two versions share the memory in a swap
        "enable_cuda_graph": "1" if graphs else "0",
    }
    if memory_limit:
        chosen["gpu_mem_limit"] = str(memory_limit)
    return chosen


def count() -> int:
    """Return how many GPUs this process may use, as NVIDIA's driver says (it minds ``CUDA_VISIBLE_DEVICES``); 0 without one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    number = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return 0
    return number.value


@functools.cache
def obstacle(ort: Any) -> str:
    """Return why ONNX Runtime's CUDA library can't be loaded here, with the name of what is missing; nothing if it can.

    ONNX Runtime itself falls back to the CPU without an exception. CUDA and cuDNN may also come as NVIDIA's wheels, which ONNX Runtime
    finds only when it is asked to.
    """
    library = Path(ort.__file__).parent / _LIBRARY
    if not library.exists():  # on other systems it is called otherwise
        return ""
    if not (missing := _unloadable(library)):
        return ""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it doesn't find
            ort.preload_dlls()
        missing = _unloadable(library)
    if missing.startswith("libcuda.so"):
        return f"{missing}. It comes with NVIDIA's driver; in a container, with docker run --gpus all."
    if missing:
        wheels = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
        return f"{missing}. Install the CUDA and cuDNN that ONNX Runtime {ort.__version__} was built for, or NVIDIA's wheels: {wheels}."
    return ""


def _unloadable(library: Path) -> str:
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error).partition(": No such file")[0]
    return ""


class Gate:
    """Lets either any number of threads use CUDA, or one record a CUDA graph: whatever allocates or copies meanwhile, in any thread of the
    process, fails or spoils the recording. A recording takes milliseconds.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._using = 0
        self._recording = False

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Hold this while CUDA is used."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._using += 1
        try:
            yield
        finally:
            with self._changed:
                self._using -= 1
                if not self._using:
                    self._changed.notify_all()

    @contextlib.contextmanager
    def record(self) -> Iterator[None]:
        """Hold this while a graph is recorded: those who want to use CUDA wait, those who do are waited for."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._recording = True
            self._changed.wait_for(lambda: not self._using)
        try:
            yield
        finally:
            with self._changed:
                self._recording = False
                self._changed.notify_all()


GATE = Gate()
