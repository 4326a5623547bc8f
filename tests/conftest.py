"""What tests of several rooms share."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from PIL import Image

from serving import COLOURS, Artifacts, Server

if TYPE_CHECKING:
    from digits import Digits
    from exportweb.exporters.exporter import Exporter

# A shell's background job ignores Ctrl-C, and so would all that the tests start: some of them are stopped by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="session")
def ten_classes() -> Exporter:
    """An exporter of a small classifier of ten classes, traced once."""
    pytest.importorskip("torch")
    import torch

    from exportweb.exporters.exporter import Exporter
    from exportweb.exporters.frameworks import Hints
    from models import Tiny, example

    torch.manual_seed(0)
    return Exporter(Tiny(10), name="digits", labels=LABELS, hints=Hints(example()))


class LiveServer:
    """`exportweb serve` on a store, in a process of its own, with a trainer's hand on the store."""

    def __init__(self, folder: Path, exporter: Exporter) -> None:
        from exportweb import Store
        from exportweb.exporters.server import Server

        folder.mkdir()
        self.store = Store(folder)
        self._exporter = exporter
        self._server = Server(folder, host="127.0.0.1", port=0, device="cpu")
        self.url = self._server.url

    def close(self) -> None:
        self._server.close()

    def publish(self, accuracy: float, epoch: int, scale: float = 1.0) -> int:
        """Publish a version whose weights are `scale` times the model's."""
        return self.store.publish(lambda file, number: self._write(file, number, accuracy, epoch, scale))

    def reject(self, epoch: int) -> int:
        """Publish a version whose golden sample a server will find wrong."""
        from exportweb import artifact
        from exportweb.exporters.golden import golden, mosaic
        from exportweb.runtime.tensors import decode

        graph = self._exporter.graph

        def write(file: BinaryIO, number: int) -> None:
            snapshot = self._snapshot(1.0)
            card: Any = self._write(file, number, 0.0, epoch, 1.0)
            file.seek(0)
            file.truncate()
            wrong = golden(mosaic(card.input), {"logits": decode(card.golden.outputs["logits"]) + 1})
            artifact.write(file, graph.template.fill(snapshot.tensors), card.replace(golden=wrong))

        return self.store.publish(write)

    def refuse(self, reason: str, epoch: int) -> None:
        """Say, as a trainer does, that a version was not published."""
        self.store.refuse(reason, epoch=epoch)

    def _snapshot(self, scale: float) -> Any:
        from exportweb.exporters.weights import Snapshot

        snapshot = Snapshot(self._exporter.weights)
        snapshot.take(self._exporter.weights)
        for tensor in snapshot.tensors:
            if tensor.is_floating_point():
                tensor.mul_(scale)
        return snapshot

    def _write(self, file: BinaryIO, number: int, accuracy: float, epoch: int, scale: float) -> Any:
        graph = self._exporter.graph
        card = self._exporter.card(graph, epoch=epoch, metrics={"accuracy": accuracy})
        return graph.write(file, self._snapshot(scale), card.replace(version=number))


@pytest.fixture
def live_server(tmp_path: Path, ten_classes: Exporter) -> Iterator[LiveServer]:
    """A server on a store that is still empty."""
    server = LiveServer(tmp_path / "store", ten_classes)
    yield server
    server.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """A classifier trained on handwritten digits, with its artifact and images."""
    pytest.importorskip("torch")
    from digits import Digits

    return Digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    """A writer of small artifacts that name colours."""
    return Artifacts()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """A maker of image files of one colour."""

    def make(colour: str = "red", *, kind: str = "PNG", size: tuple[int, int] = (32, 24)) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", size, COLOURS[colour]).save(out, kind)
        return out.getvalue()

    return make


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A starter of servers, which end with the test."""
    servers: list[Server] = []

    def start(*args: Path | str, env: dict[str, str] | None = None) -> Server:
        servers.append(Server(*args, log=tmp_path / f"server-{len(servers)}.log", env=env))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def _endpoint() -> Iterator[Any]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    from buckets import Endpoint

    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(_endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real S3 endpoint with a bucket, named by the environment; see `buckets.Endpoint`."""
    for name, value in _endpoint.env.items():
        monkeypatch.setenv(name, value)
    yield _endpoint
    _endpoint.failing, _endpoint.delay = False, 0.0
