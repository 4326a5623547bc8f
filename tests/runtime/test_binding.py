from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from exportweb.runtime.binding import Bindings, Place
from serving import SIDE, graph


@pytest.fixture
def session() -> Any:
    return onnxruntime.InferenceSession(graph(scale=255.0), providers=["CPUExecutionProvider"])


def images(count: int, value: int) -> np.ndarray[Any, Any]:
    return np.full((count, SIDE, SIDE, 3), value, np.uint8)


def test_answers_what_an_unbound_run_answers_for_each_batch_size(session: Any) -> None:
    bound = Bindings(session, Place("cpu", 0))
    for count in (1, 3, 2, 3, 40):
        inputs = {"image": images(count, 5 * count)}
        np.testing.assert_array_equal(bound(["logits"], inputs)[0], session.run(["logits"], inputs)[0])


def test_an_answer_stays_what_it_was_when_its_binding_runs_again(session: Any) -> None:
    bound = Bindings(session, Place("cpu", 0))
    (first,) = bound(["logits"], {"image": images(2, 7)})
    bound(["logits"], {"image": images(2, 9)})
    assert first.tolist() == [[7.0] * 3] * 2


def test_runs_at_the_same_time_have_bindings_of_their_own(session: Any) -> None:
    bound = Bindings(session, Place("cpu", 0))
    with ThreadPoolExecutor(4) as threads:
        values = [number % 4 for number in range(800)]
        answers = threads.map(lambda value: bound(["logits"], {"image": images(1 + value % 2, value)})[0].tolist(), values)
        assert list(answers) == [[[float(value)] * 3] * (1 + value % 2) for value in values]


def test_a_value_that_a_run_keeps_on_the_device_is_used_again(session: Any) -> None:
    place = Counting("cpu", 0)
    bound = Bindings(session, place)
    for count in (1, 2, 1, 2):
        bound(["logits"], {"image": images(count, 1)})
    assert place.made == [1, 2]


class Counting(Place):
    """A place that notes the batch sizes of the values it makes."""

    made: list[int] = []  # noqa: RUF012

    def empty(self, shape: Any, dtype: Any) -> Any:
        self.made.append(shape[0])
        return super().empty(shape, dtype)


def test_outputs_whose_shape_depends_on_the_data() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    found = helper.make_tensor_value_info("found", TensorProto.INT64, [1, "m"])
    model = helper.make_model(
        helper.make_graph([helper.make_node("NonZero", ["x"], ["found"])], "sparse", [x], [found]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    bound = Bindings(onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]), Place("cpu", 0))
    for values, places in (([0, 1, 1, 0], [1, 2]), ([1, 1, 1, 0], [0, 1, 2]), ([0, 0, 0, 0], [])):
        assert bound(["found"], {"x": np.array(values, np.float32)})[0].tolist() == [places]


def test_arrays_that_do_not_fit_fail_as_they_do_unbound(session: Any) -> None:
    bound = Bindings(session, Place("cpu", 0))
    with pytest.raises(Exception, match="INVALID_ARGUMENT") as caught:
        bound(["logits"], {"image": np.zeros((1, 2, 3), np.float32)})
    assert type(caught.value).__name__ == "InvalidArgument"
    assert bound(["logits"], {"image": images(1, 255)})[0].shape == (1, 3)
