from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exportweb import Store
from exportweb.errors import BadParameter, ExportwebError, NotFound, Overloaded, Rejected
from exportweb.runtime import Answer, Predictor
from serving import Artifacts
from versions import WAIT, Served, float_graph, publish, score, version

Serve = Callable[..., Served]
Picture = Callable[..., bytes]


def states(served: Served) -> list[tuple[int, str]]:
    return [(info.version, info.state) for info in served.model.versions()]


def test_serves_the_newest_version_of_a_store(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    for epoch in (1, 2, 3):
        artifacts.publish(store, scale=float(epoch), epoch=epoch, metrics={"accuracy": epoch / 10})
    served = serve_model(store.folder)
    answer = served.ask(picture("blue"), top_k="1")
    assert (answer.version, answer.result) == (3, [{"label": "blue", "score": pytest.approx(score(3))}])
    assert states(served) == [(1, "available"), (2, "available"), (3, "serving")]
    assert [info.metrics for info in served.model.versions()] == [{"accuracy": 0.1}, {"accuracy": 0.2}, {"accuracy": 0.3}]
    current = served.model.current
    assert current is not None
    assert (current.version, current.epoch, current.created) == (3, 3, "2026-01-02T03:04:05+00:00")


def test_a_store_that_is_not_there_yet_becomes_live(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    served = serve_model(store.folder, wait=False)
    assert not served.model.ready
    assert served.model.current is None
    with pytest.raises(Overloaded, match="No version is loaded yet"):
        served.later(picture())
    artifacts.publish(store)
    assert served.heard.wait("loaded").info.version == 1
    assert served.model.ready
    assert served.ask(picture()).version == 1


def test_a_new_version_is_published_then_loaded(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    artifacts.publish(store, scale=1.0)
    served = serve_model(store.folder)
    artifacts.publish(store, scale=2.0, epoch=7)
    assert served.heard.wait("published").info.epoch == 7
    assert served.heard.wait("loaded").info.version == 1
    assert served.heard.wait("loaded").info.version == 2
    answer = served.ask(picture(), top_k=1)
    assert (answer.version, answer.result[0]["score"]) == (2, pytest.approx(score(2)))
    assert states(served) == [(1, "retired"), (2, "serving")]


def test_swaps_under_load_lose_nothing_and_never_mix(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    artifacts.publish(store, scale=1.0)
    served = serve_model(store.folder)
    image, done = picture("red"), threading.Event()

    def client() -> list[Answer]:
        answers = []
        while not done.is_set():
            answers.append(served.ask(image, top_k=1))
        return answers

    with ThreadPoolExecutor(6) as clients:
        running = [clients.submit(client) for _ in range(6)]
        try:
            assert served.heard.wait("loaded").info.version == 1
            for number in range(2, 10):
                artifacts.publish(store, scale=float(number))
                assert served.heard.wait("loaded").info.version == number
                served.ask(image)
        finally:
            done.set()
        for answers in (each.result(WAIT) for each in running):
            numbers = [answer.version for answer in answers]
            assert numbers == sorted(numbers)  # a client never sees an older version after a newer one
            for answer in answers:
                assert answer.result == [{"label": "red", "score": pytest.approx(score(answer.version))}]
    assert served.model.ready
    assert served.model.stats()["loaded"] == 9


def test_a_copy_under_the_next_number_is_the_next_version(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    made = artifacts.write(store.folder.parent / "made.onnx")
    served = serve_model(store.folder, wait=False)
    for number in (1, 2):
        store.publish(lambda file, _: file.write(made.read_bytes()))
        assert served.heard.wait("loaded").info.version == number
        assert served.ask(picture()).version == number
    assert states(served) == [(1, "retired"), (2, "serving")]


def test_versions_that_arrive_together_are_skipped_but_seen(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    numbers = [artifacts.publish(store) for _ in range(6)]
    loaded = [served.heard.wait("loaded").info.version]
    while loaded[-1] != numbers[-1]:
        loaded.append(served.heard.wait("loaded").info.version)
    assert loaded == sorted(loaded)
    assert [event.info.version for event in served.heard.of("published")] == numbers
    assert [number for number, _ in states(served)] == [1, *numbers]


def test_a_rollback_is_followed(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    for scale in (1.0, 2.0, 3.0):
        artifacts.publish(store, scale=scale)
    served = serve_model(store.folder)
    assert served.heard.wait("loaded").info.version == 3
    store.rollback(1)
    assert served.heard.wait("loaded").info.version == 1
    assert served.ask(picture()).version == 1
    artifacts.publish(store)
    assert served.heard.wait("loaded").info.version == 4
    assert states(served) == [(1, "retired"), (2, "available"), (3, "retired"), (4, "serving")]


def test_kept_versions_can_be_asked_and_rolled_back_to_at_once(
    store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture
) -> None:
    artifacts.publish(store, scale=1.0)
    served = serve_model(store.folder, keep_loaded=2)
    served.heard.wait("loaded")
    first = served.model.predictor
    artifacts.publish(store, scale=2.0)
    served.heard.wait("loaded")
    assert served.model.loaded == [1, 2]
    for number, asked in ((1, 1), (2, None), (1, 1), (2, 2)):
        answer = served.later(picture(), version=asked, top_k=1).result(WAIT)
        assert (answer.version, answer.result[0]["score"]) == (number, pytest.approx(score(number)))
    store.rollback(1)
    assert served.heard.wait("loaded").info.version == 1
    assert served.model.predictor is first  # nothing was loaded
    assert served.model.loaded == [1, 2]
    artifacts.publish(store, scale=3.0)
    assert served.heard.wait("loaded").info.version == 3
    assert served.model.loaded == [1, 3]  # 2 is the one that hasn't served for longest
    with pytest.raises(NotFound, match=r"Version 2 isn't loaded\. Loaded: 1, 3"):
        served.later(picture(), version=2)
    assert states(served) == [(1, "retired"), (2, "retired"), (3, "serving")]


def test_kept_versions_are_not_pruned_and_evicted_ones_are_freed(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder, keep_loaded=2)
    freed = []
    for number in range(1, 5):
        if number > 1:
            artifacts.publish(store)
        served.heard.wait("loaded")
        assert served.model.predictor is not None
        weakref.finalize(served.model.predictor.session, freed.append, number)
        store.prune(keep=1)
    store.refuse("so that the builder has looked once more")
    served.heard.wait("refused")
    gc.collect()
    assert sorted(freed) == [1, 2]
    assert list(store.versions()) == [3, 4]


def test_an_older_version_is_followed_only_if_that_is_meant(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    artifacts.publish(store)
    artifacts.publish(store)
    served = serve_model(store.folder)
    (store.folder / "LATEST").write_text("000001.onnx\n")
    rejected = served.heard.wait("rejected").info
    assert rejected.version == 1
    assert rejected.reason is not None
    assert "older than 2" in rejected.reason
    assert "exportweb rollback" in rejected.reason
    assert served.model.current is not None
    assert served.model.current.version == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (version(damage=True), "golden sample failed"),
        (version(scale=float("nan")), "not finite"),
        (version(task="poetry"), "Its task is 'poetry'"),
        (version(labels=("a",)), "1 labels"),
        (version()[:-40], "torn"),
        (version().replace(b"logits", b"lagots", 1), "digest"),
        (version(model=b"no graph"), "not an ONNX file"),
        (float_graph(), "has no card"),
        (b"PK\x03\x04", "TorchScript"),
        (b"", "not an ONNX file"),
    ],
    ids=["golden", "nan", "task", "labels", "cut", "altered", "no graph", "foreign", "torchscript", "empty"],
)
def test_a_bad_version_is_rejected_once_and_harms_nothing(
    store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture, bad: bytes, reason: str
) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    publish(store, bad)
    rejected = served.heard.wait("rejected").info
    assert rejected.version == 2
    assert rejected.reason is not None
    assert reason in rejected.reason
    assert served.model.ready
    assert served.ask(picture()).version == 1
    artifacts.publish(store)
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.version == 3
    assert len(served.heard.of("rejected")) == 1
    assert states(served) == [(1, "retired"), (2, "rejected"), (3, "serving")]
    assert served.model.stats()["rejected"] == 1


def test_any_damage_is_noticed(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    dice, whole = random.Random(0), version()
    for _ in range(4):
        publish(store, whole[: dice.randrange(len(whole))])
        served.heard.wait("rejected")
        at = dice.randrange(len(whole) - len(artifacts.card().encode()))  # in the graph: a card may say what it likes
        publish(store, whole[:at] + bytes([whole[at] ^ (1 << dice.randrange(8))]) + whole[at + 1 :])
        served.heard.wait("rejected")
    assert served.ask(picture()).version == 1


def test_a_first_version_that_is_bad_is_the_reason_that_start_raises(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    artifacts.publish(store, damage=True)
    with pytest.raises(Rejected, match="golden sample failed"):
        serve_model(store.folder)


def test_what_the_trainer_refused_is_told(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    store.refuse("the loss is NaN", epoch=1)
    artifacts.publish(store)
    served = serve_model(store.folder)
    store.refuse("the loss is NaN again", epoch=3)
    event = served.heard.wait("refused")
    assert (event.info.version, event.info.epoch, event.info.reason) == (0, 3, "the loss is NaN again")
    assert len(served.heard.of("refused")) == 1  # the first was there before anyone could listen
    assert [info.reason for info in served.model.versions() if info.state == "refused"] == ["the loss is NaN", "the loss is NaN again"]


def test_the_history_outlives_the_files(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    for _ in range(3):
        artifacts.publish(store)
    served = serve_model(store.folder)
    store.prune(keep=1)
    artifacts.publish(store)
    served.heard.wait("loaded")
    served.heard.wait("loaded")
    assert [number for number, _ in states(served)] == [1, 2, 3, 4]


def test_an_old_session_is_freed(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    assert served.model.predictor is not None
    freed = threading.Event()
    weakref.finalize(served.model.predictor.session, freed.set)
    served.ask(picture())
    artifacts.publish(store)
    served.heard.wait("loaded")
    served.heard.wait("loaded")
    gc.collect()
    assert freed.wait(WAIT)


def test_a_rejected_version_is_freed(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    artifacts.publish(store, damage=True)
    served.heard.wait("rejected")
    store.refuse("so that the builder has looked once more")
    served.heard.wait("refused")
    gc.collect()
    mine = [one for one in gc.get_objects() if type(one) is Predictor and one.card.name == "colours"]
    assert mine == [served.model.predictor]


def test_a_version_that_was_altered_after_it_was_published(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    number = artifacts.publish(store)
    served = serve_model(store.folder)
    artifacts.write(store.path(number), scale=2.0, version=number)
    reason = served.heard.wait("rejected").info.reason
    assert reason is not None
    assert "altered" in reason
    assert states(served) == [(1, "serving")]


def test_a_store_that_can_not_be_read(store: Store, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    artifacts.publish(store)
    served = serve_model(store.folder)
    (store.folder / "LATEST").write_text("the newest\n")
    rejected = served.heard.wait("rejected").info
    assert rejected.version == 0
    assert rejected.reason is not None
    assert "should name a version such as 000012.onnx" in rejected.reason
    assert served.ask(picture()).version == 1
    (store.folder / "LATEST").write_text("000001.onnx\n")
    artifacts.publish(store)
    served.heard.wait("loaded")
    assert served.heard.wait("loaded").info.version == 2
    assert states(served) == [(1, "retired"), (2, "serving")]


def test_a_newest_version_that_is_bad_at_the_start_leaves_the_one_before(store: Store, serve_model: Serve) -> None:
    publish(store, version(scale=1.0))
    publish(store, version(scale=2.0))
    publish(store, version()[:-10])
    served = serve_model(store.folder, wait=False)
    assert served.heard.wait("rejected").info.version == 3
    assert served.heard.wait("loaded").info.version == 2
    assert states(served) == [(1, "available"), (2, "serving"), (3, "rejected")]
    publish(store, version(scale=4.0))
    assert served.heard.wait("loaded").info.version == 4


def test_wrong_parameters_are_refused_at_once(tmp_path: Path, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    served = serve_model(artifacts.write(tmp_path / "model.onnx"))
    with pytest.raises(BadParameter, match="from 1 to 3"):
        served.later(picture(), top_k="4")


def test_a_full_queue_and_batches(tmp_path: Path, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    served = serve_model(artifacts.write(tmp_path / "model.onnx"), max_queue=8, max_batch=2)
    assert served.ask(picture()).batch == 1
    with served.blockade(picture()):
        answers = [served.later(picture()) for _ in range(8)]
        with pytest.raises(Overloaded, match="8 images wait"):
            served.later(picture())
        assert served.model.stats()["queue"] == 8
    assert max(each.result(WAIT).batch for each in answers) == 2
    stats = served.model.stats()
    assert stats["max_batch"] == 2
    assert stats["threads"] == 1
    assert stats["workers"] >= 1


def test_a_listener_can_leave_and_may_fail(store: Store, artifacts: Artifacts, serve_model: Serve) -> None:
    served = serve_model(store.folder, wait=False)
    heard: list[object] = []

    def fail(event: object) -> None:
        raise RuntimeError("this listener is broken")

    served.model.subscribe(fail)
    served.model.subscribe(heard.append)()
    artifacts.publish(store)
    served.heard.wait("loaded")
    artifacts.publish(store)
    served.heard.wait("loaded")
    assert heard == []


def test_close_finishes_what_was_accepted(tmp_path: Path, artifacts: Artifacts, serve_model: Serve, picture: Picture) -> None:
    before = set(threading.enumerate())
    served = serve_model(artifacts.write(tmp_path / "model.onnx"))
    answers = [served.later(picture()) for _ in range(20)]
    served.model.close(grace=WAIT)
    assert all(each.done() and each.result().version == 1 for each in answers)
    with pytest.raises(Overloaded):
        served.later(picture())
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)
        assert not thread.is_alive()


def test_close_before_anything_was_loaded(store: Store, serve_model: Serve) -> None:
    served = serve_model(store.folder, wait=False)
    failures: list[Exception] = []

    def wait() -> None:
        try:
            served.model.wait()
        except ExportwebError as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    served.model.close()
    waiter.join(WAIT)
    assert "closed before a version was loaded" in str(failures[0])
