"""``exportweb serve``: models on the web."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from exportweb.cli.ending import despite_runs
from exportweb.cli.options import DEVICE, TRUST_TORCHSCRIPT, foreign, size
from exportweb.cli.paths import Locations, by_name, read_artifact
from exportweb.cli.table import metrics
from exportweb.errors import ExportwebError

if TYPE_CHECKING:
    from exportweb.card import Card
    from exportweb.runtime import Event, VersionInfo

log = logging.getLogger("exportweb")

_LEVELS = ("debug", "info", "warning", "error")


@click.command(context_settings={"auto_envvar_prefix": "EXPORTWEB", "show_default": True})
@click.argument("paths", metavar="[NAME=]PATH...", type=Locations(), nargs=-1, required=True, envvar="EXPORTWEB_PATH")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 takes a free one.")
@DEVICE
@click.option(
    "--max-batch",
    type=click.IntRange(min=0),
    default=0,
    help="Images per run of the model; 0: what is quickest.",
)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads per run of the model; 0: what is quickest.")
@click.option(
    "--tune",
    type=click.FloatRange(min=0),
    default=2.0,
    help="Seconds in which that may be measured, once the first version serves: when nothing is asked, or between runs; 0: not at all.",
)
@click.option(
    "--gpu-mem-limit",
    callback=size,
    default="0",
    metavar="SIZE",
    help="What each version may take of a GPU's memory, such as 4GB; 0: all. Two versions are loaded in a swap.",
)
@click.option("--cuda-graphs/--no-cuda-graphs", default=True, help="Whether CUDA graphs may be used where they are measured to be faster.")
@click.option(
    "--fronts",
    type=click.IntRange(min=0),
    default=None,
    help="Processes that take requests when many come.  [default: with 8 CPUs or more, one for each, at most 16; else none]",
)
@click.option("--keep-loaded", type=click.IntRange(min=1), default=1, help="Versions that stay loaded and can be asked by ?version=.")
@click.option(
    "--max-queue", type=click.IntRange(min=1), default=256, help="Requests that may wait for a model, for slow ones fewer; else 503."
)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, help="Seconds in which a request is answered; beyond them 504."
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=10.0,
    help="Seconds for accepted requests to be answered, once told to stop.",
)
@click.option("--max-connections", type=click.IntRange(min=1), default=4096, help="Connections at a time, idle ones go first.")
@click.option("--max-upload", type=click.IntRange(min=1), default=20_000_000, help="Bytes of a request; beyond them 413.")
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=50_000_000, help="Pixels of an image, or values of arrays; beyond them 413."
)
@click.option(
    "--decode",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    help="How JPEGs are decoded; fast: scaled down on the way where they are much larger than the model's input.",
)
@click.option(
    "--cors",
    multiple=True,
    metavar="ORIGIN",
    help="A site whose pages may ask, such as https://example.org, or *; may be repeated.",
)
@TRUST_TORCHSCRIPT
@click.option("--log-level", type=click.Choice(_LEVELS), default="info")
@foreign
@click.option("--exit-with-stdin", is_flag=True, hidden=True, help="Stop when stdin ends.")
@despite_runs()
def command(
    paths: Sequence[tuple[str, Path | str]],
    host: str,
    port: int,
    device: str,
    max_batch: int,
    threads: int,
    tune: float,
    gpu_mem_limit: int,
    cuda_graphs: bool,
    fronts: int | None,
    keep_loaded: int,
    max_queue: int,
    timeout: float,
    grace: float,
    max_connections: int,
    max_upload: int,
    max_pixels: int,
    decode: Literal["exact", "fast"],
    cors: tuple[str, ...],
    trust_torchscript: bool,
    log_level: str,
    exit_with_stdin: bool,
    **described: Any,
) -> None:
    """Serve each PATH, an ONNX file or a store of versions (a folder or a URL such as s3://bucket/runs/flowers), on the web.

    New versions are swapped in as they appear. Several models share the threads fairly, each under /models/NAME, which is its file's or
    folder's own name unless another is given. Each option is also an environment variable, such as EXPORTWEB_PORT.
    """
    places = by_name(paths)
    cards = _cards(places, described)

    from exportweb.runtime import ServedModel, Workers

    logging.basicConfig(format="exportweb: %(message)s")
    log.setLevel(log_level.upper())
    workers = Workers()
    models = {
        name: ServedModel(
            path,
            device=device,
            threads=threads,
            tuning_budget=tune,
            max_batch=max_batch,
            gpu_mem_limit=gpu_mem_limit,
            cuda_graphs=cuda_graphs,
            max_queue=max_queue,
            max_pixels=max_pixels,
            keep_loaded=keep_loaded,
            decoding=decode,
            card=cards[name],
            workers=workers,
            trust_torchscript=trust_torchscript,
        )
        for name, path in places.items()
    }
    for name, model in models.items():
        card, path = cards[name], places[name]
        if card is not None and card.task == "tensor" and described.get("task") is None:
            log.info("%s has no card and takes no images, so it is served as arrays in, arrays out (--task tensor)", path)
        prefix = f"{name}: " if len(models) > 1 else ""
        report = functools.partial(_report, prefix)
        file = isinstance(path, Path) and path.is_file()
        if not file:
            model.subscribe(report)
        model.start()
        importlib.import_module("exportweb.web")  # while the model is loaded, in a thread of its own
        if file:
            try:
                model.wait()
            except ExportwebError as error:  # which is this command's own
                raise ExportwebError(f"{prefix}{error}") from error
            if model.current is not None:
                _report_serving(prefix, model.current)
            model.subscribe(report)

    from exportweb.web import run, suitable

    known = [model.predictor.card.name for model in models.values() if len(models) == 1 and model.predictor]
    run(
        models,
        name=", ".join(known or models),
        host=host,
        port=port,
        log_level=log_level,
        max_upload=max_upload,
        timeout=timeout,
        grace=grace,
        max_connections=max_connections,
        fronts=suitable() if fronts is None else fronts,
        cors=cors,
        exit_with_stdin=exit_with_stdin,
    )


def _cards(places: dict[str, Path | str], described: dict[str, Any]) -> dict[str, Card | None]:
    """Return the card to serve each model with: its own (None), or one made from the options, which are for who has none."""
    context = click.get_current_context()
    given = [name for name in described if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT]
    options = ", ".join("--" + name.replace("_", "-") for name in given)
    cards: dict[str, Card | None] = {}
    complaints = []
    for name, path in places.items():
        cards[name] = None
        if isinstance(path, str) or path.is_dir():
            complaints.append(f"{options} say what a single ONNX file without a card is; {path} is a store of versions.")
        elif _has_card(path):
            complaints.append(f"{path} has a card, which says what it is; leave out {options}.")
        else:
            cards[name] = _card(path, **described)
    if given and len(complaints) == len(places):
        raise click.ClickException(complaints[0])
    return cards


def _has_card(path: Path) -> bool:
    if not path.exists():
        raise click.ClickException(
            f"There is nothing at {path}. It should be an ONNX file, or a folder of versions, which may be empty: mkdir -p {path}"
        )
    found = read_artifact(path)
    return found.card is not None or found.format == "torchscript"  # which only a card of its own describes


def _card(path: Path, *, labels: Path | None, **described: Any) -> Card:
    from exportweb.labels import read_labels
    from exportweb.runtime import card_for_onnx

    return card_for_onnx(path, labels=read_labels(labels) if labels else None, **described)


def _report_serving(model: str, info: VersionInfo) -> None:
    log.info("%sversion %d serves%s", model, info.version, _about(info))


def _report(model: str, event: Event) -> None:
    """Say in one line what happened to a version; `model` begins it."""
    info = event.info
    if event.kind == "loaded":
        _report_serving(model, info)
    elif event.kind == "rejected":
        log.warning("%sversion %d is rejected: %s", model, info.version, info.reason)
    elif event.kind == "refused":
        log.warning("%sa version%s was not published: %s", model, _about(info), info.reason)


def _about(info: VersionInfo) -> str:
    facts = [f"epoch {info.epoch}"] if info.epoch is not None else []
    facts += [metrics(info.metrics)] if info.metrics else []
    return f" ({', '.join(facts)})" if facts else ""
