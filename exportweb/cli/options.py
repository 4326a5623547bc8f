"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from exportweb.card import Interpolation

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|cuda:all|cuda(:\d+)?(,cuda(:\d+)?)+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])?(i)?b?)", re.IGNORECASE)


def _check_device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise click.BadParameter(f"{value!r} should be auto, cpu, cuda or cuda:N; several GPUs are cuda:0,cuda:1 or cuda:all.")
    return value


def size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Read a number of bytes; a click callback."""
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} should be a number of bytes, such as 4000000000, 4GB or 3.5GiB.")
    power = " kmgt".index((match[2] or " ").lower())
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Read numbers with commas between them; a click callback."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} should be numbers with commas between them, such as 0.485,0.456,0.406.") from None


def pixels(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read a side, or height x width; a click callback."""
    if value is None:
        return None
    sides = value.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise click.BadParameter(f"{value!r} should be a number of pixels, such as 224, or height x width, such as 224x320.")
    return int(sides[0]), int(sides[-1])


DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]|cuda:all",
    callback=_check_device,
    help="Where to run the model; cuda is the first GPU, cuda:0,cuda:1 are two, cuda:all are all.",
)

TRUST_TORCHSCRIPT = click.option(
    "--trust-torchscript",
    is_flag=True,
    envvar="EXPORTWEB_TRUST_TORCHSCRIPT",
    help="Load TorchScript files, too: they are code, so only if you know who wrote them.",
)

LABELS = "Names of the classes: a text file with one a line, a COCO or LVIS JSON, YOLO's data.yaml, or a VOC folder."
LABELS_PATH = click.Path(path_type=Path, exists=True)

_FOREIGN = (
    click.option(
        "--task",
        help="For an ONNX file without a card: image-classification, object-detection, instance-segmentation or keypoint-detection (YOLO "
        "of Ultralytics), or tensor for arrays in and out.",
    ),
    click.option("--labels", type=LABELS_PATH, help=f"... {LABELS[0].lower()}{LABELS[1:]}"),
    click.option("--mean", callback=numbers, metavar="M,M,M", help="... per channel, of pixels in 0..1."),
    click.option("--std", callback=numbers, metavar="S,S,S", help="... per channel, of pixels in 0..1."),
    click.option("--resize-to", type=click.IntRange(min=1), metavar="PIXELS", help="... shortest edge before the centre crop."),
    click.option(
        "--interpolation", type=click.Choice(get_args(Interpolation)), help="... of that resize: bicubic, or linear for YOLO, if not given."
    ),
    click.option("--color", type=click.Choice(["RGB", "BGR", "L"]), help="... order of the channels; L is grey."),
    click.option("--probabilities", is_flag=True, help="... it ends in a softmax."),
)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def foreign(command: _Command) -> _Command:
    """Add the options that say what an ONNX file without a card is: those of `exportweb.runtime.card_for_onnx`."""
    for option in reversed(_FOREIGN):
        command = option(command)
    return command
