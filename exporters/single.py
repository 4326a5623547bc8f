"""One model, one artifact: exporting outside a training run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from exportweb.atomic import replace_file
from exportweb.errors import ExportError
from exportweb.exporters import frameworks, named, torch_modules
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.onnx_graph import Graph
from exportweb.exporters.precision import TOLERANCE, check, convert


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
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    calibrate: str | os.PathLike[str] | None = None,
    tolerance: float = TOLERANCE,
) -> Path:
    """Export a model, as it is, to one artifact; return its path. The options are those of `export_hook`.

    In another `precision` than fp32 it is converted after that, as `exportweb.exporters.precision.convert` does it: `calibrate` is a
    folder of images, `tolerance` the share of them whose top class may change.

    What becomes TorchScript is written to a name that ends with ``.torchscript`` where `path` ends with ``.onnx``.

    The file appears whole or not at all, after ONNX Runtime has answered its golden sample as PyTorch does. Raises `ExportError` if the
    model can't be exported, `Rejected` if its weights or answers are not finite, `OSError` if the file can't be written.
    """
    if precision != "fp32":
        check(precision, calibrate)
        with tempfile.TemporaryDirectory(prefix="exportweb-") as folder:
            whole = export(model, Path(folder) / "fp32.onnx", name=name, task=task, labels=labels, example=example, mean=mean, std=std)
            return convert(whole, path, precision=precision, calibrate=calibrate, tolerance=tolerance)
    hints = Hints(example, None if mean is None else tuple(mean), None if std is None else tuple(std))
    exporter = Exporter(model, name=name, task=task, labels=labels, hints=hints)
    target = Path(path)
    if exporter.graph.fallback is not None and target.suffix == Graph.suffix:
        target = target.with_suffix(exporter.graph.suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, exporter.write)
    return target


def cli_export(
    spec: str,
    *,
    output: Path,
    checkpoint: Path | None = None,
    labels: list[str] | None = None,
    pretrained: bool = False,
    size: tuple[int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Path:
    """Export a model by name, as `exportweb.exporters.named.create` makes it; return the artifact's path.

    `size` is (height, width) of its images, in pixels. Raises `ExportError` that names what was given and what would do.
    """
    model, known = named.create(spec, classes=None if labels is None else len(labels), checkpoint=checkpoint, pretrained=pretrained)
    if size is None and frameworks.adapter(model) is torch_modules:
        raise ExportError(
            f"{spec} doesn't say what images it takes. Say how large they are in pixels: --size 224; and if your training transform "
            "normalises them, --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 with the values that it uses."
        )
    example = None if size is None else torch.zeros(1, torch_modules.channels(model), *size)
    return export(model, output, labels=labels or known, example=example, mean=mean, std=std)
