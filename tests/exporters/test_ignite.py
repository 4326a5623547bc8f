from __future__ import annotations

import signal
import subprocess

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("ignite")

from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, ConfusionMatrix

from exportweb import Store
from exportweb.exporters.ignite import ExportHandler
from models import LABELS, batches, example
from moments import assert_versions_are, moment
from published import sources
from scripts import run, script


@pytest.fixture
def trainer(model):
    return create_supervised_trainer(model, torch.optim.SGD(model.parameters(), 0.1), F.cross_entropy)


@pytest.fixture
def evaluator(model):
    return create_supervised_evaluator(model, {"accuracy": Accuracy(), "confusion": ConfusionMatrix(len(LABELS))})


def watch(trainer: Engine, model, handler):
    """Keep the weights of each epoch. Waits for the store, only for the test: a loop this quick would skip versions."""
    moments = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: moments.append(moment(model)))
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: handler.hook.flush(30))
    return moments


@pytest.mark.parametrize("attached", ["before", "after"])
def test_every_epoch_is_published_with_the_metrics_of_its_evaluation(model, trainer, evaluator, tmp_path, attached):
    handler = ExportHandler(model, to=tmp_path, example=example(), labels=LABELS)
    accuracies = []
    if attached == "before":
        handler.attach(trainer, evaluator)

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate():
        accuracies.append(evaluator.run(batches(2, seed=1)).metrics["accuracy"])

    if attached == "after":
        handler.attach(trainer, evaluator)
    moments = watch(trainer, model, handler)
    trainer.run(batches(3), max_epochs=2)
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(1, 3), (2, 6)]
    assert [s.metrics for s in sources(tmp_path)] == [{"accuracy": accuracy} for accuracy in accuracies]
    assert_versions_are(tmp_path, moments)


def test_evaluation_within_an_epoch_is_no_epoch_and_its_metrics_are_not_those_of_the_epoch(model, trainer, evaluator, tmp_path):
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda: evaluator.run(batches(1)))
    handler = ExportHandler(model, to=tmp_path, example=example(), every=2)
    handler.attach(trainer, evaluator)
    watch(trainer, model, handler)
    trainer.run(batches(3), max_epochs=3)
    # The second epoch ends with an evaluation, the third, the last, doesn't.
    assert [(s.epoch, set(s.metrics)) for s in sources(tmp_path)] == [(2, {"accuracy"}), (3, set())]


def test_iterations_can_be_counted_instead(model, trainer, tmp_path):
    handler = ExportHandler(model, to=tmp_path, example=example(), unit="step", every=2)
    handler.attach(trainer)
    watch(trainer, model, handler)
    trainer.run(batches(4), max_epochs=1)
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(None, 2), (None, 4)]


def test_a_resumed_run_goes_on_counting(model, trainer, tmp_path):
    ExportHandler(model, to=tmp_path, example=example()).attach(trainer)
    trainer.load_state_dict({"epoch": 6, "epoch_length": 3, "max_epochs": 7})
    trainer.run(batches(3))
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(7, 21)]


def test_an_exception_loses_no_complete_epoch_and_is_left_to_the_engine(model, trainer, tmp_path):
    handler = ExportHandler(model, to=tmp_path, example=example())
    handler.attach(trainer)
    moments = watch(trainer, model, handler)

    @trainer.on(Events.ITERATION_COMPLETED(once=5))
    def fail():
        raise RuntimeError("the loop broke")

    with pytest.raises(RuntimeError, match="the loop broke"):
        trainer.run(batches(3), max_epochs=2)
    handler.close()
    assert [s.epoch for s in sources(tmp_path)] == [1]
    assert_versions_are(tmp_path, moments)
    with Store(tmp_path).lock():  # the hook has ended
        pass


SETUP = """
import torch
from torch.nn import functional as F
from ignite.engine import Events, create_supervised_trainer
from exportweb.exporters.ignite import ExportHandler
from models import Tiny, batches, example
model = Tiny()
trainer = create_supervised_trainer(model, torch.optim.SGD(model.parameters(), 0.1), F.cross_entropy)
"""


def test_a_script_whose_evaluation_breaks_loses_no_complete_epoch(tmp_path):
    body = """
        ExportHandler(model, to=sys.argv[1], example=example()).attach(trainer)
        @trainer.on(Events.EPOCH_COMPLETED(once=1))
        def evaluate():
            raise RuntimeError("evaluation broke")
        trainer.run(batches(3), max_epochs=3)
    """
    done = run(body, tmp_path, setup=SETUP)
    assert done.returncode == 1 and "evaluation broke" in done.stderr
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(1, 3)]


def test_the_page_stays_after_training_until_ctrl_c_if_asked_to(tmp_path):
    body = """
        ExportHandler(model, to=sys.argv[1], example=example(), serve=True, port=0, wait=True).attach(trainer)
        trainer.run(batches(3), max_epochs=1)
        print("the script goes on", flush=True)
    """
    words = script(body, tmp_path, setup=SETUP)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "while it trains" in process.stdout.readline()
    assert "stays on http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rest.splitlines()[-1] == "the script goes on"
    assert [s.epoch for s in sources(tmp_path)] == [1]
