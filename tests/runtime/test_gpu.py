"""ONNX Runtime on a real GPU: what it answers there, CUDA graphs, several threads, memory, and a server that swaps."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from exportweb import Store, artifact
from exportweb.errors import ArtifactError, DeviceError
from exportweb.runtime import cuda, devices, verify
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.session import OnnxSession, available_devices
from serving import Server

pytestmark = pytest.mark.skipif(cuda.count() == 0 or "cuda" not in available_devices(), reason="needs a GPU and onnxruntime-gpu")

TF32 = 2e-2  # how far an answer in TF32 may be from one in float32, of the largest number in it


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real network with random weights, of images of 64 x 64."""
    import timm
    import torch

    from exportweb.exporters.single import export

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10, pretrained_cfg_overlay={"input_size": (3, 64, 64)})
    return export(model, tmp_path_factory.mktemp("resnet") / "model.onnx")


@pytest.fixture(scope="module")
def on_cpu(resnet: Path) -> OnnxSession:
    return OnnxSession(resnet, device="cpu")


@pytest.fixture(scope="module")
def on_gpu(resnet: Path) -> OnnxSession:
    return OnnxSession(resnet, device="cuda")


@pytest.fixture(scope="module")
def recorded(resnet: Path) -> OnnxSession:
    return OnnxSession(resnet, device="cuda:0", graphs=(1, 2, 4, 8))


def images(count: int, seed: int = 0) -> dict[str, Any]:
    return {"image": np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)}


def logits(session: OnnxSession, inputs: dict[str, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = session.run(inputs)["logits"]
    return found


def assert_near(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TF32 * float(np.abs(wanted).max()))


def test_says_that_it_runs_there(on_gpu: OnnxSession) -> None:
    assert on_gpu.device == "cuda:0"
    assert on_gpu.providers[0] == cuda.PROVIDER
    assert devices.parse("cuda:all") == [f"cuda:{index}" for index in range(cuda.count())]


@pytest.mark.parametrize("count", [1, 3, 8, 33])
def test_answers_what_the_cpu_does(on_cpu: OnnxSession, on_gpu: OnnxSession, count: int) -> None:
    assert_near(logits(on_gpu, images(count)), logits(on_cpu, images(count)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9])
def test_recorded_runs_answer_what_others_do(on_cpu: OnnxSession, recorded: OnnxSession, count: int) -> None:
    assert recorded.recorded
    logits(recorded, images(8, seed=99))  # what a larger batch leaves behind is nobody's answer
    assert_near(logits(recorded, images(count)), logits(on_cpu, images(count)))


@pytest.mark.parametrize("name", ["on_gpu", "recorded"])
def test_threads_get_their_own_answers(name: str, request: pytest.FixtureRequest) -> None:
    session = request.getfixturevalue(name)
    wanted = {seed: logits(session, images(1 + seed % 3, seed)) for seed in range(8)}

    def ask(number: int) -> None:
        seed = number % 8
        assert_near(logits(session, images(1 + seed % 3, seed)), wanted[seed])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(400)))


@pytest.mark.parametrize("name", ["on_gpu", "recorded"])
@pytest.mark.parametrize("sizes", [(), (1, 4)])
def test_a_session_is_built_beside_runs(resnet: Path, name: str, sizes: tuple[int, ...], request: pytest.FixtureRequest) -> None:
    session, stop = request.getfixturevalue(name), threading.Event()
    wanted = logits(session, images(2))

    def ask() -> int:
        count = 0
        while not stop.is_set():
            assert_near(logits(session, images(2)), wanted)
            count += 1
        return count

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(ask) for _ in range(2)]
        try:
            for _ in range(3):
                assert_near(logits(OnnxSession(resnet, device="cuda", graphs=sizes), images(2)), wanted)
        finally:
            stop.set()
        assert all(run.result() > 0 for run in runs)


@pytest.mark.parametrize("faster", [True, False])
def test_recordings_are_used_where_they_are_faster(resnet: Path, faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_GRAPHS", {})
    monkeypatch.setattr(devices, "faster", lambda *_: faster)
    for _ in range(2):  # the next version isn't measured again
        predictor = Predictor.load(resnet, device="cuda", graphs=(1, 2, 4))
        assert isinstance(predictor.session, OnnxSession) and predictor.session.recorded is faster
        verify.golden(predictor)


def test_a_graph_with_a_part_that_cuda_lacks_is_run_without_recordings(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    nodes = [helper.make_node("Mul", ["x", "x"], ["squares"]), helper.make_node("Det", ["squares"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "det", [x], [y]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "det.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="CUDA graphs"):
        OnnxSession(path, device="cuda", graphs=(1, 2))
    session = devices.load(path, device="cuda", graphs=(1, 2))
    assert isinstance(session, OnnxSession) and not session.recorded and session.device == "cuda:0"
    array = np.random.default_rng(0).random((4, 3, 3), np.float32)
    np.testing.assert_allclose(session.run({"x": array})["y"], np.linalg.det(array**2), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sizes", [(), (1, 8)])
def test_a_memory_limit_that_is_too_small_is_explained(resnet: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match="--gpu-mem-limit"):
        OnnxSession(resnet, device="cuda", memory_limit=1_000_000, graphs=sizes)


def test_a_memory_limit_that_suffices_changes_no_answer(resnet: Path, on_gpu: OnnxSession) -> None:
    limited = OnnxSession(resnet, device="cuda", memory_limit=1_000_000_000)
    assert_near(logits(limited, images(8)), logits(on_gpu, images(8)))


def test_a_gpu_that_is_not_there_is_an_error(resnet: Path) -> None:
    with pytest.raises(DeviceError, match=r"CUDA can't be used|cuda:99"):
        OnnxSession(resnet, device="cuda:99")


def test_the_same_golden_sample_holds_as_on_the_cpu(resnet: Path) -> None:
    verify.golden(Predictor.load(resnet, device="cuda", graphs=(1, 2)))
    verify.golden(Predictor.load(resnet, device="cuda:all"))


def test_half_precision(tmp_path: Path) -> None:
    import timm
    import torch

    from exportweb.exporters.single import export

    torch.manual_seed(0)
    path = export(timm.create_model("resnet18", num_classes=10), tmp_path / "half.onnx", precision="fp16")
    predictor = Predictor.load(path, device="cuda", graphs=(1, 2))
    verify.golden(predictor)
    assert predictor.device == "cuda:0"


def test_what_sessions_took_is_given_back(resnet: Path) -> None:
    import torch

    free = []
    for sizes in ((1, 8), ()) * 6:
        session = OnnxSession(resnet, device="cuda", graphs=sizes)
        session.run(images(8))
        del session
        free.append(torch.cuda.mem_get_info()[0])
    assert free[3] - free[-1] < 64 << 20


@pytest.fixture
def server(resnet: Path, tmp_path: Path) -> Iterator[tuple[Server, Store]]:
    store = Store(tmp_path / "store")
    publish(store, resnet)
    with Server(store.folder, "--device", "cuda", "--tune", "0.5", log=tmp_path / "log") as server:
        yield server, store


def publish(store: Store, path: Path) -> int:
    return store.publish(lambda file, _: file.write(path.read_bytes()))


def test_a_server_swaps_without_a_failure(server: tuple[Server, Store], resnet: Path) -> None:
    running, store = server
    running.wait_for_version(1)
    file = io.BytesIO()
    Image.fromarray(images(1)["image"][0]).save(file, "PNG")
    stop, failed, seen = threading.Event(), list[str](), set[str]()

    def ask() -> None:
        while not stop.is_set():
            answer = running.http.post("/predict", content=file.getvalue(), headers={"Content-Type": "image/png"})
            seen.add(answer.headers.get("x-model-version", ""))
            if answer.status_code != 200:
                failed.append(answer.text)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        for _ in range(4):
            number = publish(store, resnet)
            running.wait(lambda number=number: str(number) in seen, what=f"an answer of version {number}")  # type: ignore[misc]
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert failed == [] and seen == {"1", "2", "3", "4", "5"}
    model = running.http.get("/model").json()
    assert model["runtime"]["device"] == "cuda:0"
    assert artifact.read(resnet).card is not None
