"""exportweb: your model is on the web while it trains.

>>> from exportweb import export_hook
>>> hook = export_hook(model, every=1)  # doctest: +SKIP

Importing this package costs next to nothing: PyTorch, ONNX Runtime and the web server are imported when they are used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from exportweb import errors
from exportweb.card import Card
from exportweb.errors import ExportwebError
from exportweb.store import Store

if TYPE_CHECKING:
    from exportweb.exporters import ExportHook, export, export_hook

__version__ = "0.1.0"

__all__ = ["Card", "ExportHook", "ExportwebError", "Store", "__version__", "errors", "export", "export_hook"]

# ONNX Runtime reports its use to its maker, and leaves files in the user's cache, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LAZY = {"ExportHook": "exportweb.exporters", "export": "exportweb.exporters", "export_hook": "exportweb.exporters"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'exportweb' has no attribute {name!r}")
