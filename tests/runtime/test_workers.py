from __future__ import annotations

import gc
import queue
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exportweb.errors import NotAnImage, Overloaded, TornImage
from exportweb.runtime import Answer, Predictor, card_for_onnx
from exportweb.runtime.jobs import Live, Plan
from exportweb.runtime.workers import Workers
from serving import Artifacts
from versions import WAIT, Blockade, float_graph, score

ON_CPU = Plan(max_batch=4, max_runs=2, prepare_first=True)
ON_GPU = Plan(max_batch=4, max_runs=1, prepare_first=False)

Picture = Callable[..., bytes]


class Pool:
    """Workers with the answers that they delivered."""

    def __init__(self, live: Live | None, **options: Any) -> None:
        self.answers: queue.Queue[Answer | Exception] = queue.Queue()
        self.workers = Workers(**{"count": 2, **options})
        self.workers.swap(live)
        self.workers.start()

    def submit(self, data: bytes, done: Callable[[Answer | Exception], None] | None = None) -> Any:
        assert self.workers.current is not None
        params = self.workers.current.predictor.task.params({"top_k": 1})
        return self.workers.submit(data, params, done or self.answers.put)

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

    def make(live: Live | None, **options: Any) -> Pool:
        pools.append(Pool(live, **options))
        return pools[-1]

    yield make
    for one in pools:
        one.workers.close(grace=WAIT)


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
        assert one.workers.stats()["queue"] == 3
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


def test_nothing_loaded(picture: Picture) -> None:
    workers = Workers(count=1)
    with pytest.raises(Overloaded, match="No version is loaded yet"):
        workers.submit(picture(), None, print)


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
        job.cancel()
    assert one.answer().result[0]["label"] == "green"
    one.workers.close()
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
    one.workers.close(WAIT)
    assert caplog.text.count("The receiver of an answer failed.") == 5


def test_what_waits_is_answered_by_the_newest_version(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live(1))
    with one.blocked(picture()):
        for _ in range(6):
            one.submit(picture())
        one.workers.swap(live(2))
    for _ in range(6):
        answer = one.answer()
        assert (answer.version, answer.result[0]["score"]) == (2, pytest.approx(score(2)))


@pytest.mark.parametrize("busy", [False, True])
def test_an_old_version_is_freed_when_its_last_job_has_ended(
    pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture, busy: bool
) -> None:
    one = pool(live(1))
    first = one.workers.current
    assert first is not None
    session = weakref.ref(first.predictor.session)
    if busy:
        with one.blocked(picture()):
            assert one.workers.swap(live(2)) is first
            assert not first.drained.is_set()  # its jobs are still being delivered
    else:
        one.submit(picture())
        one.submit(b"no image")  # whose error keeps nothing alive
        kept = [one.answers.get(timeout=WAIT) for _ in range(2)]
        assert one.workers.swap(live(2)) is first
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
    one.workers.close(grace=WAIT)
    assert one.answers.qsize() == 20
    with pytest.raises(Overloaded, match="shutting down"):
        one.submit(picture())


def test_close_refuses_what_does_not_end_within_its_grace(pool: Callable[..., Pool], live: Callable[..., Live], picture: Picture) -> None:
    one = pool(live())
    with one.blocked(picture()):
        one.submit(picture())
        one.workers.close(grace=0.01)
    assert isinstance(one.failure(), Overloaded)
