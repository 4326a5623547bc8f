"""``exportweb evaluate``: the served pipeline on data whose answers are known."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exportweb.cli.options import DEVICE, TRUST_TORCHSCRIPT
from exportweb.cli.paths import artifact_path, location, read_artifact
from exportweb.cli.table import table

if TYPE_CHECKING:
    from exportweb.runtime import Predictor
    from exportweb.runtime.evaluate import Evaluation, Kind, Other

_NAMED = 5  # images named that could not be read


@click.command
@click.argument("path", type=location)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="How many images to take at most, spread evenly; all if not given.")
@click.option("--by-index", is_flag=True, help="The data set's classes, sorted, are the model's in their order, whatever they are called.")
@click.option("--known-only", is_flag=True, help="Leave out the data set's classes that the model has no label for.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where the images of a COCO JSON are; looked for near it if not given.",
)
@click.option("--split", metavar="NAME", help="Of a VOC folder, the images in ImageSets/.../NAME.txt; all if not given.")
@click.option("--against", metavar="MODULE:FUNCTION", help="Ask the model that this function returns, too: in PyTorch, not exported.")
@click.option(
    "--write",
    "target",
    metavar="FILE|STORE",
    type=location,
    help="Write the metrics into the card of a copy: FILE, which may be PATH, or the next version of STORE.",
)
@click.option("--json", "as_json", is_flag=True, help="For a program.")
@DEVICE
@TRUST_TORCHSCRIPT
def command(
    path: Path | str,
    data: Path,
    limit: int | None,
    by_index: bool,
    known_only: bool,
    images: Path | None,
    split: str | None,
    against: str | None,
    target: Path | str | None,
    as_json: bool,
    device: str,
    trust_torchscript: bool,
) -> None:
    """Measure the model at PATH, a file or a store's latest version, on DATA, as a server would answer.

    DATA is a folder of images for each class (top-1, top-5); a COCO JSON (mAP of boxes, masks, keypoints); a VOC folder (mAP50 of boxes,
    mean IoU of SegmentationClass); or a folder with images and masks (mean IoU). Classes are matched with the model's labels by name.
    Images that can't be read are left out and named.

    --against shows what exporting lost: the figures of the model in PyTorch, with its framework's own preparation of images where that is
    known, and how much both agree.
    """
    from exportweb.cli.metrics import check_target, write_metrics

    file = artifact_path(path)
    artifact = read_artifact(file)
    if target is not None:
        if limit is not None:
            raise click.ClickException("--write puts figures into the card that are those of all images; leave out --limit.")
        check_target(target)

    import msgspec

    from exportweb.runtime.evaluate import Pipeline, evaluate, kind_of, open_data
    from exportweb.runtime.evaluate.data import spread
    from exportweb.runtime.evaluate.names import Matching

    with Pipeline(file, device=device, trust_torchscript=trust_torchscript) as pipeline:
        kind = kind_of(pipeline.predictor)
        found = open_data(data, kind, pipeline.card, how=Matching(by_index, known_only), images=images, split=split)
        other = None if against is None else _other(against, pipeline.predictor, kind)
        with _progress(len(spread(found.examples, limit))) as progress:
            result = evaluate(pipeline, found, kind, file=str(path), limit=limit, other=other, progress=progress)
    click.echo(msgspec.json.format(msgspec.json.encode(result)) if as_json else _shown(result))
    if not as_json:
        _name_unreadable(result)
    if target is not None:
        written = write_metrics(artifact, result.metrics, target, evaluated=path)
        click.echo(f"{written} has them in its card.", err=as_json)


def _other(spec: str, predictor: Predictor, kind: Kind) -> Other:
    from exportweb.runtime.evaluate import Other

    try:
        from exportweb.exporters import eager
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("exportweb"):
            raise
        message = f'--against needs {error.name}, which is not installed: pip install "exportweb[export]"'
        raise click.ClickException(message) from error
    model = eager.load(spec, predictor, kind)
    return Other(spec, model.prepared, model.answer)


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Callable[[int], object]]:
    """Show how far it is, where somebody looks."""
    with click.progressbar(length=count, label="evaluating", show_pos=True, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield bar.update


def _shown(result: Evaluation) -> str:
    """Return the figures as a person reads them."""
    rows = [(name, f"{value:.4f}") for name, value in result.metrics.items()]
    lines = [f"{result.file} on {result.data}: {result.images} images in {result.seconds:.1f} s"]
    if (against := result.against) is None:
        return "\n".join([*lines, table(rows, right=[1])])
    columns = [("", "served", against.model), *((name, value, f"{against.metrics[name]:.4f}") for name, value in rows)]
    agreement = ", ".join(f"{name} {value:.4g}" for name, value in against.agreement.items())
    return "\n".join([*lines, table(columns, right=[1, 2]), f"{agreement}; images prepared by {against.prepared}"])


def _name_unreadable(result: Evaluation) -> None:
    left = result.unreadable
    if left:
        click.echo(f"{len(left)} more {'is' if len(left) == 1 else 'are'} left out:", err=True)
    for one in left[:_NAMED]:
        click.echo(f"  {one.image}: {one.error}", err=True)
    if len(left) > _NAMED:
        click.echo(f"  and {len(left) - _NAMED} others; --json names them all", err=True)
