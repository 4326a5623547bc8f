"""PyTorch in, artifacts out."""

from __future__ import annotations

from exportweb.exporters.hook import ExportHook, export_hook
from exportweb.exporters.single import cli_export, export

__all__ = ["ExportHook", "cli_export", "export", "export_hook"]
