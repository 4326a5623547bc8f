from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

from exportweb import Store, artifact
from exportweb.exporters.transformers import ExportCallback
from models import LABELS, SIZE, Tiny, example
from moments import assert_versions_are, moment
from published import sources
from scripts import run


class Classifier(Tiny):
    """A model as the Trainer takes them: with labels it answers with its loss, too."""

    def forward(self, pixel_values, labels=None):
        logits = super().forward(pixel_values)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Watch(TrainerCallback):
    """Keeps the weights of each epoch. Waits for the store, only for the test: a loop this quick would skip versions."""

    def __init__(self, export):
        self.export = export
        self.moments = []

    def on_step_begin(self, args, state, control, **kwargs):
        assert self.export.hook.flush(30)

    def on_save(self, args, state, control, **kwargs):
        assert self.export.hook.flush(30)

    def on_epoch_end(self, args, state, control, model, **kwargs):
        self.moments.append(moment(model))


class Stop(Watch):
    """Presses Ctrl-C in the second epoch."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise KeyboardInterrupt


def data():
    random = torch.Generator().manual_seed(0)
    return [{"pixel_values": torch.rand(3, SIZE, SIZE, generator=random), "labels": i % 4} for i in range(24)]


def train(folder, *, callback=None, watching=Watch, model=None, resume=None, metrics=None, **options):
    """Train for 2 epochs of 3 steps; return what watched."""
    callback = callback or ExportCallback(to=folder / "store", example=example())
    watch = watching(callback)
    torch.manual_seed(0)
    arguments = {
        "output_dir": str(folder / "checkpoints"),
        "num_train_epochs": 2,
        "learning_rate": 0.01,
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": [],
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    trainer = Trainer(
        model or Classifier(),
        TrainingArguments(**{**arguments, **options}),
        train_dataset=data(),
        eval_dataset=data(),
        callbacks=[callback, watch],
        compute_metrics=metrics,
    )
    trainer.train(resume_from_checkpoint=resume)
    return watch


def test_every_epoch_is_published_with_its_loss_and_the_metrics_of_its_evaluation(tmp_path):
    accuracies = iter([0.25, 0.5])
    watch = train(tmp_path, eval_strategy="epoch", metrics=lambda prediction: {"accuracy": next(accuracies)})
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]
    assert [set(s.metrics) for s in sources(tmp_path / "store")] == [{"loss", "eval_loss", "eval_accuracy"}] * 2
    assert [s.metrics["eval_accuracy"] for s in sources(tmp_path / "store")] == [0.25, 0.5]
    assert_versions_are(tmp_path / "store", watch.moments)


def test_evaluation_within_an_epoch_is_no_epoch(tmp_path):
    train(tmp_path, eval_strategy="steps", eval_steps=1)
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]


def test_the_best_model_is_published_last(tmp_path):
    accuracies = iter([0.75, 0.5, 0.25])
    watch = train(
        tmp_path,
        num_train_epochs=3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        metrics=lambda prediction: {"accuracy": next(accuracies)},
    )
    found = sources(tmp_path / "store")
    assert [(s.epoch, s.step) for s in found] == [(1, 3), (2, 6), (3, 9), (1, 3)]
    assert found[-1].metrics == {"accuracy": 0.75}
    assert_versions_are(tmp_path / "store", [*watch.moments, watch.moments[0]])


def test_steps_are_counted_as_the_trainer_counts_them(tmp_path):
    callback = ExportCallback(to=tmp_path / "store", example=example(), unit="step", every=2)
    train(
        tmp_path,
        callback=callback,
        logging_strategy="steps",
        logging_steps=1,
        gradient_accumulation_steps=2,
        per_device_train_batch_size=4,
    )
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(None, 2), (None, 4), (None, 6)]
    assert [set(s.metrics) for s in sources(tmp_path / "store")] == [{"loss"}] * 3


def test_a_resumed_run_goes_on_counting(tmp_path):
    train(tmp_path, num_train_epochs=1, save_strategy="epoch")
    train(tmp_path, resume=str(tmp_path / "checkpoints" / "checkpoint-3"))
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3), (2, 6)]
    assert [set(s.metrics) for s in sources(tmp_path / "store")] == [{"loss"}, {"loss"}]


def test_a_model_of_the_library_needs_no_example_and_brings_its_labels(tmp_path):
    config = ViTConfig(
        image_size=SIZE,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(LABELS)),
    )
    model = ViTForImageClassification(config)
    watch = train(tmp_path, callback=ExportCallback(to=tmp_path / "store"), model=model, num_train_epochs=1)
    card = artifact.read(Store(tmp_path / "store").path(1)).card
    assert (card.labels, card.source.framework, card.input.height) == (tuple(LABELS), "transformers", SIZE)
    assert_versions_are(tmp_path / "store", watch.moments)


def test_training_in_half_precision_publishes_in_full(tmp_path):
    watch = train(tmp_path, num_train_epochs=1, bf16=True)
    assert_versions_are(tmp_path / "store", watch.moments)


def test_an_exception_in_a_script_loses_no_complete_epoch(tmp_path):
    body = f"""
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_transformers import Classifier, TrainerCallback, train

        class Breaks(Classifier):
            def forward(self, pixel_values, labels=None):
                if self.training and labels is not None:
                    self.calls = getattr(self, "calls", 0) + 1
                    if self.calls == 6:
                        raise RuntimeError("the loop broke")
                return super().forward(pixel_values, labels)

        train(Path(sys.argv[1]), model=Breaks())
    """
    done = run(body, tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and "the loop broke" in done.stderr
    assert [(s.epoch, s.step) for s in sources(tmp_path / "store")] == [(1, 3)]


def test_a_notebook_that_interrupted_its_training_begins_anew(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, watching=Stop)
    train(tmp_path)
    assert "another training of this process" in caplog.text
    assert [s.epoch for s in sources(tmp_path / "store")] == [1, 1, 2]
