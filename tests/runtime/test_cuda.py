from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType

import pytest

from exportweb.runtime import cuda


def test_options_say_what_was_asked_for() -> None:
    plain = cuda.options(1)
    assert plain["device_id"] == "1" and plain["enable_cuda_graph"] == "0" and "gpu_mem_limit" not in plain
    chosen = cuda.options(0, memory_limit=4_000_000_000, graphs=True)
    assert chosen["enable_cuda_graph"] == "1" and chosen["gpu_mem_limit"] == "4000000000"
    assert all(isinstance(value, str) for value in chosen.values())


def module(folder: Path) -> ModuleType:
    """An ONNX Runtime that was installed into a folder."""
    ort = ModuleType("onnxruntime")
    ort.__file__, ort.__version__ = str(folder / "__init__.py"), "1.0"  # type: ignore[attr-defined]
    return ort


def test_names_the_library_that_can_not_be_loaded(tmp_path: Path) -> None:
    library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    assert cuda.obstacle(module(tmp_path)) == ""
    library.parent.mkdir()
    library.write_bytes(b"no library")
    obstacle = cuda.obstacle(module(tmp_path))
    assert "libonnxruntime_providers_cuda.so" in obstacle and "ONNX Runtime 1.0" in obstacle


def test_a_recording_waits_for_runs_and_runs_wait_for_it() -> None:
    gate, events = cuda.Gate(), list[str]()
    recording = threading.Event()

    def record() -> None:
        with gate.record():
            events.append("recorded")
            recording.wait(10)

    def use() -> None:
        with gate.use():
            events.append("ran")

    with gate.use(), gate.use():  # two at once
        recorder = threading.Thread(target=record)
        recorder.start()
        recorder.join(0.05)
        late = threading.Thread(target=use)
        late.start()
        late.join(0.05)
        assert events == []
    late.join(0.05)
    assert events == ["recorded"]
    recording.set()
    recorder.join(10)
    late.join(10)
    assert events == ["recorded", "ran"]


def test_an_error_leaves_the_gate_open() -> None:
    gate = cuda.Gate()
    for way in (gate.use, gate.record):
        with pytest.raises(ValueError, match="inside"), way():
            raise ValueError("inside")
    with gate.record():
        pass
    with gate.use():
        pass
