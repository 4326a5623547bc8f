from __future__ import annotations

import gc
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exportweb.errors import NotAnImage, Overloaded, TornImage
from exportweb.runtime import Answer, Predictor, card_for_onnx
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.jobs import Job, Live, Plan
from exportweb.runtime.lane import MIN_QUEUE, Lane
from exportweb.runtime.workers import Workers
from serving import Artifacts
from versions import WAIT, Blockade, float_graph, score

ON_CPU = Plan(max_batch=4, max_runs=2, prepare_first=True)
ON_GPU = Plan(max_batch=4, max_runs=1, prepare_first=False)

Picture = Callable[..., bytes]


class Pool:
    """A model's lane with the answers that came of it; `workers` are those of other pools, or two of its own."""

    def __init__(self, live: Live | None, workers: Workers | None = None, **options: Any) -> None:
        self.answers: queue.Queue[Answer | Exception] = queue.Queue()
        self.workers = workers or Workers(2)
        self.lane: Lane = self.workers.lane(**options)
        self.lane.swap(live)
        self.workers.start()

    def submit(self, data: bytes, done: Callable[[Answer | Exception], None] | None = None, *, live: Live | None = None) -> Any:
        asked = live or self.lane.current
        assert asked is not None
        params = asked.predictor.task.params({"top_k": 1})
        return self.lane.submit(data, params, done or self.answers.put, live=live)

    def answer(self) -> Answer:
        answer = self.answers.get(timeout=WAIT)
        assert isinstance(answer, Answer), answer
        return answer

    def failure(self) -> Exception:
        answer = self.answers.get(timeout=WAIT)
        assert isinstance(answer, Exception), answer
        return answer

    def blocked(self, data: bytes) -> Blockade:
        return Blockade(self.workers.count, lambda done: self.submit(data, done))


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(live: Live | None, workers: Workers | None = None, **options: Any) -> Pool:
        pools.append(Pool(live, workers, **options))
        return pools[-1]

    yield make
    for one in pools:
        one.lane.close(grace=WAIT)


@pytest.fixture
def live(tmp_path: Path, artifacts: Artifacts) -> Callable[..., Live]:
    def make(version: int = 1, plan: Plan = ON_CPU) -> Live:
        path = artifacts.write(tmp_path / f"{version}.onnx", scale=float(version))
        return Live(Predictor.load(path, device="cpu", threads=1), version, plan)

    return make


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
    path = artifacts.write(tmp_path / "slow.onnx", slow=100)
    one = pool(Live(Predictor.load(path, device="cpu", threads=1), 1, Plan(max_batch=1, max_runs=2, prepare_first=True)))
    for _ in range(40):
        one.submit(picture())
    for _ in range(40):
        one.answer()
    with one.blocked(picture()):
        accepted = sum(one.lane.retry_after(1, 0) == 0 and bool(one.submit(picture())) for _ in range(250))
        assert one.lane.retry_after(1, 0) >= 1
    assert MIN_QUEUE <= accepted < 250


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


# -- several models ----------------------------------------------------------------------------------------------------


def test_a_flood_on_one_model_does_not_starve_another(
    pool: Callable[..., Pool], tmp_path: Path, artifacts: Artifacts, live: Callable[..., Live], picture: Picture
) -> None:
    """While a slow model's queue is always full, another's requests wait for what is going on and for little more."""
    slow = Predictor.load(artifacts.write(tmp_path / "slow.onnx", slow=40), device="cpu", threads=1)
    flooded = pool(Live(slow, 1, ON_CPU), max_queue=64)
    other = pool(live(), flooded.workers)
    image, runs, stop = picture(), [0], threading.Event()

    def again(answer: Answer | Exception) -> None:
        runs[0] += 1
        if not stop.is_set():
            flooded.submit(image, again)

    for _ in range(64):
        flooded.submit(image, again)
    waited = []
    for _ in range(12):
        before = runs[0]
        other.submit(image, lambda answer, before=before: other.answers.put((runs[0] - before, answer)))
        others, answer = other.answers.get(timeout=WAIT)
        assert answer.version == 1
        waited.append(others)
    stop.set()
    assert flooded.lane.stats()["queue"] > 32
    assert sum(waited) <= len(waited) * 3 * ON_CPU.max_batch, waited  # first come, first served would be 64 each


class Turns:
    """Two models on one worker, whose work takes as long as a test says: who gets its turn when."""

    def __init__(self, live: Live, data: bytes, *seconds: float) -> None:
        self.workers = Workers(1)
        self.lanes = [self.workers.lane() for _ in seconds]
        self.seconds = dict(zip(self.lanes, seconds, strict=True))
        self._data = data
        for lane in self.lanes:
            lane.swap(live)

    def ask(self, lane: Lane, count: int) -> None:
        for _ in range(count):
            lane.submit(self._data, None, print)

    def begin(self) -> tuple[Lane, Any]:
        """Let the worker begin the next thing."""
        with self.workers.lock:
            taken = self.workers._next()
        assert taken is not None
        return taken

    def take(self, turns: int) -> list[Lane]:
        """Let the worker do so many things; return whose they were."""
        taken = []
        for _ in range(turns):
            lane, work = self.begin()
            with self.workers.lock:
                if isinstance(work, Job):
                    lane.prepared(work, self.seconds[lane])
                else:
                    lane.ran(self.seconds[lane], jobs=1, alone=False)
                    lane.ended(work.jobs)
            taken.append(lane)
        return taken


def test_models_share_the_workers_by_time(live: Callable[..., Live]) -> None:
    turns = Turns(live(plan=ON_GPU), b"", 9.0, 1.0)
    heavy, light = turns.lanes
    for lane in turns.lanes:
        turns.ask(lane, 100)
    taken = turns.take(100)
    assert taken.count(heavy) == 10
    assert taken.count(light) == 90


def test_an_idle_model_saves_nothing_up(live: Callable[..., Live]) -> None:
    turns = Turns(live(plan=ON_GPU), b"", 1.0, 1.0)
    busy, late = turns.lanes
    turns.ask(busy, 200)
    assert set(turns.take(100)) == {busy}
    turns.ask(late, 100)
    taken = turns.take(40)
    assert taken[0] is late  # who comes goes first
    assert 19 <= taken.count(late) <= 21  # and then has its half


def test_work_that_goes_on_counts(live: Callable[..., Live]) -> None:
    """A second worker that comes while the first is at something long takes what the other model has."""
    turns = Turns(live(plan=ON_GPU), b"", 9.0, 1.0)
    heavy, light = turns.lanes
    for lane in turns.lanes:
        turns.ask(lane, 10)
    turns.take(20)
    for lane in turns.lanes:
        turns.ask(lane, 10)
        lane.used = 100.0
    assert [turns.begin()[0] for _ in range(3)] == [heavy, light, light]


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
