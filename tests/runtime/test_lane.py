from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from exportweb.errors import NotFound
from exportweb.runtime import Answer, Predictor
from exportweb.runtime.jobs import Batch, Handed, Job, Live, OtherPreparation, Plan
from exportweb.runtime.lane import Lane
from exportweb.runtime.pace import Pace
from exportweb.runtime.workers import Workers
from serving import Artifacts

PLAN = Plan(max_batch=4, max_runs=1, prepare_first=True)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts) -> Predictor:
    return Predictor.load(artifacts.write(tmp_path_factory.mktemp("lane") / "model.onnx"), device="cpu", threads=1)


@pytest.fixture
def versions(predictor: Predictor) -> list[Live]:
    return [Live(predictor, number, PLAN) for number in range(6)]


@pytest.fixture
def handed(predictor: Predictor, picture: Callable[..., bytes]) -> Handed:
    """An image that was prepared elsewhere, in a second."""
    assert predictor.preparation is not None
    return Handed(predictor.preparation, predictor.prepare(picture()), 1.0)


def test_the_last_versions_that_served_stay_loaded(versions: list[Live]) -> None:
    lane = Workers(1).lane(keep=2)
    retired = [lane.swap(versions[number]) for number in (1, 2, 3, 2, 4)]
    assert retired == [[], [], [versions[1]], [], [versions[3]]]  # 2 served again, so 3 is the older one
    assert list(lane.loaded) == [2, 4]
    assert lane.current is versions[4]
    assert lane.find(2) is versions[2]
    with pytest.raises(NotFound, match=r"Version 3 isn't loaded\. Loaded: 2, 4;"):
        lane.find(3)
    assert versions[3].drained.is_set()
    assert not versions[2].retired
    assert lane.swap(None) == [versions[2], versions[4]]
    assert not lane.loaded


def test_another_version_of_the_same_number_takes_its_place(versions: list[Live], predictor: Predictor) -> None:
    lane = Workers(1).lane(keep=3)
    lane.swap(versions[1])
    lane.swap(versions[2])
    again = Live(predictor, 2, PLAN)
    assert lane.swap(again) == [versions[2]]
    assert lane.loaded == {1: versions[1], 2: again}


def test_a_job_for_a_version_is_answered_by_it_even_if_it_goes_meanwhile(
    versions: list[Live], predictor: Predictor, picture: Callable[..., bytes]
) -> None:
    workers, params = Workers(1), predictor.task.params({})
    answers: list[Answer | Exception] = []
    lane = workers.lane(keep=2)
    lane.swap(versions[1])
    lane.swap(versions[2])
    for live in (versions[1], None, versions[1], None):
        lane.submit(picture(), params, answers.append, live=live)
    assert lane.swap(versions[3]) == [versions[1]]
    assert not versions[1].drained.is_set()
    with pytest.raises(NotFound, match="Loaded: 2, 3"):
        lane.submit(picture(), params, answers.append, live=versions[1])
    workers.start()
    lane.close()
    assert sorted((answer.version, answer.batch) for answer in answers if isinstance(answer, Answer)) == [(1, 2), (1, 2), (3, 2), (3, 2)]
    assert versions[1].drained.is_set()


def test_a_lane_has_bounds_of_its_own(versions: list[Live]) -> None:
    workers = Workers(1)
    lanes: list[Lane] = [workers.lane(max_queue=1), workers.lane(max_queue=1)]
    for lane in lanes:
        lane.swap(versions[1])
        lane.submit(b"12", {}, print)
        assert lane.stats() == {"queue": 1, "in_flight": 0, "queue_bytes": 2}


def test_when_the_last_that_waited_gives_up_the_lane_is_not_busy(versions: list[Live], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the time until the next request would count as time that answers took, and the model as a slow one."""
    pauses: list[int] = []
    lane = Workers(1).lane()
    lane.swap(versions[1])
    first, second = (lane.submit(b"", None, print) for _ in range(2))
    monkeypatch.setattr(Pace, "pause", lambda _: pauses.append(1))
    first.cancel()
    assert pauses == []
    second.cancel()
    assert len(pauses) == 1


def test_how_long_an_image_takes_is_known_after_a_run_that_had_some(versions: list[Live]) -> None:
    lane = Workers(1).lane()
    assert lane.each == math.inf
    for seconds, jobs in ((2.0, 4), (0.0, 0)):  # all of the second batch hung up before it ran
        lane.ran(seconds, jobs, alone=True)
    assert lane.each == 0.5


@pytest.mark.parametrize(("waiting", "batch"), [(2, 1), (6, 2), (16, 4)])
def test_where_larger_batches_gain_little_they_are_for_crowds(versions: list[Live], waiting: int, batch: int) -> None:
    """Each of two runs takes half of its share of what waits, so that few are answered sooner one by one."""
    lane = Workers(2).lane()
    versions[1].plan = PLAN._replace(max_runs=2, depth=2)
    lane.swap(versions[1])
    for _ in range(waiting):
        lane.submit(b"", None, print)
    while isinstance(taken := lane.next(), Job):
        lane.prepared(taken, 0.01)
    assert isinstance(taken, Batch)
    assert len(taken.jobs) == batch


@pytest.mark.parametrize(("ready", "begins"), [(1, False), (3, False), (4, True), (9, True)])
def test_a_run_beside_another_on_a_gpu_is_large(versions: list[Live], handed: Handed, ready: int, begins: bool) -> None:
    """A small one would only wait for the other, while more could have come."""
    lane = Workers(2).lane()
    versions[1].plan = PLAN._replace(max_batch=8, max_runs=2, prepare_first=False)
    lane.swap(versions[1])
    lane.submit(b"", None, print, handed=handed)
    assert isinstance(lane.next(), Batch)
    for _ in range(ready):
        lane.submit(b"", None, print, handed=handed)
    taken = lane.next()
    assert (taken is not None) == begins
    lane.ran(0.01, 1, alone=False)
    if not begins:
        taken = lane.next()
    assert isinstance(taken, Batch)
    assert len(taken.jobs) == min(ready, 8), "all that is ready"


def test_each_gpu_has_a_run_before_one_has_two(versions: list[Live], handed: Handed) -> None:
    lane = Workers(4).lane()
    versions[1].plan = PLAN._replace(max_batch=8, max_runs=4, prepare_first=False)
    lane.swap(versions[1])
    taken = []
    for _ in range(3):
        lane.submit(b"", None, print, handed=handed)
        taken.append(lane.next() is not None)
    assert taken == [True, True, False]


@pytest.mark.parametrize("prepare_first", [False, True])
def test_what_comes_prepared_does_not_overtake_what_waits(versions: list[Live], handed: Handed, prepare_first: bool) -> None:
    lane = Workers(1).lane()
    versions[1].plan = PLAN._replace(max_batch=1, prepare_first=prepare_first)
    lane.swap(versions[1])
    first = lane.submit(b"", None, print)
    for _ in range(4):
        lane.submit(b"", None, print, handed=handed)
    assert lane.next() is first


def test_an_image_that_was_prepared_for_another_version_is_not_taken(versions: list[Live], handed: Handed) -> None:
    lane = Workers(1).lane(keep=2)
    lane.swap(versions[1])
    lane.swap(versions[2])
    with pytest.raises(OtherPreparation) as found:
        lane.submit(b"", None, print, handed=handed._replace(preparation=b"another"))
    assert found.value.wanted == handed.preparation == versions[2].predictor.preparation
    assert lane.stats()["queue"] == versions[2].jobs == 0
    for live, version in ((None, versions[2]), (versions[1], versions[1])):
        lane.submit(b"", None, print, live=live, handed=handed)
        assert version.jobs == 1


def test_what_comes_prepared_is_answered_as_what_is_prepared_here(
    versions: list[Live], predictor: Predictor, handed: Handed, picture: Callable[..., bytes]
) -> None:
    answers: list[Answer | Exception] = []
    workers = Workers(2)
    lane = workers.lane()
    lane.swap(versions[1])
    workers.start()
    params = predictor.task.params({})
    for given in (handed, None):
        lane.submit(b"" if given else picture(), params, answers.append, handed=given)
    lane.close()
    one, other = answers
    assert isinstance(one, Answer) and isinstance(other, Answer)
    assert one.result == other.result
    assert one.timings["queue"] >= handed.waited > other.timings["queue"]
    assert set(one.timings) == set(other.timings)


def test_how_much_room_there_is(versions: list[Live]) -> None:
    lane = Workers(1).lane(max_queue=3)
    lane.swap(versions[1])
    rooms = [lane.room]
    for _ in range(3):
        lane.submit(b"", None, print)
        rooms.append(lane.room)
    assert [room for room, _ in rooms] == [3, 2, 1, 0]
    assert all(seconds >= 1 for _, seconds in rooms)
    lane.refused()
    assert lane.room[0] == 0
