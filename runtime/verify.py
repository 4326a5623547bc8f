"""The checks that a version passes before it serves: whole, finite, and the numbers that its trainer computed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exportweb.card import ROLES
from exportweb.errors import ExportwebError, Rejected
from exportweb.runtime import matching, tensors
from exportweb.runtime.predictor import Predictor

log = logging.getLogger(__name__)

CUDA_SLACK = 20.0
"""How much further than the card's tolerance an answer on CUDA may be: TF32 keeps 10 bits of a float32's 23."""


def golden(predictor: Predictor) -> None:
    """Run the card's golden sample and compare, by the rule in `exportweb.card.Golden`.

    A card without one is asked for a grey image instead, whose outputs only have to be finite; or for zeros, where a graph of arrays may
    answer anything. Raises `Rejected`.
    """
    card = predictor.card
    try:
        if card.golden is None:
            if not predictor.sure:
                return  # `warm` tries them
            rows = predictor.infer(predictor.blank(1))
            for name, got in rows[0].items():
                _finite(name, got)
            return
        inputs = {name: tensors.decode(tensor) for name, tensor in card.golden.inputs.items()}
        got_all = predictor.session.run(inputs, list(card.golden.outputs))
        tolerance = card.golden.tolerance * (CUDA_SLACK if predictor.device != "cpu" else 1.0)
        expected = {name: tensors.decode(tensor) for name, tensor in card.golden.outputs.items()}
        objects = {output.role: output.name for output in card.outputs if output.role in matching.ROLES and output.name in expected}
        if not objects.keys() & {"boxes", "detections"}:
            objects = {}
        for name in expected.keys() - set(objects.values()):
            _compare(name, got_all[name], expected[name], tolerance)
        if objects:
            _match(
                {role: got_all[name] for role, name in objects.items()}, {role: expected[name] for role, name in objects.items()}, tolerance
            )
    except Rejected:
        raise
    except ExportwebError as error:
        raise Rejected(f"Its golden sample can't be run: {error}") from error


STEP = 16
"""Images by which large batches on a GPU grow: a batch between two sizes is run as the larger one, so the less is computed in vain."""


def batch_sizes(max_batch: int) -> list[int]:
    """Return the sizes of batches on a GPU up to `max_batch`, which is one: 1, 2, 4, 8, 16, 32, 48, ..."""
    sizes = (*(1 << i for i in range(STEP.bit_length())), *range(STEP, max_batch, STEP), max_batch)
    return sorted({size for size in sizes if size <= max_batch})


def warm(predictor: Predictor, max_batch: int) -> Iterator[int]:
    """Run each of `batch_sizes` on a GPU, where kernels are chosen for each; the largest on the CPU, whose memory does for all.

    Yields a size after its run: the caller may stop between two of them. Raises `Rejected` if one can't be run.
    """
    for size in [max_batch] if predictor.device == "cpu" else batch_sizes(max_batch):
        try:
            predictor.infer(predictor.blank(size))
        except ExportwebError as error:
            if predictor.sure:
                raise Rejected(f"It can't run a batch of {size}: {error}") from error
            log.info("The model can't be run on zeros, so it is served as it is: %s", error)
        yield size


def _compare(name: str, got: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    """Raise `Rejected` unless ``max|got - expected| <= tolerance * max(1, max|expected|)``."""
    _finite(name, got)
    if got.shape != expected.shape:
        raise Rejected(f"Its golden sample's {name!r} has the shape {list(got.shape)}; its trainer computed {list(expected.shape)}.")
    want = expected.astype(np.float64)
    off = float(np.abs(got.astype(np.float64) - want).max(initial=0.0))
    allowed = tolerance * max(1.0, float(np.abs(want).max(initial=0.0)))
    if not off <= allowed:
        raise Rejected(f"Its golden sample failed: {name!r} is off by {off:.3g} from what its trainer computed; allowed is {allowed:.3g}.")


def _match(got: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    """Raise `Rejected` unless the same objects were found, by the rule in `exportweb.runtime.matching`; in whatever order."""
    for role, array in got.items():
        _finite(role, array)
    for want, have in zip(matching.images(expected, ROLES), matching.images(got, ROLES), strict=True):
        off = matching.difference(want, have, tolerance=tolerance)
        if off is not None:
            raise Rejected(f"Its golden sample failed: {off}, compared with what its trainer computed.")


def _finite(name: str, got: NDArray[Any]) -> None:
    if np.issubdtype(got.dtype, np.floating) and not np.isfinite(got).all():
        raise Rejected(f"Its outputs are not finite: {name!r} holds NaN or infinity, so its weights or its graph are broken.")
