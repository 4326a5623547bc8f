from __future__ import annotations

import errno
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from exportweb import Store, artifact
from exportweb.bucket import Bucket
from exportweb.errors import StoreError, StoreLocked
from exportweb.store import Latest
from serving import Artifacts


def content(file: BinaryIO, number: int) -> None:
    file.write(b"v%d" % number)


@pytest.fixture(params=["s3", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    name = f"runs/{uuid.uuid4().hex}"
    return str(request.getfixturevalue("endpoint").url(name)) if request.param == "s3" else f"memory://{name}"


def test_an_empty_bucket_is_no_error(url: str) -> None:
    store = Store(url)
    assert (store.versions(), store.latest(), store.refusals(), store.pinned(), store.best()) == ({}, None, [], set(), None)


def test_versions_are_published_read_and_rolled_back(url: str, tmp_path: Path) -> None:
    store = Store(url)
    assert [store.publish(content) for _ in range(3)] == [1, 2, 3]
    assert store.latest() == Latest(3)
    other = Store(url)  # what another process sees
    assert [key.name for key in other.versions().values()] == ["000001.onnx", "000002.onnx", "000003.onnx"]
    assert other.open(2).read() == b"v2"
    assert other.download(3, tmp_path).read_bytes() == b"v3"
    other.rollback(1)
    assert store.latest() == Latest(1, rollback=True)
    assert store.publish(content) == 4
    assert other.latest() == Latest(4)
    with pytest.raises(StoreError, match="has no version 9; it has 1, 2, 3, 4"):
        other.open(9)


def test_a_new_version_is_seen_at_once_by_who_has_looked_before(url: str) -> None:
    reader, writer = Store(url), Store(url)
    for number in (1, 2, 3):
        assert writer.publish(content) == number
        assert reader.latest() == Latest(number)
        assert list(reader.versions())[-1] == number


def test_where_a_service_makes_nothing_exclusively_what_is_there_is_still_not_replaced(tmp_path: Path) -> None:
    """Such a service is asked first, and says so in either of two ways."""

    class Plain(LocalFileSystem):
        protocol = "plain"
        refusal: Exception = NotImplementedError()

        def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **kwargs: Any) -> None:
            if mode == "create":
                raise self.refusal
            super().put_file(lpath, rpath, **kwargs)

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
            if mode == "create":
                raise self.refusal
            super().pipe_file(path, value, mode=mode, **kwargs)

    fsspec.register_implementation("plain", Plain, clobber=True)
    for refusal in (NotImplementedError(), OSError(errno.ENOSYS, "not implemented")):
        Plain.refusal = refusal
        url = f"plain://{tmp_path}/{type(refusal).__name__}"
        with Store(url).lock():
            store = Store(url)
            assert [store.publish(content) for _ in range(2)] == [1, 2]
            with pytest.raises(FileExistsError):
                Bucket(url).create("000002.onnx", b"another")
            with pytest.raises(StoreLocked), Store(url).lock():
                pass
        assert store.open(2).read() == b"v2"


def test_the_writer_gets_a_real_file(url: str) -> None:
    """Exporters read what they wrote, by its name, and sync it."""
    import os

    def write(file: BinaryIO, number: int) -> None:
        file.write(b"graph")
        file.flush()
        os.fsync(file.fileno())
        assert Path(file.name).read_bytes() == b"graph"

    assert Store(url).publish(write) == 1


def test_a_writer_that_fails_leaves_nothing(url: str) -> None:
    store = Store(url)

    def fail(file: BinaryIO, number: int) -> None:
        file.write(b"half of it")
        raise RuntimeError("no more weights")

    with pytest.raises(RuntimeError, match="no more weights"):
        store.publish(fail)
    assert store.versions() == {} and store.latest() is None


def test_a_card_is_read_without_its_graph(endpoint: Any, artifacts: Artifacts) -> None:
    store = Store(endpoint.url(f"runs/{uuid.uuid4().hex}"))
    artifacts.publish(store, epoch=3, metrics={"accuracy": 0.5})
    card = store.card(1)
    assert card is not None and card.source.epoch == 3 and card.version == 1


def test_what_is_downloaded_is_whole(url: str, tmp_path: Path, artifacts: Artifacts) -> None:
    store = Store(url)
    artifacts.publish(store)
    artifact.verify(artifact.read(store.download(1, tmp_path)))


def test_pruning_keeps_pinned_best_and_served(url: str, artifacts: Artifacts) -> None:
    store = Store(url)
    for accuracy in (0.1, 0.9, 0.3, 0.4, 0.5):
        artifacts.publish(store, metrics={"accuracy": accuracy})
    store.pin(1)
    store.rollback(3)
    assert store.prune(1, best="accuracy") == [4]
    assert list(store.versions()) == [1, 2, 3, 5]
    assert store.best() == 2
    assert Store(url).pinned() == {1}
    store.unpin(1)
    assert store.prune(1, best="accuracy") == [1]


def test_refusals_are_kept_with_their_reason(url: str) -> None:
    Store(url).refuse("the weights aren't finite", epoch=3)
    Store(url).refuse("still not", step=900)
    assert [(refusal.reason, refusal.epoch, refusal.step) for refusal in Store(url).refusals()] == [
        ("the weights aren't finite", 3, None),
        ("still not", None, 900),
    ]


def test_a_name_that_another_process_took_meanwhile_is_never_replaced(url: str) -> None:
    first, second = Store(url), Store(url)

    def publish_meanwhile(file: BinaryIO, number: int) -> None:
        file.write(b"the second")
        first.publish(lambda file, number: file.write(b"the first"))

    with pytest.raises(StoreError, match="can't be written"):
        second.publish(publish_meanwhile)
    assert first.open(1).read() == b"the first"
    assert second.publish(content) == 2


def test_a_bucket_that_fails_is_an_error_and_the_next_publish_works(endpoint: Any) -> None:
    store = Store(endpoint.url(f"runs/{uuid.uuid4().hex}"))
    store.publish(content)
    endpoint.failing = True
    for use in (store.versions, store.latest, lambda: store.publish(content), lambda: store.prune(1), lambda: store.rollback(1)):
        with pytest.raises(StoreError, match=r"The store s3://flowers/.* can't be"):
            use()
    endpoint.failing = False
    assert store.latest() == Latest(1)
    assert store.publish(content) == 2


def test_an_upload_that_fails_is_named_by_nothing_and_its_number_not_used_again(endpoint: Any) -> None:
    store = Store(endpoint.url(f"runs/{uuid.uuid4().hex}"))
    store.publish(content)

    def break_the_bucket(file: BinaryIO, number: int) -> None:
        file.write(b"v2")
        endpoint.failing = True

    with pytest.raises(StoreError, match="can't be written"):
        store.publish(break_the_bucket)
    endpoint.failing = False
    assert store.latest() == Latest(1)
    assert store.publish(content) == 3  # whether 2 arrived after all can't be known


def test_a_bucket_that_hangs_is_noticed(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(endpoint.url(f"runs/{uuid.uuid4().hex}"))
    store.publish(content)
    with monkeypatch.context() as shorter:
        shorter.setattr("exportweb.bucket._DEADLINE", 1.0)
        endpoint.delay = 10.0
        with pytest.raises(StoreError, match="did not answer in time"):
            store.latest()
    endpoint.delay = 0.0
    assert store.latest() == Latest(1)


def test_a_url_that_nothing_answers_is_an_error_soon(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="Could not connect to the endpoint"):
        Store("s3://flowers/runs").latest()


def test_a_bucket_that_is_not_there_says_so(endpoint: Any) -> None:
    with pytest.raises(StoreError, match="bucket does not exist"):
        Store("s3://no-such-bucket/runs").publish(content)


def test_a_url_of_no_known_kind_says_so() -> None:
    with pytest.raises(StoreError, match=r"foo://x can't be a store: Protocol not known: foo\. .* s3://bucket/runs/flowers"):
        Store("foo://x")


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_what_is_not_installed_is_named_with_the_way_to_get_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom exportweb import Store\nStore('s3://flowers/runs')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "exportweb[s3]"' in done.stderr.splitlines()[-1] and missing in done.stderr.splitlines()[-1]


def test_fsspec_is_imported_for_urls_only(tmp_path: Path) -> None:
    code = f"import sys\nfrom exportweb import Store\nStore({str(tmp_path)!r}).versions()\nassert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_readers_never_meet_half_of_anything(url: str) -> None:
    writer, reader, stop = Store(url), Store(url), threading.Event()
    writer.publish(content)

    def publish() -> None:
        while not stop.is_set():
            writer.publish(lambda file, number: file.write(b"x" * 50_000 + b"%d" % number))
            writer.prune(3)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        seen, end = 0, time.monotonic() + 60
        while seen < 15 and time.monotonic() < end:
            latest = reader.latest()
            assert latest is not None and latest.number >= seen
            seen = latest.number
            try:
                data = reader.open(seen).read()
            except (StoreError, FileNotFoundError):
                continue  # pruned since: three versions were published meanwhile
            assert data.lstrip(b"vx") == b"%d" % seen
        assert seen >= 15
    finally:
        stop.set()
        thread.join()


def test_one_process_publishes_at_a_time(url: str) -> None:
    again = pytest.raises(StoreLocked, match=r"Another process \(pid \d+ on .*\) publishes into")
    with Store(url).lock(), again, Store(url).lock():
        pass
    with Store(url).lock():
        pass
