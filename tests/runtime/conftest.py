"""Real artifacts, good and bad, and what listens to a served model."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from serving import COLOURS, SIDE, Artifacts, graph

from exportweb import Card, Store, artifact
from exportweb.runtime import Answer, Event, ServedModel

WAIT = 30  # seconds after which a test that waits for something fails


class Heard:
    """The events of a served model, kept; `wait` returns the first of a kind that was not waited for yet."""

    def __init__(self, model: ServedModel) -> None:
        self.events: list[Event] = []
        self._new = threading.Condition()
        self._at: dict[str, int] = {}
        model.subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        with self._new:
            self.events.append(event)
            self._new.notify_all()

    def count(self, kind: str) -> int:
        return sum(event.kind == kind for event in self.events)

    def wait(self, kind: str) -> Event:
        with self._new:
            at = self._at.get(kind, 0)
            assert self._new.wait_for(lambda: self.count(kind) > at, WAIT), f"no {kind} event; there were {self.events}"
            self._at[kind] = at + 1
            return [event for event in self.events if event.kind == kind][at]


class Served:
    """A served model with what a test wants of it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.model = ServedModel(path, device="cpu", **options)
        self.heard = Heard(self.model)

    def ask(self, data: bytes, **params: object) -> Answer:
        return self.later(data, **params).result(WAIT)

    def later(self, data: bytes, **params: object) -> Future[Answer]:
        future: Future[Answer] = Future()
        self.model.submit(data, params, deliver(future))
        return future


def deliver(future: Future[Answer]) -> Callable[[Answer | Exception], None]:
    """Return a `done` that fulfils a future."""

    def done(answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    return done


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """A starter of served models, which are closed after the test."""
    models: list[Served] = []

    def start(path: Path, *, wait: bool = True, **options: Any) -> Served:
        models.append(Served(path, **options))
        models[-1].model.start(wait=wait)
        return models[-1]

    yield start
    for one in models:
        one.model.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def encoded(artifacts: Artifacts) -> Callable[..., bytes]:
    """A maker of artifacts as bytes: the colour classifier with another graph, or with fields of its card changed."""

    def make(model: bytes | None = None, *, scale: float = 10.0, damage: bool = False, **changes: Any) -> bytes:
        card = artifacts.card(scale=scale, damage=damage)
        return pack(model or graph(scale), msgspec.structs.replace(card, **changes))

    return make


def pack(model: bytes, card: Card) -> bytes:
    """Put a card to a graph."""
    out = io.BytesIO()
    artifact.write(out, [model], card)
    return out.getvalue()


def broken_graph() -> bytes:
    """The colour classifier with weights that are not numbers."""
    return graph(float("nan"))


def float_graph(*, layout: str = "NCHW", batch: int | str = "n", classes: int = len(COLOURS)) -> bytes:
    """A classifier as other tools write it: float32 images, normalised outside, no card; logits are the mean of each channel."""
    shape = [batch, 3, SIDE, SIDE] if layout == "NCHW" else [batch, SIDE, SIDE, 3]
    axes = numpy_helper.from_array(np.array([2, 3] if layout == "NCHW" else [1, 2], np.int64), "axes")
    nodes = [helper.make_node("ReduceMean", ["input", "axes"], ["output"], keepdims=0)]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, classes])]
    made = helper.make_graph(nodes, "means", inputs, outputs, [axes])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def score(scale: float) -> float:
    """Return what the colour classifier of this scale answers for its own colour: the softmax of (scale, 0, 0)."""
    return float(np.exp(scale) / (np.exp(scale) + len(COLOURS) - 1))


def publish(store: Store, data: bytes) -> int:
    """Put bytes into a store, as they are."""
    return store.publish(lambda file, number: file.write(data) and None)
