from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from exportweb.errors import ExportError
from exportweb.exporters.quantize import quantize


@pytest.fixture
def images():
    """Random images of the size that the digits' model takes."""
    return list(np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8))


def test_convolutions_and_products_become_int8_in_seven_bits(digits, images, capfd, caplog):
    told = []
    model = onnx.load_from_string(quantize(onnx.load(digits.artifact), images, input="image", progress=lambda *words: told.append(words)))
    onnx.checker.check_model(model)
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1]
    assert sorted(w.shape for w in weights) == [(10, 256), (16, 1, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3)]
    assert all(64 >= np.abs(w).max() > 32 for w in weights)
    assert all(len(node.input) > 1 for node in model.graph.node if node.op_type == "QuantizeLinear")
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert told == [("calibrating", i, 5) for i in range(1, 6)]
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert logging.root.manager.disable == logging.NOTSET


def test_what_cannot_be_quantised_says_why(digits, images):
    with pytest.raises(ExportError, match=r"can't quantise this model \(.*picture"):
        quantize(onnx.load(digits.artifact), images, input="picture")
