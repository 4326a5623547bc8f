from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.nn import functional as F

from exportweb import Store
from exportweb.errors import ExportError
from exportweb.exporters.detectron2 import ExportHook
from models import Tiny, batches, example
from moments import assert_versions_are, moment
from published import sources

installed = pytest.mark.skipif(importlib.util.find_spec("detectron2") is None, reason="detectron2 is not installed")


class Classifier(Tiny):
    """A model as detectron2's trainers take them: in training it answers with its losses."""

    def forward(self, data):
        if not self.training:
            return super().forward(data)
        images, labels = data
        return {"loss_class": F.cross_entropy(super().forward(images), labels)}


def trainer_of(model, hook, *, fail_at=None):
    """A trainer that keeps the weights of each iteration; its model fails in iteration `fail_at`, counted from 0."""
    from detectron2.engine import HookBase, SimpleTrainer

    class Watch(HookBase):
        def __init__(self):
            self.moments = []

        def before_step(self):
            assert hook.hook.flush(30)  # only for the test: a loop this quick would skip versions
            if self.trainer.iter == fail_at:
                raise RuntimeError("the loop broke")

        def after_step(self):
            self.moments.append(moment(model))

    trainer = SimpleTrainer(model, batches(8), torch.optim.SGD(model.parameters(), 0.1))
    watch = Watch()
    trainer.register_hooks([hook, watch])
    return trainer, watch


@pytest.mark.skipif(importlib.util.find_spec("detectron2") is not None, reason="detectron2 is installed")
def test_without_detectron2_the_error_says_so():
    with pytest.raises(ExportError, match="needs detectron2, which can't be imported"):
        ExportHook(every=2)


@installed
def test_iterations_are_counted_and_their_losses_shown(tmp_path):
    hook = ExportHook(every=2, to=tmp_path, example=example())
    trainer, watch = trainer_of(Classifier(), hook)
    trainer.train(0, 5)
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(None, 2), (None, 4), (None, 5)]  # and always the last
    assert [set(s.metrics) for s in sources(tmp_path)] == [{"total_loss"}, {"total_loss"}, set()]
    assert_versions_are(tmp_path, [watch.moments[i] for i in (1, 3, 4)])


@installed
def test_a_resumed_run_goes_on_counting(tmp_path):
    trainer, _ = trainer_of(Classifier(), ExportHook(every=2, to=tmp_path, example=example()))
    trainer.train(101, 104)
    assert [s.step for s in sources(tmp_path)] == [102, 104]


@installed
def test_an_exception_ends_the_hook_and_keeps_what_was_published(tmp_path):
    trainer, watch = trainer_of(Classifier(), ExportHook(every=2, to=tmp_path, example=example()), fail_at=3)
    with pytest.raises(RuntimeError, match="the loop broke"):
        trainer.train(0, 8)
    assert [s.step for s in sources(tmp_path)] == [2]
    assert_versions_are(tmp_path, [watch.moments[1]])
    with Store(tmp_path).lock():  # the hook has ended
        pass


@installed
def test_a_model_that_cannot_be_exported_says_so_before_the_first_iteration(tmp_path):
    trainer, watch = trainer_of(Classifier(), ExportHook(to=tmp_path))
    with pytest.raises(ExportError, match="Show an example"):
        trainer.train(0, 2)
    assert watch.moments == []


@installed
def test_epochs_are_not_what_a_trainer_counts():
    with pytest.raises(ExportError, match="unit should be 'step'; got 'epoch'"):
        ExportHook(unit="epoch")


def boxes(count):
    """Pictures with an object, as detectron2's loaders give them."""
    from detectron2.structures import BitMasks, Boxes, Instances

    for i in range(count):
        masks = torch.zeros(1, 64, 96, dtype=torch.bool)
        masks[:, 10:40, 20:60] = True
        objects = Instances((64, 96), gt_boxes=Boxes(torch.tensor([[20.0, 10.0, 60.0, 40.0]])), gt_classes=torch.tensor([1]))
        objects.gt_masks = BitMasks(masks)
        picture = torch.randint(0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(i)).to(torch.uint8)
        yield [{"image": picture, "instances": objects}]


@installed
@pytest.mark.parametrize("own", [True, False])
def test_sizes_and_names_of_a_detector_come_from_the_configuration(tmp_path, own):
    from detectron2.data import MetadataCatalog
    from detectron2.engine import SimpleTrainer

    from detectron2s import build, config

    MetadataCatalog.get("exportweb_shapes").set(thing_classes=["circle", "square", "star"])
    cfg = config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", "DATASETS.TRAIN", ("exportweb_shapes",))
    cfg.INPUT.MASK_FORMAT = "bitmask"
    model = build(cfg).train()
    trainer = SimpleTrainer(model, list(boxes(4)), torch.optim.SGD(model.parameters(), 1e-4))
    trainer.register_hooks([ExportHook(every=2, to=tmp_path, cfg=None if own else cfg)])
    if own:
        trainer.cfg = cfg  # as a DefaultTrainer has it
    try:
        trainer.train(0, 4)
    finally:
        MetadataCatalog.remove("exportweb_shapes")
    card = Store(tmp_path).card(2)
    assert (card.task, card.labels, card.input.resize_height) == ("instance-segmentation", ("circle", "square", "star"), 96)
    assert (card.source.step, card.fallback) == (4, None)
    assert set(Store(tmp_path).card(1).source.metrics) >= {"total_loss", "loss_mask", "loss_rpn_cls"}
