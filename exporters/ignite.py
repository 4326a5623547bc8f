"""PyTorch-Ignite: ``ExportHandler(model, labels=labels, serve=True).attach(trainer, evaluator)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ignite import distributed
from ignite.engine import Engine, Events
from torch import nn

from exportweb.exporters.callback import Options, TrainingHook

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ExportHandler(TrainingHook):
    """Publishes `model` while an engine trains it, with the metrics of the engine and of its evaluator.

    Takes all options of `export_hook`; with ``unit="step"`` the engine's iterations are counted. The handler leaves exceptions to the
    engine: the complete epochs are published all the same, and the hook ends with the process, with the next run, or by `close`.
    """

    def __init__(self, model: nn.Module, *, wait: bool = False, **options: Unpack[Options]) -> None:
        super().__init__(wait=wait, **options)
        self._model = model

    def attach(self, trainer: Engine, evaluator: Engine | None = None) -> None:
        """Listen to the engine that trains, and to the one that evaluates after an epoch, whichever handler comes first there."""
        self._evaluated: dict[str, object] = {}
        trainer.add_event_handler(Events.STARTED, self._started)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._begun)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._begun)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._iterated)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        trainer.add_event_handler(Events.COMPLETED, self._completed)
        if evaluator is not None:
            evaluator.add_event_handler(Events.COMPLETED, self._evaluation_completed)

    def _started(self, trainer: Engine) -> None:
        self._attach(self._model, first=distributed.get_rank() == 0, epoch=trainer.state.epoch, step=trainer.state.iteration)

    def _begun(self, trainer: Engine) -> None:
        self._mark(lambda: self._metrics(trainer))
        self._evaluated = {}

    def _iterated(self, trainer: Engine) -> None:
        self._stepped(trainer.state.iteration)

    def _epoch_completed(self, trainer: Engine) -> None:
        self._epoch_ended(trainer.state.epoch)

    def _completed(self, trainer: Engine) -> None:
        self._detach(metrics=lambda: self._metrics(trainer))

    def _metrics(self, trainer: Engine) -> dict[str, object]:
        return {**trainer.state.metrics, **self._evaluated}

    def _evaluation_completed(self, evaluator: Engine) -> None:
        self._evaluated = dict(evaluator.state.metrics)
