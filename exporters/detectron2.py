"""detectron2: ``trainer.register_hooks([ExportHook(every=1000)])``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exportweb.errors import ExportError
from exportweb.exporters import detectron2_models
from exportweb.exporters.callback import TrainingHook
from exportweb.exporters.detectron2_config import configure
from exportweb.exporters.unwrap import unwrap

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch import nn
    from typing_extensions import Unpack

    from exportweb.exporters.callback import Options

__all__ = ["ExportHook", "configure"]

_missing: ImportError | None = None
try:
    from detectron2.engine import HookBase
    from detectron2.utils import comm
except ImportError as error:
    HookBase, _missing = object, error

_CLOCKS = ("time", "data_time", "rank_data_time", "eta_seconds")  # what a trainer measures of itself


class ExportHook(TrainingHook, HookBase):
    """Publishes the model of a trainer, with the scalars of its event storage, whichever of the trainer's hooks put them there.

    A detectron2 trainer counts iterations, so `every` does; takes all other options of `export_hook`. How large images are and what classes
    are called comes from the trainer's configuration; `cfg` is for a trainer that has none (see `configure`). A model that can't be
    exported says so before the first iteration. Raises `ExportError` when made where detectron2 is missing.
    """

    def __init__(
        self,
        model: Callable[[Any], nn.Module] | str | None = None,
        *,
        cfg: Any = None,
        wait: bool = False,
        **options: Unpack[Options],
    ) -> None:
        if _missing is not None:
            raise ExportError(
                f"exportweb.exporters.detectron2 needs detectron2, which can't be imported ({_missing}). "
                "Install it for this Python, as its own instructions say."
            ) from _missing
        if options.setdefault("unit", "step") != "step":
            raise ExportError(f"A detectron2 trainer counts iterations, so unit should be 'step'; got {options['unit']!r}.")
        options.setdefault("every", 1000)
        super().__init__(model, wait=wait, **options)
        self._cfg = cfg

    def before_train(self) -> None:
        """Attach, now that the model is on its device and, in a run that is resumed, has its weights back."""
        self._marked = self.trainer.start_iter - 1
        cfg, model = self._cfg or getattr(self.trainer, "cfg", None), self._chosen(self.trainer.model)
        if cfg is not None and detectron2_models.recognises(unwrap(model)):
            configure(model, cfg)
        self._attach(self.trainer.model, first=comm.is_main_process(), step=self.trainer.start_iter)

    def before_step(self) -> None:
        """Mark the iteration before."""
        self._mark(self._scalars)

    def after_step(self) -> None:
        """Notice an iteration."""
        self._stepped(self.trainer.iter + 1)

    def after_train(self) -> None:
        """End; a trainer comes here after an exception, too."""
        whole = self.trainer.iter >= self.trainer.max_iter
        self._detach(None if whole else InterruptedError(), metrics=self._scalars)

    def _scalars(self) -> dict[str, object]:
        """Return the scalars that were put into the storage since the last mark."""
        latest = self.trainer.storage.latest()
        fresh = {name: value for name, (value, iteration) in latest.items() if iteration > self._marked and name not in _CLOCKS}
        self._marked = max((iteration for _, iteration in latest.values()), default=self._marked)
        return fresh
