"""``exportweb card``: an ONNX file from elsewhere becomes an artifact, by a card that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exportweb.cli.options import foreign
from exportweb.cli.paths import read_artifact


@click.command
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--name", help="What the model is called; the file's name if not given.")
@foreign
def command(path: Path, output: Path, name: str | None, labels: Path | None, **described: Any) -> None:
    """Give PATH, an ONNX file without a card, one: the options say what it is, and the copy in OUTPUT says it itself.

    Files that Ultralytics exported need no option.
    """
    if read_artifact(path).format == "torchscript":
        raise click.ClickException(f"{path} is TorchScript; what can be given a card is an ONNX file.")

    from exportweb import artifact
    from exportweb.atomic import replace_file
    from exportweb.labels import read_labels
    from exportweb.runtime import Predictor, card_for_onnx

    if artifact.read(path).card is not None:
        raise click.ClickException(f"{path} has a card, which says what it is: exportweb inspect {path}")
    if artifact.external(path):
        raise click.ClickException(f"{path} keeps weights in another file; save it as one file (external_data=False) first.")
    card = card_for_onnx(path, labels=read_labels(labels) if labels else None, name=name, **described)
    Predictor.load(path, device="cpu", threads=1, card=card)
    if output.is_dir() or not output.parent.is_dir():
        raise click.ClickException(f"{output} can't be written; it should be a file in a folder that is there.")
    with path.open("rb") as file:
        replace_file(output, lambda out: artifact.write(out, iter(lambda: file.read(1 << 20), b""), card))
    labels_said = f", {len(card.labels)} labels" if card.labels else ""
    click.echo(f"{output} is written ({card.task}{labels_said}). Try: exportweb serve {output}")
