"""``exportweb predict``: the server's own runtime on a few files, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exportweb.cli.options import DEVICE
from exportweb.cli.paths import artifact_path, location, refuse_torchscript
from exportweb.cli.table import table


@click.command
@click.argument("path", type=location)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--top-k", type=click.IntRange(min=1), help="Labels per image; 5 if the model has as many.")
@click.option("--json", "as_json", is_flag=True, help="For a program: one list with an entry per image.")
@DEVICE
def command(path: Path | str, images: tuple[Path, ...], top_k: int | None, as_json: bool, device: str) -> None:
    """Ask the model at PATH about each IMAGE (- is stdin), or about arrays: .npy, .npz or JSON files.

    Ends with 1 if one of them couldn't be answered.
    """
    path = artifact_path(path)
    refuse_torchscript(path)

    import msgspec

    from exportweb.errors import RequestError
    from exportweb.runtime import Predictor

    predictor = Predictor.load(path, device=device)
    params: dict[str, Any] = {} if top_k is None else {"top_k": str(top_k)}
    failed = False
    found = []
    for image in images:
        try:
            with click.open_file(str(image), "rb") as file:
                result = predictor.predict(file.read(), **params)
        except (RequestError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            failed = True
            found.append({"image": str(image), "error": reason})
            click.echo(f"{image}: {reason}", err=True)
            continue
        found.append({"image": str(image), "result": result})
        if not as_json:
            if len(images) > 1:
                click.echo(f"{image}")
            labels = predictor.card.task == "image-classification"
            text = table([(f"{entry['score']:.4f}", entry["label"]) for entry in result]) if labels else msgspec.json.encode(result)
            click.echo(text)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    if failed:
        raise click.exceptions.Exit(1)
