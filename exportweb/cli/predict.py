"""``exportweb predict``: the server's own runtime on a few files, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exportweb.cli.options import DEVICE, TRUST_TORCHSCRIPT
from exportweb.cli.paths import artifact_path, location, read_artifact
from exportweb.cli.table import table


@click.command
@click.argument("path", type=location)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--top-k", type=click.IntRange(min=1), help="Labels per image, 5 if the model has as many; objects, all.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="The score from which on an object counts; 0.5 if not given.")
@click.option("--masks", type=click.Choice(["png", "rle", "none"]), help="What masks are; left out of what a person reads.")
@click.option("--format", type=click.Choice(["json", "coco", "yolo", "voc"]), help="How objects are written.")
@click.option("--json", "as_json", is_flag=True, help="For a program: one list with an entry per image.")
@DEVICE
@TRUST_TORCHSCRIPT
def command(path: Path | str, images: tuple[Path, ...], as_json: bool, device: str, trust_torchscript: bool, **given: Any) -> None:
    """Ask the model at PATH about each IMAGE (- is stdin), or about arrays: .npy, .npz or JSON files.

    Ends with 1 if one of them couldn't be answered.
    """
    path = artifact_path(path)
    read_artifact(path)

    import msgspec

    from exportweb.errors import RequestError
    from exportweb.runtime import File, Predictor

    predictor = Predictor.load(path, device=device, trust_torchscript=trust_torchscript)
    params: dict[str, Any] = {name: str(value) for name, value in given.items() if value is not None}
    for_a_person = not (as_json or params.keys() & {"masks", "format"})
    if for_a_person and "segmentation" in predictor.card.task:
        params["masks"] = "none"
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
        if isinstance(result, File):
            result = result.data.decode()
        found.append({"image": str(image), "result": result})
        if not as_json:
            if len(images) > 1:
                click.echo(f"{image}")
            if isinstance(result, list) and for_a_person:
                result = table([_row(one) for one in result])
            click.echo(result if isinstance(result, str) else msgspec.json.encode(result))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    if failed:
        raise click.exceptions.Exit(1)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    """Return score, label and, of an object, its box and points as a person reads them."""
    cells = ["-" if one["score"] is None else f"{one['score']:.4f}", one["label"]]
    if "box" in one:
        cells.append(" ".join(f"{value:.1f}" for value in one["box"].values()))
    if "keypoints" in one:
        cells.append(", ".join(f"{point['label']} {point['x']:.1f} {point['y']:.1f}" for point in one["keypoints"]))
    return tuple(cells)
