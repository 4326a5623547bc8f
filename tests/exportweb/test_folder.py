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


@pytest.mark.parametrize("exiting", [False, True])
def test_the_space_of_a_pruned_version_is_free_soon(store: Store, exiting: bool) -> None:
    """Also where no thread can be started any more to free it."""
    script = f"""
import atexit, os, threading
from exportweb import Store

def prune():
    assert Store({store.location!r}).prune(1) == [1, 2, 3]
    for thread in threading.enumerate():
        if thread.name == "exportweb-close":
            thread.join()
    print(*(os.readlink(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{{fd}}")))

{"atexit.register(prune)" if exiting else "prune()"}
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "000001.onnx" not in shown.stdout and shown.stdout and not shown.stderr


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
