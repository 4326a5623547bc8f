"""One model, one artifact: exporting outside a training run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import nn

from exportweb.atomic import replace_file
from exportweb.errors import ExportError
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.weights import Snapshot


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    task: str | None = None,
    labels: Sequence[str] | None = None,
    example: torch.Tensor | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Path:
    """Export a model, as it is, to one artifact; return its path. The options are those of `export_hook`.

    The file appears whole or not at all, after ONNX Runtime has answered its golden sample as PyTorch does. Raises `ExportError` if the
    model can't be exported, `Rejected` if its weights or answers are not finite, `OSError` if the file can't be written.
    """
    hints = Hints(example, None if mean is None else tuple(mean), None if std is None else tuple(std))
    exporter = Exporter(model, name=name, task=task, labels=labels, hints=hints)
    graph = exporter.current_graph()
    snapshot = Snapshot(exporter.weights)
    snapshot.take(exporter.weights)

    def write(file: BinaryIO) -> None:
        graph.write(file, snapshot, exporter.card(graph))

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, write)
    return target


def cli_export(spec: str, *, output: Path, checkpoint: Path | None, labels: list[str] | None, pretrained: bool) -> Path:
    """Export ``timm/<name>`` with random weights, timm's pretrained ones, or those in a checkpoint; return the artifact's path.

    Raises `ExportError` that names what was given and what would do.
    """
    framework, _, name = spec.partition("/")
    if framework != "timm" or not name:
        raise ExportError(f"{spec!r} is not a model that exportweb can make; give one as timm/<name>, for example timm/resnet50.")
    from exportweb.exporters import timm_models

    model = timm_models.create(name, classes=None if labels is None else len(labels), checkpoint=checkpoint, pretrained=pretrained)
    if labels is None and pretrained and checkpoint is None:
        labels = timm_models.imagenet_labels(model)
    return export(model, output, labels=labels)
