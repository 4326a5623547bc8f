"""A TorchScript archive whose weights can be replaced without tracing or pickling again.

`torch.jit.save` writes each storage as a record of its own. A template keeps the other records (code, constants, the pickle that says
which attribute is which storage), so that the next version is written as: a weight from where it lies in memory, a weight, …, the rest.
Of those it drops what only debugging needs, which names the files of this machine.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from exportweb.exporters.template import memory

_jit: Any = torch.jit  # has no types

_DROPPED = (".debug_pkl", "/traced_inputs.pkl")
_TENSORS = ("data/", "constants/", "constants.pkl")
_DROPPED_FOLDERS = ("traced_inputs/",)


class ScriptTemplate:
    """The records of an archive around its weights.

    `module` is traced or scripted; `names` maps the names of its parameters and buffers, without `prefix`, to indices of tensors.
    `missing` is the set of those names that the archive does not hold as a storage of its own.
    """

    def __init__(self, module: torch.jit.ScriptModule, names: Mapping[str, int], *, prefix: str = "") -> None:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated
            _jit.save(module, buffer)
        with zipfile.ZipFile(buffer) as archive:
            entries = {entry.filename: entry.file_size for entry in archive.infolist()}
            root = next(iter(entries)).partition("/")[0]
            self._slots: dict[str, int] = {}
            held = set()
            for path, place in _places(archive.read(f"{root}/data.pkl")):
                name, record = path.removeprefix(prefix), f"{root}/data/{place.storage}"
                if path.startswith(prefix) and name in names and place.whole and self._slots.get(record, names[name]) == names[name]:
                    self._slots[record] = names[name]
                    held.add(names[name])
            self._sizes = {record: entries[record] for record in self._slots}
            self._kept = {name: archive.read(name) for name in entries if name not in self._slots and not _dropped(name, root)}
        self.missing = {name for name, index in names.items() if index not in held}

    @property
    def nbytes(self) -> int:
        """Size of a version's records in bytes, without its card."""
        return sum(self._sizes.values()) + sum(map(len, self._kept.values()))

    def holds_the_same(self, other: ScriptTemplate) -> bool:
        """Whether another archive has the same weights in the same places, and is the same in all other tensors and constants.

        Code isn't compared: in a second archive, classes have other names.
        """

        def rest(template: ScriptTemplate) -> dict[str, bytes]:
            return {name: data for name, data in template._kept.items() if name.partition("/")[2].startswith(_TENSORS)}

        return self._slots == other._slots and rest(self) == rest(other)

    def fill(self, tensors: Sequence[torch.Tensor]) -> Iterator[tuple[str, bytes | memoryview]]:
        """Yield the records of the archive with these tensors (contiguous, on the CPU) as its weights, without copying them."""
        for record, index in self._slots.items():
            yield record, memory(tensors[index], self._sizes[record])
        yield from self._kept.items()


class _Place(NamedTuple):
    """Where a tensor lies: the name of its storage, and how many numbers that holds; the offset and shape that it has in there."""

    storage: str
    length: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether it is its whole storage, in the order of memory."""
        dense, stride = True, 1
        for side, step in zip(reversed(self.shape), reversed(self.strides), strict=True):
            dense = dense and (side == 1 or step == stride)
            stride *= side
        return dense and self.offset == 0 and math.prod(self.shape) == self.length


class _Module:
    """A module's attributes, as they are pickled."""

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Attributes(pickle.Unpickler):
    """Reads which attribute is which storage; makes no tensor and calls nothing that the pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *_: _Place(storage[0], storage[1], offset, shape, strides)
        return collections.OrderedDict if name == "OrderedDict" else lambda *_: None

    def persistent_load(self, pid: Any) -> tuple[str, int]:
        _, _, name, _, length = pid
        return name, length


def _places(data: bytes) -> Iterator[tuple[str, _Place]]:
    """Yield each tensor of a pickled module by its name in there."""
    modules = [("", _Attributes(io.BytesIO(data)).load())]
    while modules:
        prefix, module = modules.pop()
        for name, value in module.state.items():
            if isinstance(value, _Module):
                modules.append((f"{prefix}{name}.", value))
            elif isinstance(value, _Place):
                yield prefix + name, value


def _dropped(name: str, root: str) -> bool:
    return name.endswith(_DROPPED) or name.startswith(tuple(f"{root}/{folder}" for folder in _DROPPED_FOLDERS))
