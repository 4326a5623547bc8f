"""More than fp32: from an artifact to the same model in float16 or int8, with the change that this makes measured on real images."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from exportweb import artifact as artifacts
from exportweb.artifact import KEY
from exportweb.atomic import replace_file
from exportweb.card import Card, Golden, Precision
from exportweb.errors import ExportError
from exportweb.exporters import calibration, half
from exportweb.exporters.calibration import Calibration, Progress
from exportweb.exporters.quantize import TOLERANCE as INT8_TOLERANCE
from exportweb.exporters.quantize import quantize
from exportweb.runtime import Predictor, tensors, verify
from exportweb.runtime.session import OnnxSession
from exportweb.runtime.tasks.image_classification import softmax

PRECISIONS = ("fp16", "int8")
TOLERANCE = 0.02

_BATCH = 16


def check(precision: str, calibrate: object) -> None:
    """Raise `ExportError` if that is no precision to convert to, or one that needs images and has none."""
    if precision not in PRECISIONS:
        raise ExportError(f"precision={precision!r} is none that a model can be converted to; give {' or '.join(map(repr, PRECISIONS))}.")
    if precision == "int8" and calibrate is None:
        raise ExportError(
            "int8 needs images to calibrate with: --calibrate DIR (in Python calibrate=folder), 100 or more of the kind that the model "
            "will see."
        )


def convert(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    precision: str,
    calibrate: str | os.PathLike[str] | None = None,
    images: int = calibration.IMAGES,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> Path:
    """Write the fp32 artifact `source` in another precision to `path`; return that.

    ``"int8"`` needs `calibrate`: a folder of images, or one with a folder of them for each class, of which at most `images` are used.
    Where images are given, the two artifacts are compared on them, and the card of the new one says what changed. `tolerance` is the
    share of the images whose top class may change; accuracy can't change by more.

    The golden sample of an fp16 artifact stays PyTorch's own fp32 answer, with a tolerance that fits. That of an int8 artifact is what
    ONNX Runtime answers with the quantised graph: it shows whether a file and a machine are sound, not how good the model is.

    Raises `ExportError` if `source` isn't an fp32 artifact, an image can't be read or more than `tolerance` changes, `Rejected` if the
    golden sample fails, `OSError` if a file can't be read or written. Nothing is written then.
    """
    check(precision, calibrate)
    card = _fp32_card(source)
    before = Predictor.load(source, device="cpu")
    found = None if calibrate is None else calibration.load(calibrate, before, limit=images, progress=progress)
    model = onnx.load(source)
    kept = [entry for entry in model.metadata_props if entry.key != KEY.decode()]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if precision == "fp16":
        graph: bytes = half.half_model(model).SerializeToString()
    else:
        assert found is not None  # checked above
        assert card.input is not None
        graph = quantize(model, [image.arrays[card.input.name] for image in found.images], input=card.input.name, progress=progress)
    after = Predictor(card, OnnxSession(graph, device="cpu"))
    card = card.replace(golden=_golden(after, precision), precision=Precision(name=precision))
    # Without ONNX Runtime's fusions an int8 graph computes as it does where there are no int8 kernels: that has to pass as well.
    verify.golden(Predictor(card, OnnxSession(graph, device="cpu", optimize=False)))
    verify.golden(Predictor(card, after.session))
    if found is not None:
        card = card.replace(precision=_compare(before, after, found, precision, tolerance, progress))
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, lambda file: artifacts.write(file, [graph], card))
    return target


def _fp32_card(source: str | os.PathLike[str]) -> Card:
    artifact = artifacts.read(source)
    card = artifact.card
    if artifact.format != "onnx":
        raise ExportError(f"{source} is TorchScript; what can be converted is ONNX.")
    if card is None:
        raise ExportError(f"{source} has no card, so nothing says how images become its input; what can be converted is an artifact.")
    if card.precision is not None:
        raise ExportError(f"{source} is {card.precision.name} already; convert the fp32 artifact that it was made from.")
    if card.task != "image-classification" or card.input is None:
        raise ExportError(f"{source} is for {card.task}; what can be converted is image classification.")
    return card


def _golden(predictor: Predictor, precision: str) -> Golden | None:
    golden = predictor.card.golden
    if golden is None:
        return None
    if precision == "fp16":
        return msgspec.structs.replace(golden, tolerance=max(golden.tolerance, half.TOLERANCE))
    inputs = {name: tensors.decode(tensor) for name, tensor in golden.inputs.items()}
    outputs = predictor.session.run(inputs, list(golden.outputs))
    encoded = {name: tensors.encode(array) for name, array in outputs.items()}
    return msgspec.structs.replace(golden, outputs=encoded, tolerance=INT8_TOLERANCE)


def _compare(
    before: Predictor, after: Predictor, found: Calibration, precision: str, tolerance: float, progress: Progress | None
) -> Precision:
    """Return what changed on the images; raise `ExportError` if that is too much."""
    old, new = (_scores(predictor, found, progress) for predictor in (before, after))
    count = len(found.images)
    changed = int((old.argmax(1) != new.argmax(1)).sum())
    measured = Precision(
        name=precision, images=count, agreement=1 - changed / count, difference=float(np.abs(old - new).mean(dtype=np.float64))
    )
    accuracy = ""
    if found.labels is not None:
        right = [float(np.mean([got == want for got, want in zip(_labels(before, s), found.labels, strict=True)])) for s in (old, new)]
        measured = msgspec.structs.replace(measured, accuracy_before=right[0], accuracy_after=right[1])
        accuracy = f" (accuracy {right[0]:.4f} in fp32, {right[1]:.4f} in {precision})"
    if changed > round(tolerance * count, 6):
        raise ExportError(
            f"{precision} changes the top class of {changed} of {count} images, {changed / count:.4f} of them; allowed is {tolerance:g}"
            f"{accuracy}. Scores move by {measured.difference:.4f} on average. Calibrate with more images of the kind that the model will "
            "see, check that it is trained (an untrained model's classes are nearly tied), or allow more with --tolerance."
        )
    return measured


def _scores(predictor: Predictor, found: Calibration, progress: Progress | None) -> NDArray[np.float32]:
    """Return the probability of each class: [images, classes]."""
    (name,) = predictor.task.outputs
    size = min(_BATCH, predictor.max_batch or _BATCH)
    rows: list[NDArray[np.float32]] = []
    for at in range(0, len(found.images), size):
        rows += [row[name].astype(np.float32) for row in predictor.infer(found.images[at : at + size])]
        if progress is not None:
            progress("comparing", len(rows), len(found.images))
    role = next(output.role for output in predictor.card.outputs if output.name == name)
    answers = np.stack(rows)
    return softmax(answers) if role == "logits" else answers


def _labels(predictor: Predictor, scores: NDArray[np.float32]) -> list[str]:
    return [predictor.card.labels[i] for i in scores.argmax(1)]
