"""How a model is run: by what it does here, not by a guess."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from exportweb.runtime import Answer, Predictor, ServedModel, Workers
from exportweb.runtime.bench import Bench, Disturbed
from exportweb.runtime.tuner import Tuner, Tuning
from versions import Artifacts


class Machine:
    """What a tuner finds out, without the noise of finding it out: how many seconds a run of a number of threads takes for a batch."""

    device = "cpu"
    max_batch: int | None = None

    def __init__(self, seconds: Callable[[int, int], float]) -> None:
        self.seconds = seconds

    def each(self) -> list[Machine]:
        return [self]


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "artifacts" in request.fixturenames:
        return  # it is really measured

    def time_runs(self: Bench, machine: Any, runs: int, threads: int, batch: int) -> list[list[float]]:
        seconds = machine.seconds(threads, batch)
        self.seconds += max(0.06, seconds)  # that much of its budget is gone
        return [[seconds]] * runs

    monkeypatch.setattr(Bench, "time_runs", time_runs)


def tune(tuner: Tuner, machine: Machine, *, graph: str = "graph") -> Tuning | None:
    return tuner.tune(graph, machine, lambda threads: machine, disturbed=lambda: False)  # type: ignore[arg-type, return-value]


def measured(model: ServedModel) -> Tuning:
    """Wait until a model is measured."""
    deadline = time.monotonic() + 30
    while (tuning := model.tuning) is None:
        assert time.monotonic() < deadline, "it was never measured"
        time.sleep(0.01)
    return tuning


@contextmanager
def asking(model: ServedModel, image: bytes, count: int) -> Iterator[list[Answer | Exception]]:
    """Keep a model busy with so many clients, each of which asks again once it is answered; what they are answered is given."""
    answers: list[Answer | Exception] = []
    quiet = threading.Event()

    def ask() -> None:
        while not quiet.is_set():
            answered = threading.Event()
            model.submit(image, {}, lambda answer, event=answered: (answers.append(answer), event.set()))
            assert answered.wait(10)

    crowd = [threading.Thread(target=ask) for _ in range(count)]
    for one in crowd:
        one.start()
    try:
        yield answers
    finally:
        quiet.set()
        for one in crowd:
            one.join()


def test_a_small_model_is_run_in_batches_and_alone_as_ever() -> None:
    tuning = tune(Tuner(cpus=2), Machine(lambda threads, batch: 0.010 + 0.001 * batch))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone, tuning.batch) == (2, 1, 1, 16)


def test_batches_that_compute_nothing_faster_are_still_handed_over_less_often() -> None:
    tuning = tune(Tuner(cpus=2), Machine(lambda threads, batch: 0.003 * batch))
    assert tuning is not None
    assert tuning.batch == 8  # of 1 ms a run, 0.12 are left for each image: 16 would gain less than 6 %


def test_a_batch_is_no_larger_than_it_has_to_be() -> None:
    tuning = tune(Tuner(cpus=2), Machine(lambda threads, batch: 0.010 + 0.001 * batch * (1 if batch <= 4 else 4)))
    assert tuning is not None
    assert tuning.batch == 4
    assert max(trial.batch for trial in tuning.trials) == 8


def test_a_big_model_gets_batches_for_a_crowd_only_and_a_session_for_runs_that_are_alone() -> None:
    tuning = tune(Tuner(cpus=2), Machine(lambda threads, batch: 0.05 * batch / threads**0.7))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (2, 1, 2)
    assert (tuning.batch, tuning.depth) == (4, 2)  # 8 would take 0.4 s
    assert "1 threads (2 when alone) and up to 4 images each (where 2 times as many wait)" in str(tuning)


def test_a_big_model_s_batches_do_not_keep_other_models_waiting() -> None:
    tuning = tune(Tuner(cpus=2, shared=lambda: True), Machine(lambda threads, batch: 0.05 * batch))
    assert tuning is not None
    assert (tuning.batch, tuning.depth) == (1, 1)


def test_batches_that_lose_something_are_not_for_a_crowd_either() -> None:
    tuning = tune(Tuner(cpus=2), Machine(lambda threads, batch: 0.02 * batch ** (1 if batch <= 2 else 1.1)))
    assert tuning is not None
    assert (tuning.batch, tuning.depth) == (2, 2)


@pytest.mark.parametrize(("seconds", "batch"), [(0.08, 4), (0.15, 2), (0.5, 1)])
def test_a_model_too_slow_to_be_measured_in_batches_has_those_that_do_not_take_long(seconds: float, batch: int) -> None:
    tuning = tune(Tuner(cpus=2, budget=0.7), Machine(lambda threads, size: seconds * size))
    assert tuning is not None
    assert {trial.batch for trial in tuning.trials} == {1}
    assert (tuning.batch, tuning.depth) == (batch, min(batch, 2))


def test_runs_that_share_all_cores_are_chosen_where_they_do_more() -> None:
    tuning = tune(Tuner(cpus=4), Machine(lambda threads, batch: 0.05 * batch / threads**1.2))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (1, 4, 4)


def test_models_that_share_the_cores_run_in_one_thread_each_unless_alone() -> None:
    """As many runs as there are cores may go on then, of whichever model."""
    machine, crowd = Machine(lambda threads, batch: 0.05 * batch / threads**1.2), [False]
    tuner = Tuner(cpus=4, shared=lambda: crowd[0])
    on_its_own = tune(tuner, machine)
    assert on_its_own is not None
    assert on_its_own.threads == 4
    crowd[0] = True
    assert tuner.known("graph") is None, "what was measured before another model came doesn't hold"
    tuning = tune(tuner, machine)
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (4, 1, 4)
    assert tuner.known("graph") is tuning


def test_a_graph_that_takes_one_image_is_given_one() -> None:
    machine = Machine(lambda threads, batch: 0.01)
    machine.max_batch = 1
    tuning = tune(Tuner(cpus=2), machine)
    assert tuning is not None
    assert tuning.batch == 1


def test_what_was_measured_is_remembered_for_the_graph() -> None:
    tuner, machine = Tuner(cpus=2), Machine(lambda threads, batch: 0.01 * batch)
    assert tuner.known("graph") is None
    tuning = tune(tuner, machine)
    assert tuner.known("graph") is tuning
    assert tune(tuner, machine) is None  # there is nothing to measure any more
    assert tune(tuner, machine, graph="another") is not None


@pytest.mark.parametrize("options", [{"budget": 0}, {"threads": 2, "max_batch": 4}])
def test_nothing_is_measured_where_the_user_decided(options: dict[str, Any]) -> None:
    tuner, machine = Tuner(cpus=2, **options), Machine(lambda threads, batch: pytest.fail("it was run"))
    assert tune(tuner, machine) is None
    default = tuner.default(machine)  # type: ignore[arg-type]
    assert (default.runs, default.threads, default.batch) == ((1, 2, 4) if "threads" in options else (2, 1, 4))


def test_what_the_budget_has_no_room_for_is_not_tried() -> None:
    tuning = tune(Tuner(cpus=2, budget=1.0), Machine(lambda threads, batch: 0.4 * batch))
    assert tuning is not None
    assert {trial.batch for trial in tuning.trials} == {1}


def test_more_threads_that_seem_to_gain_nothing_are_looked_at_again() -> None:
    """A run's threads may have shared a CPU by chance; then the model would be slow to single clients for good."""
    looks = itertools.count()
    machine = Machine(lambda threads, batch: 0.07 * batch / (1 if threads == 1 or next(looks) == 0 else threads**0.7))
    tuning = tune(Tuner(cpus=2), machine)
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (2, 1, 2)
    assert next(looks) == 2


def test_quick_models_are_measured_in_turn_lest_the_machine_was_elsewhere_for_a_while() -> None:
    """Two measurements in a row are off, of one run and of several at a time, and later that of the first larger batches."""
    looks = itertools.count()
    machine = Machine(lambda threads, batch: (0.010 + 0.001 * batch) * (4 if next(looks) in (0, 1, 9) else 1))
    tuning = tune(Tuner(cpus=2), machine)
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone, tuning.batch) == (2, 1, 1, 16)
    assert all(trial.rate == pytest.approx(trial.runs * trial.batch / (0.010 + 0.001 * trial.batch), rel=0.01) for trial in tuning.trials)


def test_many_cpus_leave_time_for_batches() -> None:
    """There are seven numbers of threads to try on 64 of them, most of them alone and beside each other."""
    tuning = tune(Tuner(cpus=64), Machine(lambda threads, batch: 0.010 + 0.001 * batch))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.batch) == (64, 1, 16)


def test_a_slow_model_is_measured_once() -> None:
    tried: list[tuple[int, int]] = []
    machine = Machine(lambda threads, batch: tried.append((threads, batch)) or 0.2 * batch / threads**0.7)
    tuning = tune(Tuner(cpus=2, budget=10), machine)
    assert tuning is not None
    assert len(tried) == len(tuning.trials)


def test_a_served_model_is_measured_once_it_serves_and_says_so(artifacts: Artifacts, tmp_path: Any) -> None:
    model = ServedModel(artifacts.write(tmp_path / "model.onnx"), device="cpu", tuning_budget=0.5)
    model.start(wait=True)
    try:
        tuning, stats = measured(model), model.stats()
        assert tuning.trials
        assert all(trial.rate > 0 for trial in tuning.trials)
        assert (stats["max_runs"], stats["threads"], stats["max_batch"]) == (tuning.runs, tuning.threads, tuning.batch)
    finally:
        model.close()


@pytest.mark.parametrize(("count", "threads"), [(1, 4), (2, 1)])
def test_models_of_one_server_share_its_cores(
    artifacts: Artifacts, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, count: int, threads: int
) -> None:
    """On a machine where more threads are always quicker, a model has them only if it is the only one."""

    def time_runs(self: Bench, predictor: Any, runs: int, threads: int, batch: int) -> list[list[float]]:
        return [[batch / (1000 * threads**1.2)]] * runs

    monkeypatch.setattr(Bench, "time_runs", time_runs)
    path, workers = artifacts.write(tmp_path / "model.onnx"), Workers(4)
    models = [ServedModel(path, device="cpu", workers=workers) for _ in range(count)]
    try:
        for model in models:
            model.start(wait=True)
        for model in models:
            measured(model)
        assert [(model.stats()["threads"], model.stats()["max_runs"]) for model in models] == [(threads, 4 // threads)] * count
    finally:
        for model in models:
            model.close()


def test_what_was_disturbed_is_not_believed(artifacts: Artifacts, tmp_path: Any) -> None:
    predictor = Predictor.load(artifacts.write(tmp_path / "model.onnx"), device="cpu", threads=1)
    tuner = Tuner(cpus=2, budget=0.5)
    with pytest.raises(Disturbed):
        tuner.tune("graph", predictor, lambda threads: predictor, disturbed=lambda: True)
    assert tuner.known("graph") is None


def test_more_threads_a_run_have_to_gain_more_than_noise() -> None:
    tuning = tune(Tuner(cpus=2), Machine(lambda threads, batch: 0.05 * batch / threads**1.1))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (2, 1, 2)


def test_a_server_that_is_always_busy_is_measured_between_its_runs(
    artifacts: Artifacts, picture: Callable[..., bytes], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was asked runs beside a measurement, and all of it is answered."""
    model = ServedModel(artifacts.write(tmp_path / "model.onnx"), device="cpu", tuning_budget=0.5)
    infer, turn, turns, beside = Predictor.infer, Workers.turn, [], []

    @contextmanager
    def counted(self: Workers) -> Iterator[None]:
        with turn(self):
            turns.append(True)
            yield
            turns[-1] = False

    def watched(self: Predictor, batch: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith("exportweb-worker"):
            beside.append(any(turns))
        return infer(self, batch, **options)

    monkeypatch.setattr(Workers, "turn", counted)
    monkeypatch.setattr(Predictor, "infer", watched)
    model.start(wait=True)
    try:
        with asking(model, picture(), 4) as answers:
            measured(model)
    finally:
        model.close()
    assert turns
    assert not any(beside)
    assert all(isinstance(answer, Answer) for answer in answers)


def test_a_slow_model_that_is_always_busy_is_not_measured(
    artifacts: Artifacts, picture: Callable[..., bytes], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few of its runs would keep everybody waiting for longer than they gain."""
    model = ServedModel(artifacts.write(tmp_path / "model.onnx"), device="cpu", tuning_budget=0.5)
    infer = Predictor.infer

    def slow(self: Predictor, batch: Any, **options: Any) -> Any:
        time.sleep(0.3 * len(batch))
        return infer(self, batch, **options)

    monkeypatch.setattr(Workers, "turn", lambda self: pytest.fail("somebody takes turns with who asks"))
    monkeypatch.setattr(Predictor, "infer", slow)
    model.start(wait=True)
    try:
        with asking(model, picture(), 1):
            time.sleep(7.0)  # all the looks for which it is put off
            assert model.tuning is None
        measured(model)
    finally:
        model.close()
