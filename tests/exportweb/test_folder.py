from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from exportweb import Store
from exportweb.folder import hold

HOLDER = """
import sys, time
from pathlib import Path
from exportweb.folder import hold

file = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for _ in range(4):
        store.publish(lambda file, number: file.write(b"v%d" % number))
    return store


def test_a_version_that_a_server_holds_is_not_pruned(store: Store) -> None:
    with hold(store.path(1)), hold(store.path(1)):  # two servers
        assert store.prune(1) == [2, 3]
    assert store.prune(1) == [1]


def test_a_server_that_was_killed_holds_nothing(store: Store) -> None:
    server = subprocess.Popen([sys.executable, "-c", HOLDER, store.path(1)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdout.readline() == "held\n"
    assert store.prune(3) == []
    server.kill()
    server.communicate()
    assert store.prune(3) == [1]


def test_a_version_that_went_away_by_itself_is_gone(store: Store) -> None:
    store.path(1).unlink()
    assert store.prune(2) == [2]


def test_without_locks_a_warning_says_so_and_work_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No such file system is at hand, so `flock` answers as it does there."""

    def flock(file: object, how: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with store.lock(), hold(store.path(4)):
        assert store.publish(lambda file, number: file.write(b"x")) == 5
        assert store.prune(1) == [1, 2, 3, 4]
    assert "nothing keeps a second trainer out of" in caplog.text


def test_a_url_of_a_file_is_a_folder(store: Store) -> None:
    assert Store(f"file://{store.folder}").folder == store.folder
