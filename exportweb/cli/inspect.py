"""``exportweb inspect``: the card of an artifact, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exportweb.cli.paths import artifact_path, location, read_artifact
from exportweb.cli.table import metrics, size, table, when

if TYPE_CHECKING:
    from exportweb.card import Card, ImageInput, Precision, Tensor

_FIRST = 8  # labels shown
_FORMAT = {"onnx": "ONNX", "torchscript": "TorchScript, which is code"}
_RESIZE = {
    "shortest": "shortest edge to {h}",
    "bounded": "shortest edge to {h}",
    "cover": "to cover {w} x {h}, ratio kept",
    "contain": "to fit in {w} x {h}, ratio kept",
    "exact": "to {w} x {h}, ratio not kept",
    "none": "none",
}


@click.command
@click.argument("path", type=location)
@click.option("--json", "as_json", is_flag=True, help="For a program: the card without its golden arrays.")
def command(path: Path | str, as_json: bool) -> None:
    """Show what PATH, a file or a store's latest version, says about itself. A TorchScript file's code isn't run.

    Ends with 1 if the file is torn or was altered.
    """
    import msgspec

    from exportweb import artifact
    from exportweb.errors import TornArtifact

    path = artifact_path(path)
    found = read_artifact(path)
    torn = None
    try:
        artifact.verify(found)
    except TornArtifact as error:
        torn = str(error)
    count, card = path.stat().st_size, found.card
    if as_json:
        shown = {"file": str(path), "size": count, "torn": torn, "card": card and card.replace(golden=None)}
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
    elif card is None and found.format == "torchscript":
        click.echo(f"{path} ({size(count)}) is a TorchScript file without a card, so it can't be served.")
    elif card is None:
        click.echo(
            f"{path} ({size(count)}) is an ONNX file without a card. To serve it, say what it is:\n"
            f"  exportweb serve {path} --task image-classification --labels labels.txt "
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225\n"
            f"or send its inputs as arrays:\n  exportweb serve {path} --task tensor\n"
            "`exportweb card` takes the same options and writes it into a copy; a YOLO of Ultralytics needs none."
        )
    else:
        digest = "none" if card.digest is None else f"{card.digest[:23]}… {'does NOT match' if torn else 'verified'}"
        rows = [("format", _FORMAT[found.format]), *_rows(card), ("digest", digest), ("size", size(count)), ("file", str(path))]
        click.echo(card.name if card.version is None else f"{card.name}, version {card.version}")
        click.echo(table([("", key, value) for key, value in rows]))
    if torn:
        raise click.ClickException(torn)


def _rows(card: Card) -> Iterator[tuple[str, str]]:
    yield "task", card.task
    if card.input is not None:
        yield from _input(card.input)
    for spec in card.inputs:
        yield "input", f"{spec.name}: {spec.dtype} [{', '.join('N' if side is None else str(side) for side in spec.shape)}]"
    yield (
        "outputs",
        ", ".join(output.name if output.name == output.role else f"{output.name} ({output.role})" for output in card.outputs),
    )
    if card.labels:
        yield "labels", _first(card.labels)
    if card.stuff:
        yield "stuff", _first(card.stuff)
    if card.keypoints:
        yield "keypoints", _first(card.keypoints)
    if card.fallback is not None:
        yield "fallback", card.fallback
    if card.precision is not None:
        yield "precision", precision(card.precision)
    source = card.source
    marks = [f"{name} {value}" for name, value in (("epoch", source.epoch), ("step", source.step)) if value is not None]
    yield "source", ", ".join([f"{source.framework} {source.model}", *marks])
    yield "metrics", metrics(source.metrics)
    yield "created", when(source.created)
    if source.git:
        yield "git", source.git
    if source.packages:
        yield "packages", ", ".join(f"{name} {version}" for name, version in source.packages.items())
    if card.golden:
        arrow = f"{_tensors(card.golden.inputs)} -> {_tensors(card.golden.outputs)}"
        yield "golden", f"{arrow}, tolerance {card.golden.tolerance:g}"
    else:
        yield "golden", "none"


def _first(names: Sequence[str]) -> str:
    more = f", … {names[-1]}" if len(names) > _FIRST else ""
    return f"{len(names)}: {', '.join(names[:_FIRST])}{more}"


def precision(of: Precision) -> str:
    """Return in which precision a graph computes, and what that changed, as people read it."""
    parts = [of.name]
    if of.agreement is not None:
        parts.append(f"top class as in fp32 on {of.agreement:.2%} of {of.images} images")
    if of.difference is not None:
        parts.append(f"scores {of.difference:.4f} off")
    if of.accuracy_before is not None and of.accuracy_after is not None:
        parts.append(f"accuracy {of.accuracy_before:.4f} in fp32, {of.accuracy_after:.4f} now")
    return ", ".join(parts)


def _input(image: ImageInput) -> Iterator[tuple[str, str]]:
    where = "normalised in the graph" if image.dtype == "uint8" else "normalised before the graph"
    sides = f"{image.width} x {image.height}" if image.height else "any size"
    yield "input", f"{image.name}: {sides}, {image.color}, {image.dtype} {image.layout}, {where}"
    how = _RESIZE[image.resize].format(h=image.resize_height, w=image.resize_width)
    if image.resize_max:
        how += f", longest to at most {image.resize_max}"
    if image.resize != "none":
        how += f", {image.interpolation}"
    yield "resize", f"{how}, then the centre" if image.height and image.resize != "none" else how
    yield "mean", ", ".join(f"{value:g}" for value in image.mean)
    yield "std", ", ".join(f"{value:g}" for value in image.std)


def _tensors(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tensor.dtype} {list(tensor.shape)}" for name, tensor in tensors.items())
