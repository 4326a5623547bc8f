"""Small real artifacts whose answers are obvious, and a real server of them."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
import timeit
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from exportweb import Card, Store, artifact
from exportweb.card import Golden, ImageInput, Output, Resize, Source, Tensor

SIDE = 8
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
_TIMED = 20  # multiplications


class Artifacts:
    """Writes artifacts that name the colour of an image: logits are `scale` times the mean of each channel.

    With `slow`, a run takes at least that many seconds, of one image or of many, however quick this machine is.
    """

    def write(self, path: Path, *, carded: bool = True, scale: float = 10.0, slow: float = 0, **card: Any) -> Path:
        """Write an artifact to a file; not `carded`, a foreign one."""
        with path.open("wb") as file:
            if carded:
                artifact.write(file, [graph(scale, slow)], self.card(scale=scale, **card))
            else:
                file.write(graph(scale, slow))
        return path

    def publish(self, store: Store, *, scale: float = 10.0, slow: float = 0, **card: Any) -> int:
        """Publish an artifact into a store; return its version."""
        data = graph(scale, slow)
        return store.publish(lambda file, number: artifact.write(file, [data], self.card(scale=scale, version=number, **card)))

    def card(
        self,
        *,
        scale: float = 10.0,
        damage: bool = False,
        version: int | None = None,
        epoch: int | None = None,
        metrics: dict[str, float] | None = None,
        resize: Resize = "shortest",
    ) -> Card:
        """Return the card; with `damage`, with a golden sample that the graph fails."""
        sample = np.arange(2 * SIDE * SIDE * 3, dtype=np.uint8).reshape(2, SIDE, SIDE, 3)
        expected = sample.astype(np.float32).mean((1, 2)) * np.float32(scale / 255) + np.float32(damage)
        golden = Golden(inputs={"image": _tensor(sample)}, outputs={"logits": _tensor(expected)}, tolerance=1e-3)
        created = "2026-01-02T03:04:05+00:00"
        return Card(
            name="colours",
            task="image-classification",
            input=ImageInput(
                height=SIDE, width=SIDE, resize=resize, resize_height=SIDE, resize_width=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3
            ),
            outputs=(Output(name="logits", role="logits"),),
            source=Source(framework="numpy", model="mean", created=created, epoch=epoch, metrics=metrics or {}),
            labels=tuple(COLOURS),
            version=version,
            golden=golden,
        )


class Server:
    """``exportweb serve`` in a process of its own, on a free port."""

    def __init__(self, *args: Path | str, log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exportweb", "serve", *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "EXPORTWEB_PORT": "0", **(env or {})},
            )
        assert self.process.stdout is not None
        self.hello = self.process.stdout.readline().rstrip()
        found = re.search(r"http://\S+$", self.hello)
        assert found, f"{self.hello!r}\n{self.log}"
        self.url = found[0]
        self.http = httpx.Client(base_url=self.url, timeout=30)

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._log.read_text()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for a socket."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def wait(self, condition: Callable[[], object], *, what: str = "it") -> None:
        """Wait until a condition holds, for half a minute."""
        end = time.monotonic() + 30
        while not condition():
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < end, f"waited too long for {what}:\n{self.log}"
            time.sleep(0.02)

    def wait_for_version(self, version: int) -> None:
        """Wait until a version serves."""
        self.wait(lambda: self.http.get("/versions").json()["serving"] == version, what=f"version {version}")

    def wait_for_end(self) -> int:
        """Wait until it has ended; return its exit code."""
        self.http.close()
        if self.process.stdin is not None and self.process.stdin.closed:
            self.process.stdin = None  # or `communicate` stumbles over it
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        return self.wait_for_end()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.stop()


def graph(scale: float = 10.0, slow: float = 0) -> bytes:
    """Return the ONNX graph of a model that names colours, without a card; `slow` is that of `Artifacts`."""
    return _graph(scale, math.ceil(slow / _seconds()) if slow else 0)


@cache
def _seconds() -> float:
    """Return how long a multiplication takes at least, with all cores."""
    session, image = ort.InferenceSession(_graph(1.0, _TIMED)), np.zeros((1, SIDE, SIDE, 3), np.uint8)
    return min(timeit.repeat(lambda: session.run(None, {"image": image}), number=1, repeat=50)) / _TIMED


def _graph(scale: float, multiplications: int) -> bytes:
    """Return the graph with that many multiplications of 256 x 256 matrices, in a loop that can't be folded away."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    constants = {"axes": np.array([1, 2], np.int64), "scale": np.full((1,), scale / 255, np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled" if multiplications else "logits"]),
    ]
    if multiplications:
        constants |= {
            "count": np.array(multiplications, np.int64),
            "true": np.array(True),
            "zeros": np.zeros((256, 256), np.float32),
            "both": np.array([0, 1], np.int64),
            "zero": np.array(0, np.float32),
        }
        nodes += [
            helper.make_node("Loop", ["count", "true", "zeros"], ["product"], body=_multiply()),
            helper.make_node("ReduceSum", ["product", "both"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["scaled", "nothing"], ["logits"]),
        ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "colours", [image], [logits], tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    data: bytes = model.SerializeToString()
    return data


def _multiply() -> Any:
    """Return the body of a loop: ``after = before @ ones``."""
    matrix = [256, 256]
    nodes = [helper.make_node("MatMul", ["before", "ones"], ["after"]), helper.make_node("Identity", ["go"], ["on"])]
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("before", TensorProto.FLOAT, matrix),
    ]
    outputs = [
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("after", TensorProto.FLOAT, matrix),
    ]
    return helper.make_graph(nodes, "multiply", inputs, outputs, [numpy_helper.from_array(np.ones(matrix, np.float32), "ones")])


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return Tensor(dtype=array.dtype.name, shape=array.shape, data=zlib.compress(array.tobytes()))
