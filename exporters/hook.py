"""The hook: one line in a training script, after which its model is on the web while it trains."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import torch
from torch import nn

from exportweb.errors import ExportError, ExportwebError
from exportweb.exporters.exporter import Exporter, default_name
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.publisher import Publisher
from exportweb.exporters.rounds import ModeSwitch, OptimizerSteps, Rounds
from exportweb.exporters.server import Server
from exportweb.exporters.sharded import is_sharded, whole_copy
from exportweb.exporters.unwrap import unwrap
from exportweb.store import Store

log = logging.getLogger("exportweb")

_EXIT_TIMEOUT = 60.0
_EVERY_RANK = "its epochs become versions when every rank calls hook.step(), and the last when every rank calls hook.close()"


def export_hook(
    model: nn.Module,
    every: int = 1,
    *,
    to: str | os.PathLike[str] | None = None,
    unit: Literal["epoch", "step"] = "epoch",
    name: str | None = None,
    task: str | None = None,
    labels: Sequence[str] | None = None,
    example: torch.Tensor | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    precision: Literal["fp32", "fp16"] = "fp32",
    serve: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "cpu",
    keep: int = 10,
    keep_best: str | None = None,
) -> ExportHook:
    """Publish a model's weights while it trains.

    The graph is exported at once, so a model that can't be exported says so now. From then on every `every` epochs (or optimizer
    steps, with ``unit="step"``) become a version in the store `to`, by default ``runs/<name>``. An epoch ends when the loop calls
    `ExportHook.step`; in a loop that never does, when the model goes from training to evaluation or starts its next round of training.

    - `task`: what the model does; by default found from its output.
    - `labels`: the names of the classes, in the order of the model's outputs; by default ``class_0``, ``class_1``, …
    - `example`: images as the model takes them, [N, C, H, W]; needed where the model doesn't say itself what it takes, as timm's do.
    - `mean`, `std`: the normalisation in the training transform, per channel, of values from 0 to 1.
    - `precision`: ``"fp16"`` publishes weights and arithmetic in float16: files of half the size, and quicker on a GPU. Training and
      golden samples stay in float32.
    - `serve`: also start a server with a page on `host` and `port` (another port if that is taken), on `device`; it ends with this process.
    - `keep`: how many versions stay in the store, besides the one that serves and those that are pinned.
    - `keep_best`: the metric of `step` whose best version stays, too: the highest of ``"accuracy"``, or the lowest of ``"-loss"``.

    In a distributed run only rank 0 publishes. Where the model is sharded (FSDP, tensor parallel) its weights come from all ranks: each
    has to call this function and, at the end of an epoch, `ExportHook.step`; `FullyShardedDataParallel` has to wrap the model before.
    Raises `ExportError` if the model can't be exported, `StoreLocked` if another run publishes into the same store.
    """
    hints = Hints(example, None if mean is None else tuple(mean), None if std is None else tuple(std))
    return ExportHook(
        model,
        lambda module: Exporter(module, name=name, task=task, labels=labels, hints=hints, precision=precision),
        Store(to if to is not None else Path("runs") / _slug(name or default_name(model))),
        every=every,
        unit=unit,
        keep=keep,
        keep_best=keep_best,
        serve=(host, port, device) if serve else None,
    )


class ExportHook:
    """What `export_hook` returns. Also a context manager, which closes it.

    `store` is where versions go, `url` the address of the page if there is one, `epoch` the number of epochs that have ended.
    """

    def __init__(
        self,
        model: nn.Module,
        export: Callable[[nn.Module], Exporter],
        store: Store,
        *,
        every: int,
        unit: str,
        keep: int,
        keep_best: str | None = None,
        serve: tuple[str, int, str] | None,
    ) -> None:
        if every < 1 or keep < 1 or unit not in ("epoch", "step"):
            raise ExportError(f"every and keep should be 1 or more and unit 'epoch' or 'step'; got {every}, {keep} and {unit!r}.")
        self.store = store
        self.epoch = 0
        self.url: str | None = None
        self._every, self._by_step = every, unit == "step"
        self._count = 0
        self._explicit = False
        self._pending: dict[str, float] | None = None  # metrics of the last epoch that was not one of `every`
        self._marked_at = self._published_at = -1  # in optimizer steps
        self._process = os.getpid()
        self._closed = False
        self._model = model
        self._sharded = self._told = False
        self._rounds = Rounds(end=self._round_ended)
        self._active = not _distributed() or torch.distributed.get_rank() == 0
        whole = whole_copy(model, here=self._active) if self._is_sharded() else model
        with contextlib.ExitStack() as stack:
            if self._active and whole is not None:
                self._start(stack, lambda: export(whole), keep, keep_best, serve)
            self._steps = OptimizerSteps(unwrap(model), notice=self._optimizer_stepped)
            stack.callback(self._steps.close)
            self._resources = stack.pop_all()

    def _start(
        self,
        stack: contextlib.ExitStack,
        export: Callable[[], Exporter],
        keep: int,
        keep_best: str | None,
        serve: tuple[str, int, str] | None,
    ) -> None:
        """Take the store, start the server, export the graph, listen to the model. What `stack` holds is undone on close."""
        stack.enter_context(self.store.lock())
        self._server: Server | None = None
        if serve is not None:
            host, port, device = serve
            self._server = Server(self.store.location, host=host, port=port, device=device)
            stack.callback(self._server.close)
            self.url = self._server.url
            print(f"exportweb: the model is on {self.url} while it trains", flush=True)
        self._exporter = export()
        self._publisher = Publisher(self.store, keep=keep, best=keep_best)
        stack.callback(self._publisher.close)
        self._publisher.prepare(self._exporter.graph, self._exporter.weights)
        self._mode = ModeSwitch(unwrap(self._model), notice=self._mode_switched)
        stack.callback(self._mode.close)
        atexit.register(self._at_exit)
        stack.callback(atexit.unregister, self._at_exit)

    # -- what a training loop calls ----------------------------------------------------------------------------------

    def begin(self, *, epoch: int = 0, step: int = 0) -> None:
        """Say that the loop calls `step` from its first epoch on, whatever `train()` and `eval()` look like, and how many epochs and
        optimizer steps lie behind it, for a run that was resumed. Where a loop doesn't say so, its first call of `step` does.
        """
        if self._closed:
            return
        self._explicit = True
        self.epoch, self._steps.count = epoch, step
        self._count = step if self._by_step else epoch

    def step(self, *, epoch: int | None = None, step: int | None = None, **metrics: float | torch.Tensor) -> None:
        """Say that an epoch (with ``unit="step"``: an optimizer step) has ended, and how well it went: ``hook.step(accuracy=0.93)``.

        `metrics` are numbers or tensors of one element. `epoch` sets the number of the epoch, for a run that was resumed;
        `step` that of the optimizer steps, where they are none of `torch.optim`'s. Returns as soon as the weights are copied; never
        raises for what goes wrong in publishing.
        """
        values = {k: float(v.detach() if isinstance(v, torch.Tensor) else v) for k, v in metrics.items()}
        if self._closed:
            return
        if not self._explicit:
            self._explicit = True
            if self._by_step:
                self._count = 0
        if epoch is not None:
            self.epoch = epoch - 1
        if step is not None:
            self._steps.count = step
            if self._by_step:
                self._count = step - 1
        self._mark(values)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every version so far is published or refused; return False if `timeout` (seconds) ran out, or the store failed."""
        return not self._active or self._publisher.flush(timeout)

    def close(self) -> None:
        """End the hook: publish the last epoch if it was not, wait until it is in the store, stop the server. Can be called twice.

        Where the model is sharded, every rank has to, before the process group is destroyed.
        """
        self._close(whole=True)

    def wait(self) -> None:
        """Keep the page up after training until Ctrl-C, then close."""
        if self._active and not self._closed:
            self._last_epoch(whole=True)
            try:
                self.flush()
                if self._server is not None:
                    print(f"exportweb: training is over; the model stays on {self.url} until Ctrl-C", flush=True)
                    self._server.wait()
            except KeyboardInterrupt:
                print("exportweb: stopped", flush=True)
        self.close()

    def __enter__(self) -> ExportHook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close(whole=kind is None)

    # -- how it hears ------------------------------------------------------------------------------------------------

    def _optimizer_stepped(self) -> None:
        if self._by_step and not self._explicit:
            self._mark({})
        self._rounds.stepped()

    def _mode_switched(self, training: bool) -> None:
        if not self._by_step and not self._explicit:
            self._rounds.switched(training)

    def _round_ended(self) -> None:
        # Not every rank need call eval() at the same point, if any but this one does: to gather the weights now could wait for ever.
        if self._is_sharded():
            if not self._told:
                log.warning("exportweb: the model is sharded; %s", _EVERY_RANK)
            self._told = True
        else:
            self._mark({})

    def _is_sharded(self) -> bool:
        """Whether the weights are spread over ranks by now, so that to gather them needs all of these."""
        self._sharded = self._sharded or (_distributed() and is_sharded(self._model))
        return self._sharded

    def _mark(self, metrics: dict[str, float]) -> None:
        """An epoch has ended, or a step where those are counted."""
        self._count += 1
        if not self._by_step:
            self.epoch += 1
        self._pending, self._marked_at = metrics, self._steps.count
        if self._count % self._every == 0:
            self._publish()

    def _publish(self) -> None:
        """Hand the weights as they are now to the publisher, or give them to the rank that does. Training never dies of it."""
        metrics, self._pending = self._pending or {}, None
        if self._published_at == self._steps.count and self._by_step:
            return
        self._published_at = self._steps.count
        try:
            if self._is_sharded() and (whole := whole_copy(self._model, here=self._active)) is not None:
                self._exporter.watch(whole)
            if not self._active:
                return
            graph = self._exporter.current_graph()
            weights = self._exporter.weights
            step = self._steps.count or (self._count if self._by_step else None)
            epoch = None if self._by_step else self.epoch
            self._publisher.submit(graph, weights, self._exporter.card(graph, epoch=epoch, step=step, metrics=metrics))
            if self._sharded:
                self._exporter.watch(self._model)  # and forget the copy
        except ExportwebError as error:
            log.warning("exportweb: the model as it is now can't be exported; training goes on: %s", error)
            with contextlib.suppress(ExportwebError):
                self.store.refuse(str(error), epoch=self.epoch, step=self._steps.count)
        except Exception:
            log.exception("exportweb: the model as it is now can't be exported; training goes on")

    # -- how it ends -------------------------------------------------------------------------------------------------

    def _last_epoch(self, *, whole: bool, alone: bool = False) -> None:
        """Publish the last epoch that ended, if it was not one of `every` or was not noticed yet; `alone`, without the other ranks."""
        if not self._explicit and not self._by_step:
            self._rounds.finish(whole=whole)
        if self._pending is not None and whole and self._marked_at == self._steps.count:
            if self._sharded and (alone or not _distributed()):
                log.warning("exportweb: the last epoch is not published, since the model is sharded; %s", _EVERY_RANK)
            else:
                self._publish()

    def _close(self, *, whole: bool, alone: bool = False, timeout: float | None = None) -> None:
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        with self._resources:
            self._last_epoch(whole=whole, alone=alone)
            if not self.flush(timeout):
                log.warning("exportweb: the last version was not published")

    def _at_exit(self) -> None:
        """The script has ended without closing the hook. An exception that ended it has left its mark in `sys`."""
        if threading.current_thread() is threading.main_thread():
            self._close(whole=not hasattr(sys, "last_value"), alone=True, timeout=_EXIT_TIMEOUT)


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _slug(name: str) -> str:
    """A name that is safe as a folder's."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".") or "model"
