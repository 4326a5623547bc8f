from __future__ import annotations

import gc
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exportweb.errors import NotAnImage, Overloaded, TornImage
from exportweb.runtime import Predictor, card_for_onnx
from exportweb.runtime import workers as workers_module
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.jobs import Live, Plan
from exportweb.runtime.room import CROWD_QUEUE, MIN_QUEUE
from exportweb.runtime.workers import Workers
from pools import ON_CPU, ON_GPU, Pool
from serving import Artifacts
from versions import WAIT, float_graph, score

Picture = Callable[..., bytes]


def test_an_idle_pool_answers_one_image_at_a_time(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    for colour in ("red", "green", "blue"):
        one.submit(picture(colour))
        answer = one.answer()
        assert answer.result == [{"label": colour, "score": pytest.approx(score(1))}]
        assert (answer.version, answer.batch) == (1, 1)
        assert list(answer.timings) == ["queue", "decode", "resize", "inference", "post"]
        assert all(seconds >= 0 for seconds in answer.timings.values())


@pytest.mark.parametrize("plan", [ON_CPU, ON_GPU])
def test_a_busy_pool_forms_batches(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture, plan: Plan) -> None:
    one = pool(live(plan=plan))
    colours = ["red", "green", "blue"] * 6
    got: queue.Queue[tuple[str, Any]] = queue.Queue()
    with one.blocked(picture()):
        for colour in colours:
            one.submit(picture(colour), lambda answer, colour=colour: got.put((colour, answer)))
    batches = set()
    for _ in colours:
        colour, answer = got.get(timeout=WAIT)
        assert answer.result[0]["label"] == colour  # each row goes to the request that it belongs to
        batches.add(answer.batch)
    assert max(batches) <= 4
    if plan is ON_CPU:
        assert 4 in batches


def test_a_full_queue_refuses_at_once(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live(), max_queue=3)
    with one.blocked(picture()):
        for _ in range(3):
            one.submit(picture())
        with pytest.raises(Overloaded, match="3 images wait") as caught:
            one.submit(picture())
        assert caught.value.retry_after == 1
        assert one.lane.stats()["queue"] == 3
    for _ in range(3):
        one.answer()
    one.submit(picture())  # there is room again
    one.answer()


def test_bodies_that_wait_are_bounded_too_but_one_may_always(
    pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture
) -> None:
    one = pool(live(), max_bytes=10)
    with one.blocked(picture()):
        one.submit(picture())
        with pytest.raises(Overloaded):
            one.submit(picture())
    one.answer()


def test_of_a_slow_model_fewer_may_wait(tmp_path: Path, artifacts: Artifacts, pool: Callable[..., Pool], picture: Picture) -> None:
    """Once it is known to be slow: no more than it answers in less than two seconds, or its few clients need."""
    path = artifacts.write(tmp_path / "slow.onnx", slow=0.03)
    one = pool(Live(Predictor.load(path, device="cpu", threads=1), 1, Plan(max_batch=1, max_runs=2, prepare_first=True)))
    for _ in range(40):
        one.submit(picture())
    for _ in range(40):
        one.answer()
    with one.blocked(picture()):
        accepted = sum(one.lane.retry_after(1, 0) == 0 and bool(one.submit(picture())) for _ in range(250))
        assert one.lane.full and one.lane.retry_after(1, 0) >= 1
    assert MIN_QUEUE <= accepted < 250
    for _ in range(accepted - CROWD_QUEUE // 2):  # who was accepted is answered
        one.answer()
    assert one.lane.retry_after(1, 0) == 0


def test_nothing_loaded(picture: Picture) -> None:
    lane = Workers(1).lane()
    with pytest.raises(Overloaded, match="No version is loaded yet"):
        lane.submit(picture(), None, print)


def test_a_bad_image_costs_only_itself(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    bad: queue.Queue[Any] = queue.Queue()
    with one.blocked(picture()):
        one.submit(picture())
        one.submit(b"hello", bad.put)
        one.submit(picture(kind="JPEG", size=(90, 90))[:-200], bad.put)
        one.submit(picture())
    one.answer()
    one.answer()
    assert {type(bad.get(timeout=WAIT)), type(bad.get(timeout=WAIT))} == {NotAnImage, TornImage}


def test_a_batch_that_fails_is_run_one_by_one(tmp_path: Path, pool: Callable[..., Pool], picture: Picture) -> None:
    path = tmp_path / "one.onnx"
    path.write_bytes(float_graph(batch=1))
    card = card_for_onnx(path, task="image-classification", mean=[0], std=[1])
    one = pool(Live(Predictor.load(path, device="cpu", card=card), 1, ON_CPU))  # a plan that the graph can't follow
    with one.blocked(picture()):
        for _ in range(8):
            one.submit(picture("blue"))
    assert [one.answer().result[0]["label"] for _ in range(8)] == ["class_2"] * 8


def test_who_went_away_is_not_answered(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    with one.blocked(picture()):
        job = one.submit(b"would fail loudly")
        one.submit(picture("green"))
        assert one.lane.stats()["queue"] == 2
        job.cancel()
        stats = one.lane.stats()
        assert (stats["queue"], stats["queue_bytes"]) == (1, len(picture("green")))  # nor does it take a place
    assert one.answer().result[0]["label"] == "green"
    one.lane.close()
    assert one.answers.empty()


def test_a_receiver_that_fails_harms_nobody(
    pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    one = pool(live())

    def fail(answer: object) -> None:
        raise RuntimeError("gone")

    for _ in range(5):
        one.submit(picture(), fail)
    one.submit(picture())
    one.answer()
    one.lane.close(WAIT)
    assert caplog.text.count("The receiver of an answer failed.") == 5


def test_what_waits_is_answered_by_the_newest_version(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live(1))
    with one.blocked(picture()):
        for _ in range(6):
            one.submit(picture())
        one.lane.swap(live(2))
    for _ in range(6):
        answer = one.answer()
        assert (answer.version, answer.result[0]["score"]) == (2, pytest.approx(score(2)))


@pytest.mark.parametrize("busy", [False, True])
def test_an_old_version_is_freed_when_its_last_job_has_ended(
    pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture, busy: bool
) -> None:
    one = pool(live(1))
    first = one.lane.current
    assert first is not None
    session = weakref.ref(first.predictor.session)
    if busy:
        with one.blocked(picture()):
            assert one.lane.swap(live(2)) == [first]
            assert not first.drained.is_set()  # its jobs are still being delivered
    else:
        one.submit(picture())
        one.submit(b"no image")  # whose error keeps nothing alive
        kept = [one.answers.get(timeout=WAIT) for _ in range(2)]
        assert one.lane.swap(live(2)) == [first]
        assert len(kept) == 2
    assert first.drained.wait(WAIT)
    first.release()
    gc.collect()
    assert session() is None
    one.submit(picture())
    assert one.answer().version == 2


def test_close_finishes_what_was_accepted(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    for _ in range(20):
        one.submit(picture())
    one.lane.close(grace=WAIT)
    assert one.answers.qsize() == 20
    with pytest.raises(Overloaded, match="shutting down"):
        one.submit(picture())


def test_close_refuses_what_does_not_end_within_its_grace(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    with one.blocked(picture()):
        one.submit(picture())
        one.lane.close(grace=0.01)
    assert isinstance(one.failure(), Overloaded)


def test_the_threads_end_with_the_last_model(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    other = pool(live(2), one.workers)
    one.lane.close()
    with pytest.raises(Overloaded, match="shutting down"):
        one.submit(picture())
    other.submit(picture())
    assert other.answer().version == 2
    other.lane.close()
    assert not any(thread.is_alive() for thread in one.workers._threads)


@pytest.mark.parametrize(("moment", "one_by_one"), [(60.0, False), (0.0, True)])
def test_answers_of_a_batch_wait_a_moment_for_each_other(
    monkeypatch: pytest.MonkeyPatch, pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture, moment: float, one_by_one: bool
) -> None:
    """Answers that take long to make, such as masks, go out as soon as they are made."""
    monkeypatch.setattr(workers_module, "_MOMENT", moment)
    version = live(plan=Plan(max_batch=4, max_runs=1, prepare_first=True))
    task, events, done = version.predictor.task, [], threading.Event()
    make = task.answer
    monkeypatch.setattr(task, "answer", lambda *given: (events.append("made"), make(*given))[1])
    one = Pool(version, Workers(1))
    with one.blocked(picture()):
        for left in (3, 2, 1, 0):
            one.submit(picture(), lambda _, left=left: (events.append("sent"), left or done.set()))
        events.clear()
    assert done.wait(WAIT)
    one.lane.close(WAIT)
    assert events == (["made", "sent"] * 4 if one_by_one else ["made"] * 4 + ["sent"] * 4)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or usable_cpus() < 2, reason="needs Linux and two CPUs")
@pytest.mark.skipif(usable_cpus() > 16, reason="a crowd that keeps so many CPUs busy takes long")
@pytest.mark.parametrize("sit", [True, False])
def test_busy_threads_keep_to_a_cpu_each(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture, sit: bool) -> None:
    """Unless their runs may have threads of their own, which would keep to that CPU, too."""
    cpus = os.sched_getaffinity(0)
    count = len(cpus)
    runs = count if sit else count - 1
    one = pool(live(plan=Plan(max_batch=4, max_runs=runs, prepare_first=True)), Workers(count))
    seen: queue.Queue[tuple[int, frozenset[int]]] = queue.Queue()
    with one.blocked(picture()):
        for _ in range(40 * count):
            one.submit(picture(), lambda _: seen.put((threading.get_native_id(), frozenset(os.sched_getaffinity(0)))))
    kept: dict[int, set[frozenset[int]]] = {}
    for _ in range(40 * count):
        thread, where = seen.get(timeout=WAIT)
        kept.setdefault(thread, set()).add(where)
    seats = [where for places in kept.values() for where in places if where != cpus]
    if sit:
        assert seats
        assert all(len(where) == 1 for where in seats)
        assert len(set(seats)) == len(seats)  # a thread sits where it sat before, and nobody else does
    else:
        assert not seats
    end = time.monotonic() + WAIT
    while any(os.sched_getaffinity(thread) != cpus for thread in kept):  # those that sleep may wake anywhere
        assert time.monotonic() < end
        time.sleep(0.01)
