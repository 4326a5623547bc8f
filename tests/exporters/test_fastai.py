from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("fastai")

from fastai.callback.core import Callback, CancelFitException
from fastai.callback.schedule import lr_find  # noqa: F401 (gives the Learner its method)
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.metrics import accuracy

from exportweb.exporters.fastai import ExportCallback
from models import Tiny, batches, example
from moments import assert_versions_are, moment
from published import sources
from scripts import run


class Watch(Callback):
    """Keeps the weights of each epoch. Waits for the store, only for the test: a loop this quick would skip versions."""

    def __init__(self, export):
        self.export = export
        self.moments = []

    def before_batch(self):
        assert self.export.hook.flush(30)

    def after_epoch(self):
        self.moments.append(moment(self.learn.model))


class FailAt(Callback):
    """Raises in a batch of the second epoch."""

    def __init__(self, error):
        self.error = error

    def before_batch(self):
        if self.learn.epoch == 1 and self.learn.iter == 1 and self.learn.training:
            raise self.error


def learner(folder):
    """A learner with 3 batches to train on."""
    torch.manual_seed(0)
    images, labels = (torch.cat(tensors) for tensors in zip(*batches(3), strict=True))
    data = list(zip(images, labels, strict=True))
    dls = DataLoaders(DataLoader(data, bs=8), DataLoader(data, bs=8))
    learn = Learner(dls, Tiny(), loss_func=F.cross_entropy, metrics=accuracy, path=folder)
    learn.remove_cbs([cb for cb in learn.cbs if cb.name == "progress"])
    learn.logger = lambda _: None
    return learn


def callback(folder, **options):
    return ExportCallback(to=folder / "store", example=example(), **options)


def test_every_epoch_is_published_with_what_the_recorder_shows(tmp_path):
    learn = learner(tmp_path)
    export = callback(tmp_path)
    watch = Watch(export)
    learn.fit(2, cbs=[export, watch])
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]
    names = ("train_loss", "valid_loss", "accuracy")
    assert [s.metrics for s in sources(tmp_path / "store")] == [dict(zip(names, row, strict=True)) for row in learn.recorder.values]
    assert_versions_are(tmp_path / "store", watch.moments)


def test_steps_can_be_counted_instead_and_accumulated_batches_are_none(tmp_path):
    export = callback(tmp_path, unit="step", every=2)
    learner(tmp_path).fit(4, cbs=[export, Watch(export), GradientAccumulation(n_acc=16)])
    # Twelve batches, two of which make a step.
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(None, 2), (None, 4), (None, 6)]
    assert [set(s.metrics) for s in sources(tmp_path / "store")] == [{"train_loss"}] * 3


def test_a_callback_of_the_learner_itself_is_quiet_outside_training(tmp_path):
    learn = learner(tmp_path)
    learn.add_cb(callback(tmp_path))
    learn.lr_find(num_it=3, show_plot=False)
    learn.validate()
    assert not (tmp_path / "store").exists()
    learn.fit(1)
    learn.validate()
    learn.get_preds()
    assert [s.epoch for s in sources(tmp_path / "store")] == [1]
    assert learn.export.__func__ is Learner.export  # the callback doesn't stand in its way


def test_validation_within_training_is_no_epoch(tmp_path):
    class Validates(Callback):
        def after_train(self):  # of each epoch; `validate` doesn't train
            self.learn.validate()

    export = callback(tmp_path)
    learner(tmp_path).fit(2, cbs=[export, Watch(export), Validates()])
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]


def test_a_resumed_run_goes_on_counting(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1, cbs=callback(tmp_path))
    learn.fit(2, cbs=callback(tmp_path), start_epoch=1)
    assert [s.epoch for s in sources(tmp_path / "store")] == [1, 2]


def test_cancelling_loses_no_complete_epoch_and_publishes_no_half_one(tmp_path):
    export = callback(tmp_path)
    watch = Watch(export)
    learner(tmp_path).fit(3, cbs=[export, watch, FailAt(CancelFitException())])
    assert [s.epoch for s in sources(tmp_path / "store")] == [1]
    assert_versions_are(tmp_path / "store", watch.moments)


def test_a_notebook_that_interrupted_its_training_begins_anew(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        learner(tmp_path).fit(3, cbs=[callback(tmp_path), FailAt(KeyboardInterrupt())])
    learner(tmp_path).fit(1, cbs=callback(tmp_path))
    assert "another training of this process" in caplog.text
    assert [s.epoch for s in sources(tmp_path / "store")] == [1, 1]


def test_an_exception_in_a_script_loses_no_complete_epoch(tmp_path):
    body = f"""
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_fastai import FailAt, callback, learner

        folder = Path(sys.argv[1])
        learner(folder).fit(3, cbs=[callback(folder), FailAt(RuntimeError("the loop broke"))])
    """
    done = run(body, tmp_path, MPLBACKEND="agg")
    assert done.returncode == 1 and "the loop broke" in done.stderr
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3)]
