from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from exportweb.errors import DeviceError
from exportweb.runtime import cuda, devices, verify
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.session import OnnxSession
from serving import SIDE, Artifacts, graph

IMAGE = np.full((1, SIDE, SIDE, 3), 7, np.uint8)


def test_several_gpus_are_named_one_by_one() -> None:
    assert devices.parse("cpu") == ["cpu"]
    assert devices.parse("cuda:0,cuda:2") == ["cuda:0", "cuda:2"]
    for wrong in ("cuda,cuda:0", "cpu,cuda", "cuda:0,cuda:x"):
        with pytest.raises(DeviceError, match="device="):
            devices.parse(wrong)


@pytest.mark.skipif(cuda.count() > 0, reason="has a GPU")
def test_all_gpus_are_an_error_where_there_are_none() -> None:
    with pytest.raises(DeviceError, match="finds no GPU"):
        devices.parse("cuda:all")


def test_a_run_goes_to_the_device_that_has_the_fewest() -> None:
    slow, quick = OnnxSession(graph(scale=255.0, slow=0.1), device="cpu"), OnnxSession(graph(scale=510.0), device="cpu")
    both = devices.Sessions([slow, quick])
    assert both.device == "cpu,cpu"
    assert (both.inputs, both.outputs, both.providers) == (slow.inputs, slow.outputs, slow.providers)
    first: list[float] = []
    thread = threading.Thread(target=lambda: first.extend(both.run({"image": IMAGE})["logits"][0].tolist()))
    thread.start()
    answers = []
    while thread.is_alive():
        answers.append(both.run({"image": IMAGE})["logits"][0, 0])
    thread.join()
    assert first == [7.0] * 3
    assert 14.0 in answers  # while one ran on the first, another ran on the second
    assert both.run({"image": IMAGE})["logits"].tolist() == [[7.0] * 3]


def test_each_device_is_checked(tmp_path: Path) -> None:
    path = Artifacts().write(tmp_path / "model.onnx")
    right, wrong = OnnxSession(path, device="cpu"), OnnxSession(graph(scale=99.0), device="cpu")
    one = Predictor.load(path, device="cpu")
    assert one.each() == [one]
    first, second = Predictor(one.card, devices.Sessions([right, wrong])).each()
    verify.golden(first)
    with pytest.raises(verify.Rejected, match="golden sample failed"):
        verify.golden(second)


def test_graphs_are_for_gpus_only(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    session = devices.load(path, device="cpu", graphs=(1, 2))
    assert isinstance(session, OnnxSession) and not session.recorded
