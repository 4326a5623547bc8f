from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import nms

from exportweb import Store
from exportweb.card import Golden, Output, TensorInput
from exportweb.errors import ArtifactError, CardError, DeviceError, Rejected
from exportweb.runtime import Predictor, tensors
from exportweb.runtime.session import OnnxSession, Port
from exportweb.runtime.torchscript import TorchScriptSession
from exportweb.runtime.verify import golden
from scripted import publish_script, script, write_script
from serving import SIDE, Artifacts
from versions import Served

Picture = Callable[..., bytes]
Serve = Callable[..., Served]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_script(tmp_path / "colours.torchscript")


def load(path: Path, **options: object) -> Predictor:
    return Predictor.load(path, device="cpu", trust_torchscript=True, **options)


def test_it_has_the_interface_of_an_onnx_session(path: Path, tmp_path: Path, artifacts: Artifacts) -> None:
    onnx = OnnxSession(artifacts.write(tmp_path / "colours.onnx"), device="cpu", threads=1)
    session = TorchScriptSession(path, card=artifacts.card(), device="cpu", threads=1)
    assert (session.inputs, session.outputs) == (onnx.inputs, onnx.outputs)
    assert (session.device, session.threads, session.providers) == ("cpu", 1, ("TorchScript",))
    for outputs in (None, ["logits"]):
        got = session.run({"image": IMAGES}, outputs)
        assert list(got) == ["logits"]
        np.testing.assert_allclose(got["logits"], onnx.run({"image": IMAGES})["logits"], rtol=1e-6)


def test_a_prediction_is_that_of_the_onnx_file(path: Path, tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    onnx = Predictor.load(artifacts.write(tmp_path / "colours.onnx"), device="cpu").predict(picture("green"))
    got = load(path).predict(picture("green"))
    assert [entry["label"] for entry in got] == [entry["label"] for entry in onnx]
    assert [entry["score"] for entry in got] == pytest.approx([entry["score"] for entry in onnx])


def test_code_runs_only_for_those_who_trust_it(path: Path, picture: Picture) -> None:
    with pytest.raises(ArtifactError, match=r"which is code.*--trust-torchscript \(EXPORTWEB_TRUST_TORCHSCRIPT=1\)"):
        Predictor.load(path, device="cpu")
    assert load(path).predict(picture("blue"))[0]["label"] == "blue"


def test_a_golden_sample_is_checked(tmp_path: Path) -> None:
    golden(load(write_script(tmp_path / "good.torchscript")))
    with pytest.raises(Rejected, match="golden sample failed"):
        golden(load(write_script(tmp_path / "bad.torchscript", damage=True)))


def test_an_altered_file_is_not_loaded(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"digest|torn"):
        load(path)


def test_several_outputs_go_by_the_cards_names(tmp_path: Path) -> None:
    class Pair(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor]]:
            return a + b, ((a * b).to(torch.bfloat16),)

    ones = np.ones((1, 2), np.float32)
    card = (
        Artifacts()
        .card()
        .replace(
            task="tensor",
            input=None,
            labels=(),
            inputs=tuple(TensorInput(name=name, dtype="float32", shape=(None, 2)) for name in "ab"),
            outputs=(Output(name="sum", role="tensor"), Output(name="product", role="tensor")),
            golden=Golden(
                inputs={"a": tensors.encode(ones), "b": tensors.encode(ones)},
                outputs={"sum": tensors.encode(2 * ones), "product": tensors.encode(ones)},
                tolerance=1e-3,
            ),
        )
    )
    file = tmp_path / "pair.pt"
    torch.jit.save(torch.jit.trace(Pair(), (torch.ones(1, 2), torch.ones(1, 2)), check_trace=False), file)
    session = TorchScriptSession(file, card=card, device="cpu")
    assert session.outputs == (Port("sum", "float32", (None, None)), Port("product", "float32", (None, None)))
    got = session.run({"b": 3 * ones, "a": 2 * ones}, ["product"])
    assert list(got) == ["product"]
    np.testing.assert_array_equal(got["product"], 6 * ones)
    with pytest.raises(ArtifactError, match="could not run the model on a float32"):
        session.run({"a": ones, "b": np.ones((1, 3), np.float32)})
    fewer = TorchScriptSession(file, card=card.replace(outputs=card.outputs[:1]), device="cpu")
    with pytest.raises(ArtifactError, match="answered 2 arrays; its card says 1: sum"):
        fewer.run({"a": ones, "b": ones})


def test_one_golden_image_means_one_image_a_run(tmp_path: Path) -> None:
    card = Artifacts().card()
    assert card.golden is not None
    alone = Golden(
        inputs={"image": tensors.encode(tensors.decode(card.golden.inputs["image"])[:1])},
        outputs={"logits": tensors.encode(tensors.decode(card.golden.outputs["logits"])[:1])},
        tolerance=1e-3,
    )
    file = tmp_path / "colours.pt"
    file.write_bytes(script())
    session = TorchScriptSession(file, card=card.replace(golden=alone), device="cpu")
    assert Predictor(card.replace(golden=alone), session).max_batch == 1


@pytest.mark.parametrize(("golden", "says"), [(None, "has no golden sample"), ("nothing", "lacks 'image', 'logits'")])
def test_without_a_golden_sample_nothing_says_what_it_answers(path: Path, golden: str | None, says: str) -> None:
    sample = None if golden is None else Golden(inputs={}, outputs={}, tolerance=1.0)
    with pytest.raises(CardError, match=says):
        load(path, card=Artifacts().card().replace(golden=sample))


def test_torchvisions_operators_are_there_for_a_file_that_uses_them(tmp_path: Path) -> None:
    """In a process that has not imported torchvision; where there is none, the error names what to install."""

    class Nms(nn.Module):
        def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return nms(boxes, scores, 0.5)

    file = tmp_path / "nms.pt"
    torch.jit.save(torch.jit.trace(Nms(), (torch.rand(4, 4), torch.rand(4)), check_trace=False), file)
    code = f"""if True:
        import sys
        import numpy as np
        from exportweb.card import *
        from exportweb.errors import DeviceError
        from exportweb.runtime import tensors
        from exportweb.runtime.torchscript import TorchScriptSession
        boxes, scores = np.float32([[0, 0, 9, 9], [0, 0, 9, 8]]), np.float32([0.5, 0.6])
        golden = Golden(inputs={{"boxes": tensors.encode(boxes), "scores": tensors.encode(scores)}},
                        outputs={{"kept": tensors.encode(np.int64([1]))}}, tolerance=0.0)
        card = Card(name="nms", task="tensor", outputs=(Output(name="kept", role="tensor"),), golden=golden,
                    inputs=(TensorInput(name="boxes", dtype="float32", shape=(None, 4)),
                            TensorInput(name="scores", dtype="float32", shape=(None,))),
                    source=Source(framework="torch", model="nms", created=""))
        sys.modules["torchvision"] = None
        try:
            TorchScriptSession({str(file)!r}, card=card, device="cpu")
        except DeviceError as error:
            print(error)
        del sys.modules["torchvision"]
        session = TorchScriptSession({str(file)!r}, card=card, device="cpu")
        print(session.run({{"boxes": boxes, "scores": scores}}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert 'operators of torchvision, which is missing: pip install "exportweb[torchscript]"' in done.stdout, done.stderr
    assert "array([1])" in done.stdout, done.stderr


def test_without_pytorch_the_error_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match=r'needs PyTorch.*pip install "exportweb\[torchscript\]"'):
        load(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA works here")
def test_cuda_is_had_or_refused(path: Path) -> None:
    with pytest.raises(DeviceError, match="can't use CUDA"):
        Predictor.load(path, device="cuda", trust_torchscript=True)
    assert Predictor.load(path, device="auto", trust_torchscript=True).device == "cpu"


def test_a_file_that_pytorch_refuses(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"torch.mean", b"torch.mien"))
    with pytest.raises(ArtifactError, match=r"can't be loaded: .*(operator|refuses)"):
        TorchScriptSession(broken, card=Artifacts().card(), device="cpu")


def test_threads_share_a_session(path: Path) -> None:
    session = TorchScriptSession(path, card=Artifacts().card(), device="cpu", threads=1)
    expected = session.run({"image": IMAGES})["logits"]
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: session.run({"image": IMAGES}), range(80)):
            np.testing.assert_array_equal(answer["logits"], expected)


# -- served ------------------------------------------------------------------------------------------------------------


def test_versions_of_both_formats_follow_each_other(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder, trust_torchscript=True)
    assert served.heard.wait("loaded").info.version == 1
    publish_script(store, 20.0)
    assert served.heard.wait("loaded").info.version == 2
    answer = served.ask(picture("red"))
    assert (answer.version, answer.result[0]["label"]) == (2, "red")
    artifacts.publish(store)
    assert served.heard.wait("loaded").info.version == 3
    assert served.ask(picture("red")).version == 3


def test_a_server_that_trusts_nobody_rejects_it_and_goes_on(
    store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture
) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    publish_script(store)
    rejected = served.heard.wait("rejected").info
    assert rejected.version == 2
    assert "--trust-torchscript" in str(rejected.reason)
    assert served.ask(picture("red")).version == 1
