from __future__ import annotations

import sys

import torch
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from exportweb.exporters import operators


def test_translations_are_read_once_and_each_export_has_its_own():
    plain = ONNXRegistry.from_torchlib(opset_version=20)
    with operators.read_once():
        first = ONNXRegistry().from_torchlib(opset_version=20)
        first.register_op(torch.ops.aten.relu.default, lambda x: x)
    with operators.read_once():
        second = ONNXRegistry().from_torchlib(opset_version=20)
        other = ONNXRegistry().from_torchlib(opset_version=18)
    assert first.functions.keys() == second.functions.keys() == plain.functions.keys()
    assert len(first.get_decomps(torch.ops.aten.relu.default)) == len(second.get_decomps(torch.ops.aten.relu.default)) + 1
    assert all(first.functions[target][-1] is second.functions[target][-1] for target in plain.functions)
    assert (second.opset_version, other.opset_version) == (20, 18)


def test_others_have_pytorchs_own():
    before = ONNXRegistry.from_torchlib
    with operators.read_once():
        assert ONNXRegistry.from_torchlib != before
    assert ONNXRegistry.from_torchlib == before
    program = torch.onnx.export(nn.ReLU().eval(), (torch.zeros(1),), dynamo=True, verbose=False)
    assert [node.op_type for node in program.model.graph] == ["Relu"]


def test_a_pytorch_that_is_built_otherwise_exports_as_it_does(monkeypatch):
    class Other:
        pass

    with operators.read_once():
        assert operators._copied(lambda **options: Other(), opset_version=20).__class__ is Other
    monkeypatch.setitem(sys.modules, "torch.onnx._internal.exporter._registration", None)
    with operators.read_once():
        pass
