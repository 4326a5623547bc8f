"""PyTorch in, artifacts out."""

from __future__ import annotations

from exportweb.exporters.export import cli_export, export
from exportweb.exporters.hook import ExportHook, export_hook

__all__ = ["ExportHook", "cli_export", "export", "export_hook"]
