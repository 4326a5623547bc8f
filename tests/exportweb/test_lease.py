from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exportweb import Store, lease
from exportweb.bucket import Bucket
from exportweb.errors import StoreLocked
from exportweb.lease import LOCK, Owner

TRAINER = """
import sys, time
from exportweb import Store

with Store(sys.argv[1]).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become fractions of them."""
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "_SETTLED", 0.05)


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def publish(store: Store) -> int:
    return store.publish(lambda file, number: file.write(b"x"))


def take(url: str, **changes: Any) -> Owner:
    """Put another process's name on the lock, as that process does."""
    owner = Owner(id="other", host="elsewhere", machine="another one", pid=7, renewed=0.0)
    owner = msgspec.structs.replace(owner, **changes)
    Bucket(url).put(LOCK, msgspec.json.encode(owner))
    return owner


def held_by(url: str) -> Owner:
    return msgspec.json.decode(Bucket(url).read(LOCK), type=Owner)


def test_a_lock_names_its_holder_is_renewed_and_goes_with_its_block(url: str) -> None:
    with Store(url).lock():
        first = held_by(url)
        assert first.pid == os.getpid()
        renewed = threading.Event()
        for _ in range(100):
            if held_by(url).renewed > first.renewed:
                break
            renewed.wait(0.05)
        assert held_by(url).renewed > first.renewed
        assert held_by(url).id == first.id
    with pytest.raises(FileNotFoundError):
        held_by(url)


def test_a_bucket_that_came_back_is_let_go_of(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = endpoint.url(uuid.uuid4().hex)
    held = lease.Lease(Bucket(url))
    held.acquire()
    endpoint.failing = True
    with pytest.raises(OSError, match="Internal Server Error"):
        held.check()
    monkeypatch.setattr(lease, "BEAT", 3600)
    time.sleep(1)  # a beat that had begun is over
    endpoint.failing = False
    held.check()
    held.release()
    with pytest.raises(FileNotFoundError):
        held_by(url)


def test_a_holder_on_another_machine_that_renews_is_respected(url: str) -> None:
    take(url, renewed=time.time())
    with pytest.raises(StoreLocked, match=r"Another process \(pid 7 on elsewhere\).*free 60 s after it ended"), Store(url).lock():
        pass


def test_a_stale_lock_is_taken_over(url: str, caplog: pytest.LogCaptureFixture) -> None:
    take(url, renewed=0.0)
    with Store(url).lock():
        assert held_by(url).pid == os.getpid()
    assert "taken over from a process that is gone (pid 7 on elsewhere)" in caplog.text


def test_a_lock_that_only_seems_stale_since_clocks_disagree_is_not(url: str) -> None:
    stop = threading.Event()

    def renew() -> None:
        beats = 0
        while not stop.wait(0.05):
            beats += 1
            take(url, renewed=float(beats))  # by a clock that stands in 1970

    take(url)
    holder = threading.Thread(target=renew)
    holder.start()
    try:
        with pytest.raises(StoreLocked, match="pid 7 on elsewhere"), Store(url).lock():
            pass
    finally:
        stop.set()
        holder.join()


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux says which processes live here")
def test_the_lock_of_a_process_that_was_killed_here_is_free_at_once(endpoint: Any, caplog: pytest.LogCaptureFixture) -> None:
    url = endpoint.url(uuid.uuid4().hex)
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER, url], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None and trainer.stdout.readline() == "locked\n"
    with pytest.raises(StoreLocked, match=f"pid {trainer.pid} on"), Store(url).lock():
        pass
    trainer.kill()
    trainer.communicate()
    with Store(url).lock():
        assert held_by(url).pid == os.getpid()
    assert f"taken over from a process that is gone (pid {trainer.pid} on" in caplog.text


def test_a_holder_that_finds_another_name_on_the_lock_stops(url: str) -> None:
    store = Store(url)
    with store.lock():
        publish(store)
        taken = take(url)
        with pytest.raises(StoreLocked, match=r"taken over by another process \(pid 7 on elsewhere\).*nothing more is published from here"):
            publish(store)
        assert list(store.versions()) == [1]
    assert held_by(url) == taken  # and it is not the old holder's to delete


def test_a_lock_that_was_taken_while_a_version_was_written_keeps_latest_as_it_is(url: str) -> None:
    store = Store(url)
    with store.lock():
        publish(store)
        with pytest.raises(StoreLocked):
            store.publish(lambda file, number: take(url))
        latest = store.latest()
        assert latest is not None and latest.number == 1


def test_a_lock_that_nobody_can_read_is_taken_over(url: str) -> None:
    Bucket(url).put(LOCK, b"garbage")
    with Store(url).lock():
        assert held_by(url).pid == os.getpid()
