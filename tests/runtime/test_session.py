from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exportweb.errors import ArtifactError, DeviceError
from exportweb.runtime import available_devices
from exportweb.runtime.session import OnnxSession
from serving import SIDE, graph


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph(scale=255.0))
    return path


def test_runs_named_arrays(file: Path) -> None:
    session = OnnxSession(file, device="cpu", threads=1)
    image = np.full((2, SIDE, SIDE, 3), 7, np.uint8)
    out = session.run({"image": image})
    assert out["logits"].tolist() == [[7.0, 7.0, 7.0]] * 2
    assert session.run({"image": image}, ["logits"]).keys() == {"logits"}


def test_says_what_the_graph_takes_and_gives(file: Path) -> None:
    session = OnnxSession(file, device="cpu")
    assert session.inputs == (("image", "uint8", (None, SIDE, SIDE, 3)),)
    assert session.outputs == (("logits", "float32", (None, 3)),)
    assert session.device == "cpu"
    assert session.providers == ("CPUExecutionProvider",)
    assert session.threads >= 1


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", ""])
def test_unknown_device(file: Path, device: str) -> None:
    with pytest.raises(DeviceError, match="'auto', 'cpu', 'cuda' or 'cuda:N'"):
        OnnxSession(file, device=device)


@pytest.mark.skipif("cuda" in available_devices(), reason="has CUDA")
def test_cuda_is_an_error_where_there_is_none_and_auto_is_the_cpu(file: Path) -> None:
    with pytest.raises(DeviceError, match="has no CUDA"):
        OnnxSession(file, device="cuda")
    assert OnnxSession(file, device="auto").device == "cpu"


@pytest.mark.parametrize("data", [b"", b"hello", graph()[:200]])
def test_explains_a_file_that_is_no_model(tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="can't be loaded") as caught:
        OnnxSession(path, device="cpu")
    assert "ONNXRuntimeError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # ONNX Runtime itself says nothing


def test_explains_arrays_that_do_not_fit(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = OnnxSession(file, device="cpu")
    with pytest.raises(ArtifactError, match=r"could not run the model on image float32\[1, 2, 3\]"):
        session.run({"image": np.zeros((1, 2, 3), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_nothing_is_reported_and_no_file_is_left_in_the_users_home(file: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = f"from exportweb.runtime.session import OnnxSession; OnnxSession({str(file)!r}, device='cpu')"
    env = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")} | {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)
    assert list(home.rglob("*")) == []
