"""Versions good and bad as bytes, and a served model with what a test wants of it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from exportweb import Card, Store, artifact
from exportweb.runtime import Answer, Event, ServedModel
from serving import COLOURS, SIDE, Artifacts, graph

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

    def of(self, kind: str) -> list[Event]:
        """The events of a kind so far."""
        return [event for event in self.events if event.kind == kind]

    def wait(self, kind: str) -> Event:
        """Wait for the next event of a kind."""
        with self._new:
            at = self._at.get(kind, 0)
            assert self._new.wait_for(lambda: len(self.of(kind)) > at, WAIT), f"no {kind} event; there were {self.events}"
            self._at[kind] = at + 1
            return self.of(kind)[at]


class Served:
    """A served model that can be asked and waited for."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.model = ServedModel(path, device="cpu", **{"tuning_budget": 0, **options})
        self.heard = Heard(self.model)

    def blockade(self, data: bytes) -> Blockade:
        """Keep every worker busy for the length of a block."""
        return Blockade(self.model.stats()["workers"], lambda done: self.model.submit(data, {}, done))

    def later(self, data: bytes, *, version: int | None = None, **params: object) -> Future[Answer]:
        """Ask; the answer comes."""
        future: Future[Answer] = Future()

        def done(answer: Answer | Exception) -> None:
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self.model.submit(data, params, done, version=version)
        return future

    def ask(self, data: bytes, **params: object) -> Answer:
        """Ask, and wait for the answer."""
        return self.later(data, **params).result(WAIT)


class Blockade:
    """Keeps every worker busy, in the delivery of an answer, until the block ends. `submit` takes what is to be called with it."""

    def __init__(self, workers: int, submit: Callable[[Callable[[Answer | Exception], None]], object]) -> None:
        self._workers = workers
        self._submit = submit
        self._open = threading.Event()
        self._blocked = threading.Semaphore(0)

    def __enter__(self) -> Blockade:
        for _ in range(self._workers):
            self._submit(self._block)
            assert self._blocked.acquire(timeout=WAIT)
        return self

    def _block(self, answer: Answer | Exception) -> None:
        self._blocked.release()
        self._open.wait(WAIT)

    def __exit__(self, *_: object) -> None:
        self._open.set()


def pack(model: bytes, card: Card) -> bytes:
    """Put a card to a graph."""
    out = io.BytesIO()
    artifact.write(out, [model], card)
    return out.getvalue()


def version(*, scale: float = 10.0, damage: bool = False, model: bytes | None = None, **changes: Any) -> bytes:
    """The colour classifier as bytes, with another graph, or with fields of its card changed."""
    card = Artifacts().card(scale=1.0 if np.isnan(scale) else scale, damage=damage)
    return pack(graph(scale) if model is None else model, card.replace(**changes))


def float_graph(*, layout: str = "NCHW", batch: int | str = "n", side: int | str = SIDE, dtype: int = TensorProto.FLOAT) -> bytes:
    """A classifier as other tools write it: images normalised outside, no card; logits are the mean of each channel."""
    shape = [batch, 3, side, side] if layout == "NCHW" else [batch, side, side, 3]
    axes = numpy_helper.from_array(np.array([2, 3] if layout == "NCHW" else [1, 2], np.int64), "axes")
    nodes = [
        helper.make_node("Cast", ["input"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["output"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("input", dtype, shape)]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, len(COLOURS)])]
    made = helper.make_graph(nodes, "means", inputs, outputs, [axes])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def publish(store: Store, data: bytes) -> int:
    """Put bytes into a store, as they are."""

    def write(file: Any, number: int) -> None:
        file.write(data)

    return store.publish(write)


def replace(path: Path, data: bytes) -> None:
    """Replace a file atomically."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def score(scale: float) -> float:
    """Return what the colour classifier of this scale answers for its own colour: the softmax of (scale, 0, 0)."""
    return float(np.exp(scale) / (np.exp(scale) + len(COLOURS) - 1))
