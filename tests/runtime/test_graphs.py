from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from exportweb.errors import ArtifactError
from exportweb.runtime.graphs import faster, recordable
from exportweb.runtime.session import OnnxSession, Port
from serving import SIDE, graph


@pytest.fixture(scope="module")
def session() -> OnnxSession:
    """A session that is run as one with CUDA graphs is, on the CPU, which records nothing."""
    return OnnxSession(graph(scale=255.0), device="cpu", graphs=(1, 4))


def images(*values: int) -> dict[str, Any]:
    return {"image": np.stack([np.full((SIDE, SIDE, 3), value, np.uint8) for value in values])}


@pytest.mark.parametrize("values", [(5,), (1, 2), (1, 2, 3), (4, 3, 2, 1), (1, 2, 3, 4, 5)])
def test_any_batch_is_answered_image_by_image(session: OnnxSession, values: tuple[int, ...]) -> None:
    session.run(images(*[200] * len(values)))  # what a smaller batch leaves behind is nobody's answer
    assert session.run(images(*values))["logits"].tolist() == [[float(value)] * 3 for value in values]


def test_an_answer_stays_what_it_was(session: OnnxSession) -> None:
    first = session.run(images(7))["logits"]
    session.run(images(9))
    assert first.tolist() == [[7.0] * 3]


def test_threads_take_turns(session: OnnxSession) -> None:
    with ThreadPoolExecutor(4) as threads:
        values = [number % 50 for number in range(400)]
        answers = threads.map(lambda value: session.run(images(value))["logits"].tolist(), values)
        assert list(answers) == [[[float(value)] * 3] for value in values]


def test_arrays_that_do_not_fit_fail_as_they_do_without_graphs(session: OnnxSession) -> None:
    with pytest.raises(ArtifactError, match="could not run the model on image float32") as caught:
        session.run({"image": np.zeros((1, 2, 3), np.float32)})
    assert type(caught.value.__cause__).__name__ == "InvalidArgument"


def test_its_thread_ends_with_the_session() -> None:
    before = set(threading.enumerate())
    one = OnnxSession(graph(), device="cpu", graphs=(1,))
    (its,) = (thread for thread in set(threading.enumerate()) - before if thread.name.startswith("exportweb-graphs"))
    one.run(images(1))
    assert its.is_alive()
    del one
    its.join(60)  # it ends by itself, when the machine gets to it
    assert not its.is_alive()


@pytest.mark.parametrize(
    ("ports", "answer"),
    [
        ([Port("image", "uint8", (None, 8, 8, 3)), Port("label", "int64", (None,))], True),
        ([Port("image", "uint8", (None, None, None, 3))], False),
        ([Port("image", "uint8", (1, 8, 8, 3))], False),
        ([Port("text", "string", (None, 1))], False),
        ([Port("x", "bfloat16", (None, 1))], False),
        ([Port("probabilities", "seq(map(int64,tensor(float)))", ())], False),
    ],
)
def test_what_can_be_recorded(ports: list[Port], answer: bool) -> None:
    assert recordable(ports) is answer


class Slow(OnnxSession):
    """A session whose runs take a twentieth of a second more than they need."""

    def run(self, inputs: Any, outputs: Any = None) -> Any:
        time.sleep(0.05)
        return super().run(inputs, outputs)


def test_graphs_are_for_sessions_that_they_make_faster(session: OnnxSession) -> None:
    slow = Slow(graph(), device="cpu")
    assert faster(session, slow, (1, 4))
    assert not faster(slow, session, (1, 4))
