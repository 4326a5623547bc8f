"""Lightning: ``Trainer(callbacks=[ExportCallback(labels=labels, serve=True)])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from exportweb.exporters.callback import TrainingHook

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:  # the same library under its older name
        from pytorch_lightning import Callback


class ExportCallback(TrainingHook, Callback):
    """Publishes the model that a `Trainer` fits, with the metrics that were logged in the epoch.

    The LightningModule itself is the model if its `forward` answers with class scores: ``example_input_array`` shows what it takes. Where
    it holds the model, say which module that is: ``ExportCallback(model="backbone")`` or ``model=lambda module: module.backbone``.
    Takes all options of `export_hook`. Works in trainers of `lightning` and of `pytorch_lightning`.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach, now that the model is on its device and, in a run that is resumed, has its weights back."""
        self._logged: dict[str, object] = {}
        self._global_step = trainer.global_step
        shown = pl_module.example_input_array if self._chosen(pl_module) is pl_module else None
        self._attach(
            pl_module,
            first=trainer.is_global_zero,
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            example=shown if isinstance(shown, torch.Tensor) else None,
        )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Mark the step before, if steps are counted."""
        self._mark(lambda: self._metrics(trainer))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Notice a step; a batch whose gradients are only accumulated is none."""
        if trainer.global_step != self._global_step:
            self._global_step = trainer.global_step
            self._stepped(trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notice the end of an epoch, which in Lightning comes after its validation."""
        self._epoch_ended(trainer.current_epoch + 1)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the epoch before, with what the module's own `on_train_epoch_end` logged, too."""
        self._mark(lambda: self._metrics(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the last epoch and end."""
        self._detach(metrics=lambda: self._metrics(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End. An epoch whose validation failed was whole."""
        if trainer.validating and trainer.is_last_batch:
            self._epoch_ended(trainer.current_epoch + 1)
        self._detach(exception, metrics=lambda: self._metrics(trainer))

    def _metrics(self, trainer: Trainer) -> dict[str, object]:
        """Return what was logged since the last mark: Lightning keeps showing older values, but as the same objects."""
        now = dict(trainer.callback_metrics)
        fresh = {name: value for name, value in now.items() if value is not self._logged.get(name)}
        self._logged = now
        return fresh
