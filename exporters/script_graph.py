"""A TorchScript graph, for what has no ONNX that answers the same: traced once, then written with new weights like any other."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
import torch

from exportweb import archive
from exportweb.card import Card
from exportweb.exporters import golden, torchscript
from exportweb.exporters.image_model import THRESHOLD, Detector, Outputs
from exportweb.exporters.script import ScriptTemplate
from exportweb.exporters.traced import Traced
from exportweb.exporters.weights import Snapshot

_jit: Any = torch.jit  # has no types
_PREFIX = "model."
_MANGLED = re.compile(r"___torch_mangle_\d+\.")  # a name that some class of this process had already


class ScriptGraph(Traced):
    """A traced module, which PyTorch alone runs, with torchvision's operators if it has any."""

    suffix, engine = ".torchscript", "TorchScript"
    template: ScriptTemplate

    def _trace(self, example: np.ndarray) -> None:
        module = torchscript.script(self.twin, torch.from_numpy(example))
        self._steps, self.template = _steps(module), self._template(module)
        file = io.BytesIO()
        writer = archive.Writer(file)
        _put(writer, self.template.fill([tensor.contiguous() for tensor in self._weights()]))
        writer.close()
        file.seek(0)
        with torchscript.quiet():
            self._module = _jit.load(file, map_location="cpu").eval()
        held = dict((*self._module.named_parameters(), *self._module.named_buffers()))
        self._held = {name: held[_PREFIX + name] for name in self.names if name not in self.template.missing and _PREFIX + name in held}
        self._threshold = held.get(THRESHOLD)

    def retraced(self, snapshot: Snapshot) -> bool:
        """Trace again and compare what is computed, and the tensors that are no weights."""
        self.borrow(snapshot)
        module = torchscript.script(self.twin, torch.from_numpy(self.sample))
        return _steps(module) == self._steps and self._template(module).holds_the_same(self.template)

    def answer(self, snapshot: Snapshot, images: np.ndarray) -> Outputs:
        """Run the module as it is loaded from the archive."""
        for name, tensor in self._held.items():
            tensor.data = snapshot.tensors[self.names[name]]
        if self._threshold is not None and isinstance(self.twin, Detector):
            self._threshold.copy_(self.twin.exportweb_threshold)
        with _jit.optimized_execution(False):  # it is run once: what would be optimised is never used
            return golden.eager(self._module, images, self.outputs)

    def write(self, file: BinaryIO, snapshot: Snapshot, card: Card) -> Card:
        """Check the answer, then write weights and card: in one thread, since PyTorch answers both times."""
        snapshot.wait()
        return self.beside.call(self._write, file, snapshot, card).result()

    def _write(self, file: BinaryIO, snapshot: Snapshot, card: Card) -> Card:
        self._require_finite(snapshot)
        expected = self._eager(snapshot)
        self._checked(self.answer(snapshot, self.sample), expected)
        writer = archive.Writer(file)
        _put(writer, self.template.fill(snapshot.tensors))
        card = card.replace(golden=golden.golden(self.sample, expected, tolerance=self.tolerance), digest=writer.digest)
        writer.finish(card)
        return card

    def _template(self, module: torch.jit.ScriptModule) -> ScriptTemplate:
        return ScriptTemplate(module, self.names, prefix=_PREFIX)

    def _weights(self) -> list[torch.Tensor]:
        """Return the twin's tensors where the names say that a snapshot has them."""
        held = dict((*self.twin.model.named_parameters(remove_duplicate=False), *self.twin.model.named_buffers(remove_duplicate=False)))
        tensors = [torch.empty(0)] * (max(self.names.values(), default=-1) + 1)
        for name, i in self.names.items():
            tensors[i] = held[name].detach()
        return tensors


def _steps(module: Any) -> bytes:
    """Return a digest of all that a module computes, step by step, whatever its classes and values are called."""
    graph = torch._C._jit_pass_canonicalize(module.inlined_graph)
    torch._C._jit_pass_erase_shape_information(graph)  # how many objects there were in the image
    text = str(graph)
    return hashlib.sha256(_MANGLED.sub("", text).encode()).digest()


def _put(writer: archive.Writer, records: Iterable[tuple[str, bytes | memoryview]]) -> None:
    for name, data in records:
        writer.add(name, data)
