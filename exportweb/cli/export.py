"""``exportweb export``: a model by name becomes an artifact, without a training loop; or an artifact one of another precision."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from exportweb.cli.options import LABELS, LABELS_PATH, numbers, pixels

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PRECISIONS = click.Choice(["fp32", "fp16", "int8"])


@click.command
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--checkpoint", "--weights", type=_FILE, help="Weights: a state_dict, or a checkpoint that holds one.")
@click.option("--labels", type=LABELS_PATH, help=LABELS)
@click.option("--pretrained", is_flag=True, help="Download the weights that the model was published with.")
@click.option("--size", callback=pixels, metavar="HxW", help="Images that the model takes, where it doesn't say so itself: 224 or 224x320.")
@click.option("--mean", callback=numbers, metavar="M,M,M", help="... their mean in training, per channel, of pixels in 0..1.")
@click.option("--std", callback=numbers, metavar="S,S,S", help="... their standard deviation.")
@click.option(
    "--precision", type=_PRECISIONS, default="fp32", show_default=True, help="What the model computes in; int8 needs --calibrate."
)
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Images, or a folder of them for each class, to calibrate int8 with and to measure what changes.",
)
@click.option("--calibrate-images", type=click.IntRange(min=1), default=200, show_default=True, help="How many of them to use at most.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Refuse if the top class changes for more than this share of them.",
)
def command(
    model: str,
    output: Path,
    checkpoint: Path | None,
    labels: Path | None,
    pretrained: bool,
    size: tuple[int, int] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    precision: str,
    calibrate: Path | None,
    calibrate_images: int,
    tolerance: float,
) -> None:
    """Export MODEL to an ONNX file that describes itself.

    MODEL is timm/resnet50, torchvision/resnet50, transformers/FOLDER (as save_pretrained writes one), detectron2/CONFIG (one of its model
    zoo, or a file), or package.module:function, a function that returns a model.

    With --precision fp16 or int8, MODEL can also be an fp32 file or store that exportweb wrote, such as runs/flowers.
    """
    from exportweb.labels import read_labels

    artifact = _artifact(model)
    if precision == "fp32" and calibrate is not None:
        raise click.UsageError("--calibrate is for --precision fp16 or int8.")
    if artifact is not None and precision == "fp32":
        raise click.UsageError(f"{model} is exported already. It can become smaller: --precision fp16, or --precision int8 --calibrate DIR")
    if artifact is not None and (checkpoint or labels or pretrained or size or mean or std):
        raise click.UsageError(f"{model} is exported already; these options are for a model by name: it keeps its weights and labels.")
    names = read_labels(labels) if labels else None
    try:
        from exportweb.exporters import cli_export
        from exportweb.exporters.precision import check, convert

        options: dict[str, Any] = {"checkpoint": checkpoint, "labels": names, "pretrained": pretrained}
        options |= {"size": size, "mean": mean, "std": std}
        if precision == "fp32":
            path = cli_export(model, output=output, **options)
        else:
            check(precision, calibrate)
            with tempfile.TemporaryDirectory(prefix="exportweb-") as folder:
                path = convert(
                    artifact or cli_export(model, output=Path(folder) / "fp32.onnx", **options),
                    output,
                    precision=precision,
                    calibrate=calibrate,
                    images=calibrate_images,
                    tolerance=tolerance,
                    progress=_progress if sys.stderr.isatty() else None,
                )
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("exportweb"):
            raise
        message = f'Exporting needs {error.name}, which is not installed: pip install "exportweb[export]"'
        raise click.ClickException(message) from error
    click.echo(f"{path} is written{_changed(path)}. Try: exportweb serve {path}")


def _artifact(model: str) -> Path | None:
    """Return the artifact that MODEL is, or whose store it is; None for a model by name."""
    from exportweb.cli.paths import artifact_path

    path = Path(model)
    return artifact_path(path) if path.suffix == ".onnx" or (path / "LATEST").exists() else None


def _progress(what: str, done: int, of: int) -> None:
    """Show on one line of the terminal how far it is."""
    click.echo(f"\r\x1b[K{what}: {done} of {of}" if done < of else "\r\x1b[K", nl=False, err=True)


def _changed(path: Path) -> str:
    """Say what another precision changed, where that was measured."""
    from exportweb import artifact
    from exportweb.cli.inspect import precision

    card = artifact.read(path).card
    return f" ({precision(card.precision)})" if card is not None and card.precision is not None else ""
