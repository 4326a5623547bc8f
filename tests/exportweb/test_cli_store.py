"""The commands about a store, on a folder and on a bucket."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from exportweb import Store
from scripts import exportweb as run
from serving import Artifacts


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, artifacts: Artifacts) -> Store:
    """Three versions, the second the best."""
    at = tmp_path / "store" if request.param == "folder" else request.getfixturevalue("endpoint").url(uuid.uuid4().hex)
    store = Store(at)
    for epoch, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
        artifacts.publish(store, epoch=epoch, metrics={"accuracy": accuracy})
    store.prune(3, best="accuracy")
    return store


def test_versions_marks_the_latest_the_best_and_those_that_are_pinned(store: Store) -> None:
    store.pin(1)
    store.pin(2)
    _, first, second, third = run("versions", store.location).stdout.splitlines()
    assert first.split()[:3] == ["1", "pinned", "1"]
    assert second.split()[:4] == ["2", "best,", "pinned", "2"] and "accuracy 0.9" in second
    assert third.split()[:3] == ["3", "latest", "3"]
    found = json.loads(run("versions", store.location, "--json").stdout)
    assert [(entry["latest"], entry["best"], entry["pinned"]) for entry in found] == [
        (False, False, True),
        (False, True, True),
        (True, False, False),
    ]


def test_a_version_is_pinned_and_let_go(store: Store) -> None:
    assert run("pin", store.location, 1).stdout == (f"{store.location}: version 1 stays until: exportweb pin {store.location} 1 --undo\n")
    assert store.prune(1) == [2]
    assert run("pin", store.location, 1, "--undo").stdout == f"{store.location}: version 1 is not pinned any more.\n"
    assert store.prune(1) == [1]
    done = run("pin", store.location, 1)
    assert done.returncode == 1 and "has no version 1; it has 3" in done.stderr


def test_rollback_points_the_store_back(store: Store) -> None:
    assert "version 1 is the latest now (was 3)" in run("rollback", store.location, "--to", 1).stdout
    latest = store.latest()
    assert latest is not None and latest.number == 1 and latest.rollback


def test_inspect_and_predict_take_the_latest_version(store: Store, picture: Callable[..., bytes], tmp_path: Path) -> None:
    assert run("inspect", store.location).stdout.startswith("colours, version 3\n")
    image = tmp_path / "green.png"
    image.write_bytes(picture("green"))
    assert "green" in run("predict", store.location, image, "--top-k", 1).stdout


def test_a_store_that_is_not_there_says_what_one_is(tmp_path: Path) -> None:
    for words in (("versions",), ("pin", 1), ("rollback", "--to", 1)):
        command, *rest = words
        done = run(command, tmp_path / "nothing", *rest)
        assert done.returncode == 2 and "a store is one, or a URL such as s3://bucket/runs/flowers" in " ".join(done.stderr.split())
