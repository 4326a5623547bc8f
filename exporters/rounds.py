"""Notice what a training loop does, without a word from it: optimizer steps, and rounds of training and evaluation."""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook


class OptimizerSteps:
    """Counts the steps of every optimizer that trains one of a model's parameters, whenever it is made."""

    def __init__(self, model: nn.Module, *, notice: Callable[[], None]) -> None:
        self.count = 0
        self._model = model
        self._notice = notice
        self._known: weakref.WeakKeyDictionary[torch.optim.Optimizer, bool] = weakref.WeakKeyDictionary()
        self._handle = register_optimizer_step_post_hook(self._stepped)

    def close(self) -> None:
        """Stop counting."""
        self._handle.remove()

    def _stepped(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if not self._known.get(optimizer):  # one that isn't ours yet can become ours: add_param_group, a new head
            ours = {id(p) for p in self._model.parameters()}
            self._known[optimizer] = any(id(p) in ours for group in optimizer.param_groups for p in group["params"])
        if self._known[optimizer]:
            self.count += 1
            self._notice()


class ModeSwitch:
    """Stands in for a module's `train` method, tells of each call, and passes it on.

    `eval()` comes by here too, and so does a wrapper's `train()`. A copy or a pickle of the module gets its plain method back.
    """

    def __init__(self, module: nn.Module, *, notice: Callable[[bool], None]) -> None:
        self._module = module
        self._notice = notice
        self._before = vars(module).get("train")
        object.__setattr__(module, "train", self)

    def __call__(self, mode: bool = True) -> nn.Module:
        """Do what `nn.Module.train` does."""
        self._notice(mode)
        if self._before is not None:
            result: nn.Module = self._before(mode)
            return result
        return type(self._module).train(self._module, mode)

    def close(self) -> None:
        """Give the module its own method back."""
        if vars(self._module).get("train") is self:
            if self._before is None:
                object.__delattr__(self._module, "train")
            else:
                object.__setattr__(self._module, "train", self._before)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., nn.Module]:
        copy = memo[id(self._module)]
        return types.MethodType(type(copy).train, copy)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._module, "train")


class Rounds:
    """Decides from the calls of `train()` and `eval()` when an epoch has ended.

    An epoch ends when the model goes from training to evaluation, or when its next round of training begins. Whether the loop will
    call `ExportHook.step` itself is not known in the first epoch, so the first switch to evaluation is held until the next round.
    A round of training counts from two optimizer steps on, so that a loop that calls `train()` before every step isn't taken for epochs.
    """

    def __init__(self, *, end: Callable[[], None]) -> None:
        self._end = end
        self._confirmed = False
        self._held = False
        self._since_end = 0
        self._since_call = 0

    def stepped(self) -> None:
        """An optimizer has stepped."""
        self._since_end += 1
        self._since_call += 1

    def switched(self, training: bool) -> None:
        """The model is about to be put into training or evaluation mode."""
        if training:
            if self._held or self._since_call >= 2:
                self._confirmed = True
                self._finish()
        elif self._since_end > 0:
            # Held once already, and trained since without a call of train(): this loop has no other way of saying it.
            self._confirmed = self._confirmed or (self._held and self._since_call > 0)
            if self._confirmed:
                self._finish()
            else:
                self._held = True
        self._since_call = 0

    def finish(self, *, whole: bool) -> None:
        """The loop is over; `whole` is False if an exception ended it, in the middle of a round unless that was being evaluated."""
        if self._held or (whole and self._since_end > 0):
            self._finish()

    def _finish(self) -> None:
        self._held = False
        self._since_end = 0
        self._end()
