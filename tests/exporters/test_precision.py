from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from exportweb import artifact, export_hook
from exportweb.errors import ExportError, Rejected
from exportweb.exporters import half, quantize
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.precision import convert
from exportweb.exporters.single import export
from exportweb.runtime import Predictor, verify
from exportweb.runtime.session import OnnxSession
from models import LABELS, Tiny, batches, example, train_round

# -- a finished artifact in another precision --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def int8(digits, tmp_path_factory):
    """The digits' artifact, quantised."""
    return convert(digits.artifact, tmp_path_factory.mktemp("int8") / "int8.onnx", precision="int8", calibrate=digits.calibration)


def accuracy(path, digits) -> float:
    predictor = Predictor.load(path, device="cpu")
    pictures = digits.held_out()
    return sum(predictor.predict(data, top_k="1")[0]["label"] == name for data, name in pictures) / len(pictures)


def test_int8_keeps_the_accuracy_in_a_quarter_of_the_size(digits, int8):
    before = accuracy(digits.artifact, digits)
    assert before > 0.9 and accuracy(int8, digits) > before - 0.02
    assert int8.stat().st_size < 0.5 * digits.artifact.stat().st_size


def test_the_card_says_what_changed(digits, int8):
    card, old = artifact.read(int8).card, artifact.read(digits.artifact).card
    assert card.replace(precision=None, golden=None, digest=None) == old.replace(golden=None, digest=None)
    found = card.precision
    assert (found.name, found.images) == ("int8", 150) and found.agreement >= 0.98 and 0 < found.difference < 0.02
    assert abs(found.accuracy_before - found.accuracy_after) <= 1 - found.agreement + 1e-9
    artifact.verify(artifact.read(int8))


def test_fp16_keeps_the_answer_of_pytorch_as_its_golden_sample(digits, tmp_path):
    path = convert(digits.artifact, tmp_path / "new" / "fp16.onnx", precision="fp16", calibrate=digits.calibration, images=50)
    card, old = artifact.read(path).card, artifact.read(digits.artifact).card
    assert card.golden.outputs == old.golden.outputs and card.golden.tolerance == half.TOLERANCE
    assert (card.precision.images, card.precision.agreement) == (50, 1.0)
    assert accuracy(path, digits) > accuracy(digits.artifact, digits) - 0.01
    assert path.stat().st_size < 0.65 * digits.artifact.stat().st_size


def test_the_golden_sample_of_int8_still_finds_damage(int8):
    card = artifact.read(int8).card
    assert card.golden.tolerance == quantize.TOLERANCE
    verify.golden(Predictor.load(int8, device="cpu"))
    model = onnx.load(int8)
    (weight,) = [t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and list(t.dims) == [10, 256]]
    weight.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(weight), 1, axis=0), weight.name))
    with pytest.raises(Rejected, match="golden sample failed"):
        verify.golden(Predictor(card, OnnxSession(model.SerializeToString(), device="cpu")))


def test_too_large_a_change_is_refused_with_the_figures(tmp_path, digits):
    torch.manual_seed(0)
    model = Tiny(10)
    with torch.no_grad():  # one feature, which no class looks at, is so large that in 8 bits nothing is left of the others
        model.norm.weight[0] = 1e4
        model.head.weight[:, 0] = 0
        model.head.weight.neg_()
        model.head.bias.zero_()
    path = export(model, tmp_path / "untrained.onnx", example=example())
    with pytest.raises(
        ExportError, match=r"int8 changes the top class of \d+ of 150 images, .*; allowed is 0\.02.*Scores move by .*--toler"
    ):
        convert(path, tmp_path / "int8.onnx", precision="int8", calibrate=digits.calibration)
    assert [p.name for p in tmp_path.iterdir()] == ["untrained.onnx"]
    convert(path, tmp_path / "int8.onnx", precision="int8", calibrate=digits.calibration, tolerance=1)
    found = artifact.read(tmp_path / "int8.onnx").card.precision
    assert found.agreement < 0.98 and found.accuracy_before is None


def test_what_cannot_be_converted_says_what_could(digits, int8, artifacts, tmp_path):
    out = tmp_path / "out.onnx"
    with pytest.raises(ExportError, match="int8 needs images to calibrate with: --calibrate DIR"):
        convert(digits.artifact, out, precision="int8")
    with pytest.raises(ExportError, match=r"precision='int4' is none .* give 'fp16' or 'int8'"):
        convert(digits.artifact, out, precision="int4")
    with pytest.raises(ExportError, match="is int8 already; convert the fp32 artifact"):
        convert(int8, out, precision="fp16")
    with pytest.raises(ExportError, match="has no card"):
        convert(artifacts.write(tmp_path / "foreign.onnx", carded=False), out, precision="fp16")
    assert not out.exists()


def test_a_model_is_exported_in_one_step(tmp_path, digits):
    path = export(digits.model, tmp_path / "int8.onnx", example=torch.zeros(1, 1, 16, 16), precision="int8", calibrate=digits.calibration)
    assert artifact.read(path).card.precision.name == "int8"
    with pytest.raises(ExportError, match="--calibrate"):
        export(digits.model, tmp_path / "none.onnx", example=torch.zeros(1, 1, 16, 16), precision="int8")


# -- while it trains ---------------------------------------------------------------------------------------------------


def test_a_training_run_publishes_float16(model, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with export_hook(model, to=tmp_path / "runs", labels=LABELS, example=example(), precision="fp16") as hook:
        for _ in range(2):
            train_round(model, optimizer, batches())
            hook.step()
            hook.flush()
            version = hook.store.latest()
            path = hook.store.path(version.number)
            held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
            for name, value in model.state_dict().items():
                assert not value.is_floating_point() or np.array_equal(held[name], value.half().numpy()), name
            predictor = Predictor.load(path, device="cpu")
            verify.golden(predictor)
            assert predictor.card.precision.name == "fp16" and predictor.card.golden.tolerance == half.TOLERANCE
    assert version.number == 2 and model.head.weight.dtype == torch.float32


def test_weights_that_overflow_are_refused_by_name_and_the_next_version_is_published(model, tmp_path):
    with export_hook(model, to=tmp_path / "runs", example=example(), precision="fp16") as hook:
        with torch.no_grad():
            model.head.bias[1] = 1e5
        hook.step()
        hook.flush()
        assert hook.store.latest() is None
        (refusal,) = hook.store.refusals()
        assert "head.bias holds values beyond ±65504" in refusal.reason
        with torch.no_grad():
            model.head.bias[1] = 6e4
        hook.step()
        hook.flush()
        assert hook.store.latest().number == 1


def test_a_model_that_float16_cannot_hold_is_refused_at_once(model, tmp_path):
    with torch.no_grad():
        model.head.bias[1] = 1e5
    with pytest.raises(ExportError, match=r"head\.bias holds values beyond ±65504"):
        export_hook(model, to=tmp_path / "runs", example=example(), precision="fp16")


def test_a_model_that_answers_otherwise_in_float16_is_refused_at_once(model):
    with torch.no_grad():  # the difference of two large numbers, which float16 rounds
        model.conv.weight.mul_(1e-2)
        model.norm.eps = 0.0
        model.norm.running_mean.fill_(1e4)
        model.norm.bias.fill_(1e4 + 0.3)
        model.norm.running_var.fill_(1.0)
    with pytest.raises(ExportError, match=r"In float16 the model's answer is .* Publish it in float32"):
        Exporter(model, hints=Hints(example()), precision="fp16")


def test_a_training_run_cannot_publish_int8(model, tmp_path):
    with pytest.raises(ExportError, match="needs images to calibrate with, so a training run"):
        export_hook(model, to=tmp_path / "runs", example=example(), precision="int8")
