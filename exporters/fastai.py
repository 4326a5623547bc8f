"""fastai: ``learn.fit_one_cycle(5, cbs=ExportCallback(serve=True))``."""

from __future__ import annotations

from fastai.callback.core import Callback
from fastai.torch_core import rank_distrib

from exportweb.exporters.callback import TrainingHook


class ExportCallback(TrainingHook, Callback):
    """Publishes the model of a `Learner` while it fits, with what its recorder shows of the epoch.

    fastai's image models don't say what they take: ``example=dls.one_batch()[0]``, and `mean` and `std` where the data is normalised.
    Takes all options of `export_hook`. fastai doesn't tell its callbacks of an exception: the complete epochs are published all the same,
    and the hook ends with the process, with the next training, or by `close`.
    """

    name = "exportweb"  # the Learner's attribute for this callback; by its class it would stand in for `Learner.export`
    order = 55  # after the recorder, which gathers the metrics, and before the callback that loads the best model again

    _depth = 0  # `validate` begins and ends a "fit" of its own, also within one
    _steps = _marked = 0  # fastai's optimizers are its own, which the hook can't see
    _fitting = _trained = _optimized = False

    def before_fit(self) -> None:
        """Keep quiet in a search for the learning rate and in a prediction."""
        self.run = not hasattr(self.learn, "lr_finder") and not hasattr(self.learn, "gather_preds")
        if self.run:
            self._depth += 1

    def before_train(self) -> None:
        """Attach before the first epoch that is trained; a fit that is still open then was broken off."""
        if not self._fitting or self._depth > 1:
            self._depth, self._fitting = 1, True
            self._trained = self._optimized = False
            self._steps = self._marked = 0
            self._attach(self.learn.model, first=rank_distrib() == 0, epoch=self.learn.epoch)
        self._number = self.learn.epoch + 1  # `validate` sets the learner's to 0

    def after_step(self) -> None:
        """Notice a step; a batch whose gradients are only accumulated is none."""
        self._optimized = True
        self._steps += 1

    def after_batch(self) -> None:
        """Mark a step, if steps are counted."""
        if self._optimized:
            self._optimized = False
            self._stepped(self._steps)
            if self._by_step:
                self._marked = self._steps
                self._mark(lambda: {"train_loss": self.learn.recorder.smooth_loss.value})

    def after_train(self) -> None:
        """Notice that the epoch was trained: it may be skipped or broken off, and `validate` ends an epoch, too."""
        self._trained = True

    def after_epoch(self) -> None:
        """Mark the epoch."""
        if self._trained and self._depth == 1:
            self._trained = False
            recorder = self.learn.recorder
            self._marked = self._steps
            self._epoch_ended(self._number, step=self._steps)
            self._mark(lambda: dict(zip(recorder.metric_names, recorder.log, strict=False)))

    def after_fit(self) -> None:
        """End, also where training was cancelled within an epoch."""
        self._depth -= 1
        if self._fitting and self._depth == 0:
            self._fitting = False
            self._detach(None if self._marked == self._steps else InterruptedError())
