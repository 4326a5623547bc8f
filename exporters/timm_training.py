"""timm's way of training: ``saver = ExportSaver(saver, serve=True)``, one line after its train.py has made the saver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm.utils
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.callback import Options, scalars
from exportweb.exporters.hook import ExportHook, export_hook

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ExportSaver:
    """Stands in for a `timm.utils.CheckpointSaver`: does all that it does, and publishes what it saves.

    The model is the saver's; its averaged one (EMA), if it has one, since that is the one timm's script evaluates. Versions carry the
    metric of `save_checkpoint` under the name of ``args.eval_metric``. Takes all options of `export_hook` but `unit`: with
    ``every=2`` every second epoch is published. As in timm's script, the saver is made on rank 0 alone. The hook ends with the
    process, or by `close`.
    """

    hook: ExportHook

    def __init__(self, saver: timm.utils.CheckpointSaver, **options: Unpack[Options]) -> None:
        if options.get("unit", "epoch") != "epoch":
            raise ExportError(f"A saver saves epochs, so unit should be 'epoch'; got {options['unit']!r}.")
        self.saver = saver
        self._every = options.pop("every", 1)
        if self._every < 1:
            raise ExportError(f"every should be 1 or more; got {self._every}.")
        self.hook = export_hook(_published(saver), **options)
        self.hook.begin()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.saver, name)

    def save_checkpoint(self, epoch: int, metric: float | None = None, **metrics: object) -> tuple[float | None, int | None]:
        """Save and publish epoch number `epoch`, counted from 0 here and from 1 on the card. Returns the best metric and its epoch.

        `metric` ranks the checkpoints, as in timm; `metrics` are only shown: ``save_checkpoint(epoch, metric=top1, **eval_metrics)``.
        """
        # `every` is not left to the hook: after an exception it would take the averaged model, which no optimizer steps, for unchanged.
        if (epoch + 1) % self._every == 0:
            name = getattr(self.saver.args, "eval_metric", None) or "metric"
            values: dict[str, Any] = scalars({**metrics, name: metric})
            self.hook.step(epoch=epoch + 1, **values)
        best: tuple[float | None, int | None] = self.saver.save_checkpoint(epoch, metric=metric)
        return best

    def close(self) -> None:
        """End the hook."""
        self.hook.close()


def _published(saver: timm.utils.CheckpointSaver) -> nn.Module:
    """Return the module whose weights are published: the averaged one if there is one, without what wraps it."""
    task = getattr(saver, "task", None)  # newer scripts give the saver their training task instead of an averaged model
    if task is not None:
        model = task.get_eval_model(ema=True)
        model = task.get_eval_model() if model is None else model
    else:
        model = saver.model if saver.model_ema is None else saver.model_ema
    module: nn.Module = timm.utils.unwrap_model(model)
    return module
