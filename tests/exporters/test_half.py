from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from exportweb.errors import ExportError, Rejected
from exportweb.exporters import half
from exportweb.exporters.golden import difference
from exportweb.exporters.weights import Snapshot
from exportweb.runtime.session import OnnxSession


@pytest.fixture(scope="module")
def whole(exporter):
    """The float32 graph of a small classifier, with its weights."""
    snapshot = Snapshot(exporter.weights)
    snapshot.take(exporter.weights)
    return b"".join(exporter.graph.template.fill(snapshot.tensors))


def test_weights_become_float16_under_their_own_names(exporter, whole):
    graph = onnx.load_from_string(half.half(whole, exporter.graph.names).whole).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    expected = {k: v.half().numpy() for k, v in exporter.model.state_dict().items() if v.is_floating_point()}
    assert len(expected) == 7
    for name, value in expected.items():
        assert held[name].dtype == np.float16 and np.array_equal(held[name], value)


def test_images_stay_bytes_answers_float32_and_the_normalisation_exact(whole):
    model = half.half_model(onnx.load_from_string(whole))
    onnx.checker.check_model(model, full_check=True)
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [TensorProto.UINT8, TensorProto.FLOAT]
    exact = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert {"exportweb_mean", "exportweb_std"} <= exact
    (conv,) = [node for node in model.graph.node if node.op_type == "Conv"]
    (cast,) = [node for node in model.graph.node if conv.input[0] in node.output]
    assert cast.op_type == "Cast" and cast.attribute[0].i == TensorProto.FLOAT16


def test_both_forms_answer_as_the_float32_graph_does(exporter, whole):
    image = {"image": exporter.graph.sample}
    expected = OnnxSession(whole, device="cpu").run(image)["logits"]
    exported = half.half(whole, exporter.graph.names)
    got = OnnxSession(exported.whole, device="cpu").run(image)["logits"]
    assert 0 < difference({"logits": got}, {"logits": expected}) < half.TOLERANCE
    weights = {k: v.half().numpy() for k, v in exporter.model.state_dict().items() if v.is_floating_point()}
    fed = OnnxSession(exported.weightless, device="cpu").run({**image, **weights})["logits"]
    assert difference({"logits": fed}, {"logits": got}) < 1e-3


def test_a_graph_of_another_tool_is_converted_as_well():
    from onnx import helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    weight = numpy_helper.from_array(np.array([[1.5, 0], [0, 1e-9]], np.float32), "weight")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")], "tiny", [x], [y], [weight])
    model = half.half_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    (held,) = model.graph.initializer
    assert np.array_equal(numpy_helper.to_array(held), np.array([[1.5, 0], [0, 0]], np.float16))
    got = OnnxSession(model.SerializeToString(), device="cpu").run({"x": np.array([[2, 2]], np.float32)})["y"]
    assert got.dtype == np.float32 and np.array_equal(got, [[3, 0]])


def test_a_weight_beyond_float16_is_refused_by_name(whole):
    model = onnx.load_from_string(whole)
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "head.bias"]
    bias.CopyFrom(numpy_helper.from_array(np.array([0, -70000, 0, 0], np.float32), "head.bias"))
    with pytest.raises(ExportError, match=r"head\.bias holds values beyond ±65504"):
        half.half_model(model)


def test_the_largest_value_of_float16_is_not_too_large():
    largest = np.array([half.LARGEST, -half.LARGEST, 65519], np.float32)
    assert half.rounded(largest, "bias").tolist() == [65504, -65504, 65504]
    with pytest.raises(Rejected, match="bias holds values beyond ±65504"):
        half.rounded(np.array([65520], np.float32), "bias")


def test_what_masks_mean_by_infinity_stays_the_lowest_there_is():
    lowest = np.finfo(np.float32).min
    assert half.rounded(np.array([0, lowest, -np.inf], np.float32), "mask").tolist() == [0, -65504, -np.inf]


def test_precisions_of_a_training_run():
    assert half.wanted("fp16") and not half.wanted("fp32")
    with pytest.raises(ExportError, match=r"exportweb export .* --precision int8 --calibrate DIR"):
        half.wanted("int8")
    with pytest.raises(ExportError, match=r"precision='bf16'.* give 'fp32' or 'fp16'"):
        half.wanted("bf16")
