"""`exportweb versions` and `rollback`, as tables and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from exportweb import Store
from scripts import exportweb as run
from scripts import fails


def test_versions_are_a_table(store: Store) -> None:
    header, *rows = run("versions", store.folder).stdout.splitlines()
    assert header.split() == ["version", "epoch", "metrics", "created", "size"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert [("latest" in row) for row in rows] == [False, False, True]
    assert "accuracy 0.3" in rows[2]


def test_versions_for_a_program(store: Store) -> None:
    (store.folder / "000004.onnx").write_bytes(b"torn")
    found = json.loads(run("versions", store.folder, "--json").stdout)
    assert [entry["version"] for entry in found] == [1, 2, 3, 4]
    assert [entry["latest"] for entry in found] == [False, False, True, False]
    assert [entry["epoch"] for entry in found] == [1, 2, 3, None]
    assert found[3]["error"]
    assert "unreadable" in run("versions", store.folder).stdout


def test_rollback(store: Store) -> None:
    done = run("rollback", store.folder, "--to", 1)
    assert done.returncode == 0, done.stderr
    assert "version 1 is the latest now (was 3)" in done.stdout
    latest = store.latest()
    assert latest is not None
    assert (latest.number, latest.rollback) == (1, True)
    assert "latest, by rollback" in run("versions", store.folder).stdout.splitlines()[1]


def test_rollback_to_what_is_not_there(store: Store) -> None:
    fails("rollback", store.folder, "--to", 9, says="has no version 9; it has 1, 2, 3")


def test_an_empty_store(tmp_path: Path) -> None:
    assert "no version yet" in run("versions", tmp_path).stdout
    assert json.loads(run("versions", tmp_path, "--json").stdout) == []
