from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("lightning")
pytorch_lightning = pytest.importorskip("pytorch_lightning")

import lightning.pytorch

from exportweb import Store
from exportweb.errors import ExportError
from exportweb.exporters.lightning import ExportCallback
from models import LABELS, Tiny, batches, example
from moments import assert_versions_are, moment
from published import sources


def module_of(library):
    """A module as Lightning's users write them, that holds its model; its training metric is logged at the epoch's very end."""

    class Classifier(library.LightningModule):
        def __init__(self, *, fail_at=None):
            super().__init__()
            torch.manual_seed(0)
            self.backbone = Tiny()
            self.example_input_array = example()
            self.fail_at = fail_at
            self.moments = []

        def forward(self, x):
            return self.backbone(x)

        def training_step(self, batch, index):
            if self.fail_at == (self.current_epoch, index):
                raise RuntimeError("the loop broke")
            return F.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            if self.fail_at == (self.current_epoch, "validation"):
                raise RuntimeError("validation broke")
            self.log("val/epoch", float(self.current_epoch))
            self.log("scores", torch.tensor([7.0]))

        def on_train_epoch_end(self):
            self.moments.append(moment(self))
            self.log("train/epoch", float(self.current_epoch))
            for callback in self.trainer.callbacks:  # only for the test: a loop this quick would skip versions
                if isinstance(callback, ExportCallback):
                    assert callback.hook.flush(30)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    return Classifier


Classifier = module_of(lightning.pytorch)


def fit(module, callback, folder, *, library=lightning.pytorch, checkpoint=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the number of workers and of logged steps
        trainer = library.Trainer(
            accelerator="cpu",
            callbacks=[callback],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"max_epochs": 2, **options},
        )
        data = torch.utils.data.DataLoader(batches(3), batch_size=None)
        trainer.fit(module, data, data, ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize("library", [lightning.pytorch, pytorch_lightning], ids=lambda library: library.__name__)
def test_every_epoch_is_published_with_all_that_was_logged_in_it(tmp_path, library):
    module = module_of(library)()
    fit(module, ExportCallback(to=tmp_path / "store", labels=LABELS), tmp_path, library=library)
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]
    assert [s.metrics for s in sources(tmp_path / "store")] == [
        {"val/epoch": 0.0, "scores": 7.0, "train/epoch": 0.0},
        {"val/epoch": 1.0, "scores": 7.0, "train/epoch": 1.0},
    ]
    assert_versions_are(tmp_path / "store", module.moments)


def test_a_metric_of_an_older_epoch_is_not_shown_again(tmp_path):
    fit(Classifier(), ExportCallback(to=tmp_path / "store"), tmp_path, check_val_every_n_epoch=2, max_epochs=3)
    assert [set(s.metrics) for s in sources(tmp_path / "store")] == [
        {"train/epoch"},
        {"train/epoch", "val/epoch", "scores"},
        {"train/epoch"},
    ]


@pytest.mark.parametrize("model", ["backbone", lambda module: module.backbone])
def test_the_model_that_the_module_holds_can_be_chosen(tmp_path, model):
    module = Classifier()
    fit(module, ExportCallback(model, to=tmp_path / "store", example=example()), tmp_path, max_epochs=1)
    assert_versions_are(tmp_path / "store", [moment(module.backbone)])


def test_a_choice_that_is_no_module_names_those_that_there_are(tmp_path):
    with pytest.raises(ExportError, match=r"model='head' chose NoneType in Classifier.*\(backbone\)"):
        fit(Classifier(), ExportCallback("head", to=tmp_path / "store"), tmp_path)


def test_steps_are_counted_as_the_trainer_counts_them_and_evaluation_within_an_epoch_is_no_epoch(tmp_path):
    class Flush(lightning.pytorch.Callback):
        def on_train_batch_start(self, *_):
            assert callback.hook.flush(30)

    callback = ExportCallback(to=tmp_path / "store", unit="step", every=2)
    module = Classifier()
    fit(module, callback, tmp_path, accumulate_grad_batches=2, val_check_interval=1)
    # Six batches of two epochs are four steps: the last batch of an epoch is one by itself.
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(None, 2), (None, 4)]
    assert "val/epoch" in sources(tmp_path / "store")[0].metrics

    fit(Classifier(), ExportCallback(to=tmp_path / "epochs"), tmp_path, val_check_interval=1)
    assert [s.epoch for s in sources(tmp_path / "epochs")] == [1, 2]


def test_a_resumed_run_goes_on_counting(tmp_path):
    first = fit(Classifier(), ExportCallback(to=tmp_path / "store"), tmp_path, max_epochs=1)
    first.save_checkpoint(tmp_path / "last.ckpt")
    fit(Classifier(), ExportCallback(to=tmp_path / "store"), tmp_path, checkpoint=tmp_path / "last.ckpt")
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]


def test_an_exception_loses_no_complete_epoch_and_publishes_no_half_one(tmp_path):
    module = Classifier(fail_at=(1, 2))
    callback = ExportCallback(to=tmp_path / "store")
    with pytest.raises(RuntimeError, match="the loop broke"):
        fit(module, callback, tmp_path)
    assert [s.epoch for s in sources(tmp_path / "store")] == [1]
    assert_versions_are(tmp_path / "store", module.moments)
    with Store(tmp_path / "store").lock():  # the hook has ended
        pass


def test_an_epoch_whose_validation_breaks_was_complete(tmp_path):
    module = Classifier(fail_at=(1, "validation"))
    with pytest.raises(RuntimeError, match="validation broke"):
        fit(module, ExportCallback(to=tmp_path / "store"), tmp_path)
    epochs = [s.epoch for s in sources(tmp_path / "store")]
    assert epochs in ([1, 2], [2])  # the first is skipped where the second is over before its turn came
    assert_versions_are(tmp_path / "store", [module.moments[0], moment(module)][-len(epochs) :])


def test_a_compiled_module_publishes_what_was_compiled(tmp_path):
    module = Classifier()
    fit(torch.compile(module, backend="eager"), ExportCallback(to=tmp_path / "store"), tmp_path)
    assert_versions_are(tmp_path / "store", module.moments)


def test_a_loss_with_weights_of_its_own_is_no_part_of_the_graph(tmp_path):
    class Weighted(Classifier):
        def __init__(self):
            super().__init__()
            self.loss = nn.CrossEntropyLoss(weight=torch.ones(len(LABELS)))

    fit(Weighted(), ExportCallback(to=tmp_path / "store"), tmp_path, max_epochs=1)
    assert [s.epoch for s in sources(tmp_path / "store")] == [1]
