"""What PyTorch's exporter knows of ONNX, read once: before each export it parses the source of all its translations."""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

_lock = threading.Lock()


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Let `torch.onnx.export` have what it has read the first time. Does nothing with a PyTorch whose exporter is built otherwise."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):
        yield
        return
    with _lock:
        known = functools.partial(_copied, read)
        with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(known)):
            yield


def _copied(read: Any, **options: Any) -> Any:
    """Return a registry of one's own, to which an export adds what it brings along."""
    known = _known(read, **options)
    if not isinstance(getattr(known, "functions", None), dict):
        return read(**options)
    registry = copy.copy(known)
    registry.functions = {target: list(translations) for target, translations in known.functions.items()}
    return registry


@functools.cache
def _known(read: Any, **options: Any) -> Any:
    return read(**options)
