"""``exportweb export``: a model by name becomes an artifact, without a training loop."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--checkpoint", type=_FILE, help="Weights: a state_dict, or a checkpoint that holds one.")
@click.option("--labels", type=_FILE, help="A text file with one label per line.")
@click.option("--pretrained", is_flag=True, help="Download the weights that the model was published with.")
def command(model: str, output: Path, checkpoint: Path | None, labels: Path | None, pretrained: bool) -> None:
    """Export MODEL, such as timm/resnet50, to an ONNX file that describes itself."""
    from exportweb.cli.labels import read_labels

    names = read_labels(labels) if labels else None
    try:
        from exportweb.exporters import cli_export

        path = cli_export(model, output=output, checkpoint=checkpoint, labels=names, pretrained=pretrained)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("exportweb"):
            raise
        message = f'Exporting needs {error.name}, which is not installed: pip install "exportweb[export]"'
        raise click.ClickException(message) from error
    click.echo(f"{path} is written. Try: exportweb serve {path}")
