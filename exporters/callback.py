"""What the callbacks of all training libraries share: the hook, attached when training begins, told of each epoch, ended with it."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.exporter import default_name
from exportweb.exporters.hook import ExportHook, export_hook
from exportweb.exporters.sharded import is_sharded

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger("exportweb")


class Options(TypedDict, total=False):
    """The options of `export_hook`, which every callback takes."""

    every: int
    to: str | os.PathLike[str] | None
    unit: Literal["epoch", "step"]
    name: str | None
    task: str | None
    labels: Sequence[str] | None
    example: torch.Tensor | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    precision: Literal["fp32", "fp16"]
    serve: bool
    host: str
    port: int
    device: str
    keep: int
    keep_best: str | None


class TrainingHook:
    """Base of the callbacks: it knows the hook, they know their library.

    - `model`: which module is the classifier, where that is not the whole of what the library trains: its name in there, or a function
      that picks it.
    - `wait`: keep the page up after training until Ctrl-C.
    - `options`: those of `export_hook`.

    An epoch (or step) that has ended is marked a little later, when the next one begins or training is over: only then has the library
    all its metrics. `hook` is the hook of the present or last run, None before the first.
    """

    hook: ExportHook | None = None

    def __init__(self, model: Callable[[Any], nn.Module] | str | None = None, *, wait: bool = False, **options: Unpack[Options]) -> None:
        inspect.signature(export_hook).bind(None, **options)  # a misspelt option is an error here, not when training begins
        self._choice = model
        self._wait = wait
        self._options = options
        self._by_step = options.get("unit") == "step"
        self._every = options.get("every", 1)
        self._ended: dict[str, int] | None = None

    def close(self) -> None:
        """End the hook, where training was broken off and the library doesn't say so; else that happens by itself."""
        self._detach(InterruptedError())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "hook": None}  # the trainers that are pickled with their callbacks don't take the threads along

    # -- what a library's callback calls -----------------------------------------------------------------------------

    def _attach(self, model: nn.Module, *, first: bool = True, epoch: int = 0, step: int = 0, example: torch.Tensor | None = None) -> None:
        """Training begins, on a device, after `epoch` epochs and `step` optimizer steps of the run that it resumes.

        Called on every rank, as all that follows, since the weights may be spread over them; `first` says whether the library takes this
        one for the first, for where ranks are none of `torch.distributed`'s. `example` is the library's own, for where the user gave
        none. Raises what `export_hook` does.
        """
        self.close()
        if not first and not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        chosen = self._chosen(model)
        options = Options(**self._options)
        if example is not None:
            options.setdefault("example", example)
        self._place = _place(chosen, options)
        if (earlier := _attached.get(self._place)) is not None:
            log.warning("exportweb: another training of this process published into %s; from now on this one does", self._place)
            earlier.close()
        self._module, self._ended = chosen, None
        self.hook = export_hook(chosen, **options)
        self.hook.begin(epoch=epoch, step=step)
        _attached[self._place] = self
        atexit.register(self._mark_alone)  # runs before the hook's own, which was registered earlier

    def _epoch_ended(self, epoch: int, *, step: int | None = None) -> None:
        """Epoch number `epoch`, counted from 1, has ended; after `step` optimizer steps, where the hook can't count those itself."""
        if not self._by_step:
            self._ended = {"epoch": epoch} if step is None else {"epoch": epoch, "step": step}

    def _stepped(self, step: int) -> None:
        """Step number `step`, counted from 1, has ended."""
        if self._by_step:
            self._ended = {"step": step}

    def _mark(self, metrics: Callable[[], Mapping[str, object]] = dict) -> None:
        """If an epoch or step has ended, tell the hook. `metrics` is asked only for what will be published."""
        if self.hook is None or self._ended is None:
            return
        ended, self._ended = self._ended, None
        values: dict[str, Any] = scalars(metrics()) if not self._by_step or ended["step"] % self._every == 0 else {}
        self.hook.step(epoch=ended.get("epoch"), step=ended.get("step"), **values)

    def _mark_alone(self, metrics: Callable[[], Mapping[str, object]] = dict) -> None:
        """Mark where training was broken off, perhaps in one process alone: what is sharded can't be put together any more."""
        if not is_sharded(self._module):
            self._mark(metrics)

    def _detach(self, error: BaseException | None = None, *, metrics: Callable[[], Mapping[str, object]] = dict) -> None:
        """Training is over; `error` is what ended it, None if it came to its end. Marks what has ended."""
        if self.hook is None or _attached.get(self._place) is not self:
            return
        mark = self._mark if error is None else self._mark_alone
        mark(metrics)
        del _attached[self._place]
        atexit.unregister(self._mark_alone)
        if error is not None:
            self.hook.__exit__(type(error), error, None)
        elif self._wait:
            self.hook.wait()
        else:
            self.hook.close()

    def _chosen(self, model: nn.Module) -> nn.Module:
        if self._choice is None:
            return model
        chosen = getattr(model, self._choice, None) if isinstance(self._choice, str) else self._choice(model)
        if not isinstance(chosen, nn.Module):
            names = ", ".join(name for name, _ in model.named_children()) or "none"
            raise ExportError(
                f"model={self._choice!r} chose {type(chosen).__name__} in {type(model).__name__}, which is no module. Name one of its "
                f"modules ({names}), or give a function that returns one: model=lambda module: module.backbone."
            )
        return chosen


_attached: dict[str, TrainingHook] = {}  # by the place that they publish into: after an interrupt, a notebook begins anew


def _place(model: nn.Module, options: Options) -> str:
    """Name the store, so that two trainings with the same one are told."""
    to = options.get("to")
    return os.fspath(to) if to is not None else options.get("name") or default_name(model)


def scalars(metrics: Mapping[str, object]) -> dict[str, float]:
    """Return those of the metrics that are one number, under names that `ExportHook.step` can take."""
    found = {}
    for name, value in metrics.items():
        if isinstance(value, torch.Tensor):
            value = value.item() if value.numel() == 1 else None
        if isinstance(value, Real) and name not in ("self", "epoch", "step"):
            found[str(name)] = float(value)
    return found
