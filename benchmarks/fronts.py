"""What the server's process can do for its fronts: requests a second, where a process asks in their place, with images that are ready, and
the model costs next to nothing. Once as it is, and once with each answer made from its own row of a batch.

    python benchmarks/fronts.py
"""

from __future__ import annotations

import asyncio
import os
import select
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvloop
from onnx import TensorProto, helper, numpy_helper

from exportweb import Card, artifact
from exportweb.card import ImageInput, Output, Source
from exportweb.runtime import ServedModel
from exportweb.runtime.tasks.image_classification import ImageClassification
from exportweb.web.fronts import channel, fronts, spawn
from exportweb.web.fronts.slots import Slots
from exportweb.web.metrics import Metrics
from exportweb.web.refusal import Plain
from exportweb.web.server import SWITCH_INTERVAL
from measure import table

SIDE, CLASSES = 224, 1000
FRONTS, WINDOW = 8, 16  # and questions of each that are under way
ROUNDS, SECONDS = 3, 3.0


def model(path: Path) -> Path:
    """Write a classifier that looks at every 32nd pixel of every 32nd row."""
    seen = (SIDE // 32) ** 2 * 3
    weights = 1e-4 * np.random.default_rng(0).normal(size=(seen, CLASSES)).astype(np.float32)
    constants = {"w": weights, "start": np.zeros(2, np.int64), "end": np.full(2, SIDE), "axes": np.array([1, 2]), "step": np.full(2, 32)}
    nodes = [
        helper.make_node("Slice", ["image", "start", "end", "axes", "step"], ["few"]),
        helper.make_node("Cast", ["few"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])
    graph = helper.make_graph(nodes, "few", [image], [logits], [numpy_helper.from_array(array, name) for name, array in constants.items()])
    card = Card(
        name="few",
        task="image-classification",
        input=ImageInput(height=SIDE, width=SIDE, resize_height=SIDE, resize_width=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3),
        outputs=(Output(name="logits", role="logits"),),
        source=Source(framework="numpy", model="few", created="2026-01-02T03:04:05+00:00"),
    )
    with path.open("wb") as file:
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        artifact.write(file, [made.SerializeToString()], card)
    return path


def ask(told: str) -> None:
    """Be all fronts that are described by JSON: ask, and ask again for each answer."""
    import mmap
    import socket

    begin = msgspec.json.decode(told, type=spawn.Begin)
    decode, encode = msgspec.msgpack.Decoder(channel.ToFront).decode, msgspec.msgpack.encode
    poll, sockets, buffers, placed = select.epoll(), {}, {}, {}
    images = np.random.default_rng(0).integers(0, 256, (WINDOW, SIDE, SIDE, 3), np.uint8)
    for _, messages, _, memory in begin.fronts:
        sockets[messages], buffers[messages] = socket.socket(fileno=messages), b""
        slots = Slots(mmap.mmap(memory, 0))
        placed[messages] = [slots.place({"image": image}) for image in images]
        poll.register(messages, select.EPOLLIN)

    def send(number: int, message: Any) -> None:
        data = encode(message)
        sockets[number].sendall(len(data).to_bytes(4, "little") + data)

    count = 0
    for number in sockets:
        send(number, channel.Ready(os.getpid()))
    while True:
        for number, _ in poll.poll():
            data = sockets[number].recv(1 << 20)
            if not data:
                return
            data, more = buffers[number] + data, 0
            while len(data) >= 4 and len(data) >= 4 + (length := int.from_bytes(data[:4], "little")):
                message, data = decode(data[4 : 4 + length]), data[4 + length :]
                more += len(message.answers) if isinstance(message, channel.Answers) else WINDOW * isinstance(message, channel.Described)
            buffers[number] = data
            for _ in range(more):
                count += 1
                where = placed[number][count % WINDOW]
                assert where is not None
                send(number, channel.Asked(count, 0, {}, 1, where, {"decode": 1e-3, "resize": 1e-3}, (SIDE, SIDE), 1e-3))


def spawned(numbers: Any, begin: Any) -> Any:
    """Start the process that asks, in place of fronts."""
    those = [spawn.Spawned(number) for number in numbers]
    told = begin([front.files for front in those])
    files = [told.board, *(file for front in those for file in front.files[1:])]
    process = subprocess.Popen([sys.executable, __file__, msgspec.json.encode(told).decode()], pass_fds=files)
    for front in those:
        front.started()
    return those, process


async def rate(path: Path) -> float:
    """Return the requests that are answered in a second."""
    served = ServedModel(path, device="cpu", tuning_budget=0, max_batch=32)
    served.start(wait=True)
    metrics = Metrics({"few": served})
    limits = {"max_upload": 1, "max_held": 1, "timeout": 60.0, "keep_alive": 60.0}
    those = fronts.Fronts({"few": served}, {b"/predict": "few"}, metrics, count=FRONTS, adopt=print, **limits)  # type: ignore[arg-type]
    for _ in range(fronts.PATIENCE):
        those.take(0, Plain(b"/predict", b"", 0, 0), b"", in_flight=99)
    await asyncio.sleep(2)
    before = sum(metrics.requests.values())
    await asyncio.sleep(SECONDS)
    answered = sum(metrics.requests.values()) - before
    for process in those._processes:
        process.kill()
    await those.close(0)
    served.close(0)
    return answered / SECONDS


def main() -> None:
    if len(sys.argv) > 1:
        ask(sys.argv[1])
        return
    sys.setswitchinterval(SWITCH_INTERVAL)
    fronts.spawn = spawned  # type: ignore[assignment]
    together = ImageClassification.together
    with tempfile.TemporaryDirectory() as folder:
        path = model(Path(folder) / "few.onnx")
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(ROUNDS):
            for whole in rates:
                ImageClassification.together = together if whole else lambda self, outputs: outputs  # type: ignore[method-assign, assignment]
                rates[whole].append(uvloop.run(rate(path)))
    whole, rows = (statistics.median(values) for values in rates.values())
    header = ["requests/s, a batch's answers from all of its rows", "from each row by itself", "ratio"]
    table("What the server's process can do for fronts", header, [[f"{whole:.0f}", f"{rows:.0f}", f"**{whole / rows:.1f}x**"]])


if __name__ == "__main__":
    main()
