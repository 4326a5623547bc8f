"""What a model's forward may depend on besides its weights: the plain attributes of its modules.

A traced graph holds them as constants: a temperature, a list of sizes, a tensor that is no buffer. Whether one matters can't be seen from
outside, and many change all the time without mattering: counters, and what only training uses. So a change is only the reason to ask.
"""

from __future__ import annotations

import copy
import enum
import types
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from exportweb.exporters import golden
from exportweb.exporters.unwrap import eval_copy
from exportweb.exporters.weights import Weights, plain_name

if TYPE_CHECKING:
    from exportweb.exporters.traced import Traced

Attribute = tuple[str, str]  # the name of a module, and that of an attribute; "" for its class

# For a quick look: the attributes of a module, how many there are, those that can only be replaced, those that can change in place.
_Quick = tuple[dict[str, object], int, list[tuple[str, object]], list[tuple[str, object]]]

_OWN = frozenset(vars(nn.Module())) | {"train"}  # what every module has, and the hook's own ear
_CLASS = ""
_PLAIN = (bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, type, types.FunctionType, types.BuiltinFunctionType)
_LONG = 1000  # longer lists and arrays count by their length
_SAME = 1e-6


class PlainState:
    """The plain attributes that a model had when it was traced, and which of them have changed since."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weakref.ref(weights)
        self._known = _known(weights)
        self._seen = _read(weights.model, self._known)
        self._changes: Counter[Attribute] = Counter()
        self._quick: list[_Quick] | None = None

    def changed(self, weights: Weights) -> list[Attribute]:
        """Return what has changed since the last call in the model of these weights, if it's time to ask whether that matters.

        An attribute that changes again and again, and never mattered, is asked about after 1, 2, 4, 8, … changes. As long as nothing
        has changed, asking costs a microsecond a module.
        """
        if self._weights() is weights:
            if self._quick is not None and all(_unchanged(quick, self._known) for quick in self._quick):
                return []
            self._quick = [_quick(module, self._known) for module in weights.model.modules()]
        else:  # a module was replaced, or this is another copy of the model
            self._weights, self._known, self._quick = weakref.ref(weights), _known(weights), None
        now = _read(weights.model, self._known)
        changed = [key for key in self._seen.keys() | now.keys() if self._seen.get(key, ...) != now.get(key, ...)]
        self._seen = now
        self._changes.update(changed)
        return [key for key in changed if self._changes[key].bit_count() == 1]


def matters(model: nn.Module, graph: Traced, changed: list[Attribute]) -> bool:
    """Whether a model would answer otherwise, had these attributes still the values that they have in `graph.twin`, the traced copy."""
    if any(name == _CLASS for _, name in changed):
        return True
    now = graph.wrap(eval_copy(model))
    answer = golden.eager(now, graph.sample, graph.outputs)
    for path, name in changed:
        then, attributes = vars(graph.twin.model.get_submodule(path)), vars(now.model.get_submodule(path))
        if name in then:
            attributes[name] = copy.deepcopy(then[name])
        else:
            attributes.pop(name, None)
    try:
        return golden.disagreement(golden.eager(now, graph.sample, graph.outputs), answer, tolerance=_SAME) is not None
    except Exception:  # it doesn't even work with the old values
        return True


def _known(weights: Weights) -> dict[int, int]:
    """Return which tensor is which weight, by identity: what a module says of one of these (an LSTM has a list of its own) is no state."""
    return {id(tensor): i for i, tensor in enumerate(weights.tensors)}


def _quick(module: nn.Module, known: dict[int, int]) -> _Quick:
    attributes = vars(module)
    plain = [(name, value, _plain(value, known)) for name, value in attributes.items() if name not in _OWN]
    fixed = [(name, value) for name, value, seen in plain if seen is value or (isinstance(value, tuple) and seen == value)]
    names = {name for name, _ in fixed}
    return attributes, len(attributes), fixed, [(name, seen) for name, _, seen in plain if name not in names and seen is not ...]


def _unchanged(quick: _Quick, known: dict[int, int]) -> bool:
    attributes, count, fixed, others = quick
    return (
        len(attributes) == count
        and all(attributes.get(name, ...) is value for name, value in fixed)
        and all(_plain(attributes.get(name, ...), known) == seen for name, seen in others)
    )


def _read(model: nn.Module, known: dict[int, int]) -> dict[Attribute, object]:
    state: dict[Attribute, object] = {}
    for full_path, module in model.named_modules():
        path = plain_name(full_path)
        state[path, _CLASS] = type(module)
        for name, value in vars(module).items():
            if name not in _OWN:
                state[path, name] = _plain(value, known)
    return state


def _plain(value: object, known: dict[int, int]) -> object:
    """Return something that is equal as long as a value is; `...` for what isn't plain."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, torch.Tensor):
        if id(value) in known:
            return known[id(value)]  # which weight it is, whatever it holds
        return id(value), 0 if value.is_inference() else value._version
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.size <= _LONG else id(value)
    if isinstance(value, list | tuple):
        return tuple(_plain(item, known) for item in value) if len(value) <= _LONG else len(value)
    if isinstance(value, dict):
        return tuple((_plain(key, known), _plain(item, known)) for key, item in value.items()) if len(value) <= _LONG else len(value)
    return ...
