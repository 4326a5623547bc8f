"""A trainer that is killed at any moment leaves a whole store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import publishing
from exportweb import Store, artifact
from serving import Artifacts

KILLS = 200
SPREAD = 0.06  # seconds; many times what publishing one version takes


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, publishing.__file__, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def trainer(tmp_path: Path, store: Store, artifacts: Artifacts) -> Iterator[subprocess.Popen[str]]:
    """A warm process that forks publishers of versions of 300 kB."""
    weight = numpy_helper.from_array(np.random.default_rng(0).random(75_000, np.float32), "weight")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [75_000])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [75_000])
    node = helper.make_node("Add", ["image", "weight"], ["out"])
    graph, card = tmp_path / "graph", tmp_path / "card"
    graph.write_bytes(helper.make_model(helper.make_graph([node], "add", [image], [out], [weight])).SerializeToString())
    card.write_bytes(artifacts.card().encode())
    process = start("fork", store.folder, graph, card)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def reader(store: Store) -> Iterator[subprocess.Popen[str]]:
    process = start("read", store.folder)
    yield process
    process.kill()
    process.communicate()


def test_whenever_a_trainer_is_killed_all_that_latest_ever_named_is_whole(
    store: Store, trainer: subprocess.Popen[str], reader: subprocess.Popen[str]
) -> None:
    assert trainer.stdin is not None and trainer.stdout is not None
    moments = random.Random(0)
    before, torn = 0, 0
    for _ in range(KILLS):
        trainer.stdin.write("\n")
        trainer.stdin.flush()
        pid, first = map(int, trainer.stdout.readline().split())
        assert first > before, "a number was used again"
        time.sleep(moments.uniform(0, SPREAD))
        os.kill(pid, signal.SIGKILL)
        assert trainer.stdout.readline() == "ended\n"

        latest = store.latest()
        assert latest is not None and latest.number >= first
        found = artifact.read(store.path(latest.number))
        artifact.verify(found)
        assert found.card is not None and found.card.version == latest.number
        before = max(store.versions())
        left = parts(store)
        assert len(left) <= 1
        torn += len(left)
    with store.lock():
        assert parts(store) == []
    assert torn > 0, "no kill hit a version that was being written: this test proves nothing"
    verified, _ = reader.communicate("", timeout=60)
    assert reader.returncode == 0
    assert int(verified) > KILLS / 4  # it reads while others write, on the same cores


def parts(store: Store) -> list[str]:
    return [name for name in os.listdir(store.folder) if name.endswith(".part")]
