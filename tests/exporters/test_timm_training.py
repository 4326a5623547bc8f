from __future__ import annotations

import argparse

import pytest
import torch

timm = pytest.importorskip("timm")

from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask
from timm.utils import CheckpointSaver, ModelEmaV3

from exportweb.errors import ExportError
from exportweb.exporters.timm_training import ExportSaver
from models import LABELS, batches, example, train_round
from moments import assert_versions_are, moment
from published import sources


@pytest.fixture
def optimizer(model):
    return create_optimizer_v2(model, opt="sgd", lr=0.1)


@pytest.fixture
def checkpoints(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return {"checkpoint_dir": str(folder), "recovery_dir": str(folder)}


def test_what_is_saved_is_published(model, optimizer, checkpoints, tmp_path):
    saver = CheckpointSaver(model, optimizer, args=argparse.Namespace(model="tiny", eval_metric="top1"), **checkpoints)
    saver = ExportSaver(saver, to=tmp_path / "store", example=example(), labels=LABELS)
    moments = []
    for epoch, top1 in enumerate([50.0, 25.0]):
        model.train()
        train_round(model, optimizer, batches(3))
        model.eval()
        best = saver.save_checkpoint(epoch, metric=top1, loss=torch.tensor(0.5))
        moments.append(moment(model))
        assert saver.hook.flush(30)
    saver.close()
    assert best == (50.0, 0) == (saver.best_metric, saver.best_epoch)
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]
    assert [s.metrics for s in sources(tmp_path / "store")] == [{"top1": 50.0, "loss": 0.5}, {"top1": 25.0, "loss": 0.5}]
    assert_versions_are(tmp_path / "store", moments)
    assert (tmp_path / "checkpoints" / "model_best.pth.tar").exists()


def test_the_averaged_model_is_preferred(model, optimizer, checkpoints, tmp_path):
    average = ModelEmaV3(model, decay=0.5)
    saver = ExportSaver(
        CheckpointSaver(model, optimizer, model_ema=average, **checkpoints), to=tmp_path / "store", example=example(), every=2
    )
    moments = []
    for epoch in range(4):
        model.train()
        train_round(model, optimizer, batches(1))
        average.update(model)
        saver.save_checkpoint(epoch)
        moments.append(moment(average.module))
        assert saver.hook.flush(30)
    saver.close()
    assert not torch.equal(model.head.weight, average.module.head.weight)
    assert [(s.epoch, s.metrics) for s in sources(tmp_path / "store")] == [(2, {}), (4, {})]
    assert_versions_are(tmp_path / "store", [moments[1], moments[3]])


def test_the_model_of_a_training_task_is_found_and_so_is_its_average(model, optimizer, checkpoints, tmp_path):
    task = ClassificationTask(model, criterion_kwargs={"smoothing": 0.1}, device=torch.device("cpu"), verbose=False)
    task.setup_ema(decay=0.5)
    saver = CheckpointSaver(task.get_trainable_module(), optimizer, task=task, **checkpoints)
    saver = ExportSaver(saver, to=tmp_path / "store", example=example())
    images, labels = batches(1)[0]
    task(images, labels)["loss"].backward()
    optimizer.step()
    task.update_ema(step=1)
    saver.save_checkpoint(0, metric=1.0)
    saver.close()
    assert [(s.epoch, s.metrics) for s in sources(tmp_path / "store")] == [(1, {"metric": 1.0})]
    assert_versions_are(tmp_path / "store", [moment(task.get_trainable_module(ema=True).module)])


def test_an_exception_loses_no_complete_epoch_and_publishes_no_half_one(model, optimizer, checkpoints, tmp_path):
    saver = ExportSaver(CheckpointSaver(model, optimizer, **checkpoints), to=tmp_path / "store", example=example())

    def train():
        train_round(model, optimizer, batches(2))
        saver.save_checkpoint(0)
        train_round(model, optimizer, batches(1))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # timm's script catches it, and ends
        train()
    saver.close()
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 2)]


@pytest.mark.parametrize(("options", "message"), [({"unit": "step"}, "saves epochs"), ({"every": 0}, "every should be 1 or more; got 0")])
def test_options_that_a_saver_cannot_follow_are_named(model, optimizer, checkpoints, options, message):
    with pytest.raises(ExportError, match=message):
        ExportSaver(CheckpointSaver(model, optimizer, **checkpoints), **options)
