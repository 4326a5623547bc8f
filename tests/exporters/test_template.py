from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from exportweb.exporters.template import Template


def model(**weights: np.ndarray) -> bytes:
    """An ONNX file whose initializers are `weights`."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [image], [helper.make_tensor_value_info("y", 1, ["n", 2])])
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return helper.make_model(graph, producer_name="behind the graph").SerializeToString()


def test_a_filled_template_is_the_file_with_other_weights():
    a, b, fixed = np.ones((2, 3), np.float32), np.arange(4, dtype=np.int64), np.full(5, 7, np.float32)
    template = Template(model(a=a, fixed=fixed, b=b), {"a": 0, "b": 1})
    new = [torch.full((2, 3), 0.5), torch.arange(4, 8)]
    got = b"".join(template.fill(new))
    assert got == model(a=new[0].numpy(), fixed=fixed, b=new[1].numpy())
    assert template.nbytes == len(got)


def test_weights_are_written_from_where_they_lie():
    template = Template(model(a=np.zeros(4, np.float32)), {"a": 0})
    tensor = torch.zeros(4)
    pieces = list(template.fill([tensor]))
    tensor.fill_(1)
    assert np.frombuffer(pieces[1], np.float32).tolist() == [1, 1, 1, 1]


def test_tied_weights_fill_every_place_that_they_have():
    template = Template(model(a=np.zeros(2, np.float32), b=np.zeros(2, np.float32)), {"a": 0, "b": 0})
    loaded = onnx.load_from_string(b"".join(template.fill([torch.tensor([1.0, 2.0])])))
    assert [numpy_helper.to_array(t).tolist() for t in loaded.graph.initializer] == [[1, 2], [1, 2]]


def test_what_the_graph_does_not_hold_is_missing_unless_another_of_its_names_is_there():
    template = Template(model(a=np.zeros(2, np.float32)), {"a": 0, "alias": 0, "gone": 1})
    assert template.missing == {"gone"}


def test_a_weight_of_another_size_is_refused():
    template = Template(model(a=np.zeros(2, np.float32)), {"a": 0})
    with pytest.raises(ValueError, match="8 bytes"):
        list(template.fill([torch.zeros(3)]))
