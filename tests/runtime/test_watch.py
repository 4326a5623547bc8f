from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exportweb.runtime import watch
from versions import WAIT


class Looks:
    """The calls to look, as a watcher makes them in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.stop = threading.Event()
        self._looks: queue.Queue[None] = queue.Queue()
        self.thread = threading.Thread(target=self._run, args=(folder,))
        self.thread.start()

    def _run(self, folder: Path) -> None:
        for _ in watch.changes(folder, lambda name: name == "LATEST", self.stop):
            self._looks.put(None)

    def wait(self) -> None:
        self._looks.get(timeout=WAIT)

    def wait_until(self, act: Callable[[], object]) -> None:
        """Do something until it is noticed: the watcher may only just be starting to listen."""
        while not self._looks.empty():
            self._looks.get()
        for _ in range(WAIT * 10):
            act()
            try:
                self._looks.get(timeout=0.1)
                return
            except queue.Empty:
                pass
        pytest.fail("a change was not noticed")

    def quiet(self, seconds: float) -> bool:
        while not self._looks.empty():
            self._looks.get()
        try:
            self._looks.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Looks]]:
    all_of_them: list[Looks] = []

    def start(folder: Path, poll: float = 3600) -> Looks:
        monkeypatch.setattr(watch, "POLL", poll)
        all_of_them.append(Looks(folder))
        return all_of_them[-1]

    yield start
    for one in all_of_them:
        one.stop.set()
        one.thread.join(WAIT)
        assert not one.thread.is_alive()


def test_looks_at_once_and_after_a_change(tmp_path: Path, looks: Callable[..., Looks]) -> None:
    one = looks(tmp_path)
    one.wait()
    one.wait_until((tmp_path / "LATEST").touch)
    one.wait_until(lambda: (tmp_path / "LATEST").write_text("again"))
    one.wait_until(lambda: ((tmp_path / "new").touch(), (tmp_path / "new").replace(tmp_path / "LATEST")))


def test_files_that_do_not_matter_are_no_change(tmp_path: Path, looks: Callable[..., Looks]) -> None:
    one = looks(tmp_path)
    one.wait_until((tmp_path / "LATEST").touch)
    one.quiet(0.3)  # let the touches be told of
    (tmp_path / ".000001.onnx.part").write_bytes(b"x")
    assert one.quiet(0.3)


def test_looks_now_and_then_if_nothing_is_notified(tmp_path: Path, looks: Callable[..., Looks]) -> None:
    one = looks(tmp_path, poll=0.05)
    for _ in range(5):
        one.wait()


def test_a_folder_that_is_made_later_and_made_again(tmp_path: Path, looks: Callable[..., Looks]) -> None:
    folder = tmp_path / "not" / "yet"
    one = looks(folder, poll=0.1)
    one.wait()
    folder.mkdir(parents=True)
    one.wait()
    shutil.rmtree(folder)
    one.wait()
    folder.mkdir()
    one.wait_until((folder / "LATEST").touch)
