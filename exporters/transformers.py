"""Hugging Face Transformers: ``Trainer(callbacks=[ExportCallback(serve=True)])``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from exportweb.exporters.callback import TrainingHook

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainerControl, TrainerState, TrainingArguments

_SPEED = ("_runtime", "_per_second", "_preparation_time")  # what the Trainer adds about itself


class ExportCallback(TrainingHook, TrainerCallback):
    """Publishes the model that a `Trainer` trains, with its loss and, where the epoch was evaluated, the metrics of that.

    With ``load_best_model_at_end`` the best model is published last. Takes all options of `export_hook`. A Trainer doesn't tell its
    callbacks of an exception: the complete epochs are published all the same, and the hook ends with the process, with the next
    training, or by `close`.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        """Attach, now that the model is on its device and, in a run that is resumed, has its weights back."""
        self._metrics: dict[str, object] = {}
        self._attach(model, first=state.is_world_process_zero, epoch=int(state.epoch or 0), step=state.global_step)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the step before, if steps are counted."""
        self._mark(self._seen)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notice a step."""
        self._stepped(state.global_step)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notice the end of an epoch. It is logged, evaluated and saved after this."""
        self._epoch_ended(math.ceil(state.epoch or 0))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, object], **kwargs: Any) -> None:
        """Keep the training loss."""
        if "loss" in logs:
            self._metrics["loss"] = logs["loss"]

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, object], **kwargs: Any
    ) -> None:
        """Keep the metrics; with several sets to evaluate on, this is called for each."""
        self._metrics.update({name: value for name, value in metrics.items() if not name.endswith(_SPEED)})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark what was evaluated and saved, before the best model takes its place."""
        self._mark(self._seen)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the epoch before."""
        self._mark(self._seen)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the last epoch, or the best one if that has been loaded, and end."""
        best = state.best_global_step if args.load_best_model_at_end else None
        if best is not None and best != state.global_step:
            epoch = math.ceil(next(entry["epoch"] for entry in state.log_history if entry["step"] == best))
            self._epoch_ended(epoch, step=best)
            self._stepped(best)
            self._metrics = {str(args.metric_for_best_model): state.best_metric}
        self._detach(metrics=self._seen)

    def _seen(self) -> dict[str, object]:
        """Return the metrics since the last mark."""
        seen, self._metrics = self._metrics, {}
        return seen
