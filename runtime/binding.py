"""IO binding: a session's inputs lie in memory of its device that is used again in each run, and its outputs come where they are wanted.

A binding is one run's at a time, so that each of the runs that go on at the same time has one of its own. The CPU is a device like
any other here, though nothing is gained by binding to it.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.cuda import GATE

Array = NDArray[Any]

_KEPT = 32
"""Values that a binding keeps on the device, one for each name and shape: as many as there are batch sizes by default."""


class Place(NamedTuple):
    """A device, as ONNX Runtime names it: ``("cuda", 1)``, ``("cpu", 0)``."""

    kind: str
    number: int

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return an `OrtValue` of this shape and NumPy dtype in the device's memory; what it holds is undefined."""
        return importlib.import_module("onnxruntime").OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, *self)


class Bindings:
    """What runs a session with bound inputs and outputs: `InferenceSession.run`, for any number of threads at once."""

    def __init__(self, session: Any, place: Place) -> None:
        self._session = session
        self._place = place
        self._free: list[Binding] = []

    def __call__(self, names: Sequence[str], inputs: Mapping[str, Array], options: Any = None) -> list[Array]:
        """Return these outputs. Raises what ONNX Runtime raises."""
        with GATE.use():
            try:
                binding = self._free.pop()
            except IndexError:
                binding = Binding(self._session, self._place)
            try:
                found = binding.run(names, inputs, options)
            except Exception:
                # A binding has one class for all that goes wrong; without it, the class says whether these arrays are at fault.
                found = self._session.run(list(names), dict(inputs), options)
            self._free.append(binding)
            return found


class Binding:
    """A session's inputs and outputs, bound."""

    def __init__(self, session: Any, place: Place) -> None:
        self._session = session
        self._place = place
        self._io = session.io_binding()
        self._values: OrderedDict[tuple[str, str, tuple[int, ...]], Any] = OrderedDict()

    def run(self, names: Sequence[str], inputs: Mapping[str, Array], options: Any = None) -> list[Array]:
        """Copy the inputs to the device, run, and return these outputs."""
        for name, array in inputs.items():
            self._io.bind_ortvalue_input(name, self._filled(name, array))
        try:
            for name in names:  # unallocated, each time: the shapes of outputs may depend on the data
                self._io.bind_output(name, "cpu")
            self._session.run_with_iobinding(self._io, options)
            return [value.numpy() for value in self._io.get_outputs()]
        finally:
            self._io.clear_binding_outputs()  # they are the caller's

    def _filled(self, name: str, array: Array) -> Any:
        """Return a value on the device that holds this array, the one from last time if it had the same shape."""
        key = name, array.dtype.str, array.shape
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._place.empty(array.shape, array.dtype)
            if len(self._values) > _KEPT:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        value.update_inplace(array)
        return value
