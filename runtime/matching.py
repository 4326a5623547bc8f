"""Comparing detections: two runs of one model find the same objects in another order, and not the same ones at the edge of a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

ROLES = frozenset({"boxes", "scores", "classes", "detections", "masks", "image-masks", "keypoints", "keypoint-heatmaps"})
"""The roles of outputs that have a row for each object."""

UNMATCHED = 0.05
"""The share of the objects, on either side, that may be missing on the other: those that a near-tie put below another one. Also that of
the keypoints that may be elsewhere, with the same score.
"""

_BITS = 0.01  # the share of a mask's pixels that may differ, where it is of bits

# What is sampled inside a box that moved a little moves with it, much where it is steep: measured on a Mask R-CNN, single pixels of
# PyTorch's own float32 masks are 1e-3 off its float64 ones, and in a box of few pixels a keypoint may be elsewhere. So that share of them
# may be further off, too.
_SAMPLED = frozenset({"masks", "keypoint-heatmaps", "keypoints"})


class Pairs(NamedTuple):
    """Which objects are the same: places on both sides, int64 [P] each; and those that have no counterpart, and should have one."""

    expected: NDArray[np.int64]
    got: NDArray[np.int64]
    missing: NDArray[np.int64]
    extra: NDArray[np.int64]


def difference(expected: Arrays, got: Arrays, *, tolerance: float) -> str | None:
    """Return how what was `got` of one image, by role, differs from what was `expected`; None if it doesn't.

    Objects are the same if their classes are, and boxes and scores are no further off than
    ``tolerance * max(1, max|expected|)``; then so far may all else that is known of them be, but for 1 % of what is sampled inside their
    boxes. Objects that hardly passed the threshold may be missing, and `UNMATCHED` of the others.
    """
    expected, got = _split(expected), _split(got)
    found = pairs(expected, got, tolerance=tolerance)
    for name, places, of in (("missing", found.missing, expected), ("too many", found.extra, got)):
        count = len(of["scores"])
        if len(places) > UNMATCHED * count:
            worst = places[of["scores"][places].argmax()]
            box = ", ".join(f"{value:.2f}" for value in of["boxes"][worst])
            return f"{len(places)} of {count} objects are {name}, such as that of score {of['scores'][worst]:.4f} at [{box}]"
    for role in sorted(set(expected) - {"boxes", "scores", "classes"}):
        want, have = expected[role][found.expected], got[role][found.got]
        if want.shape != have.shape:
            return f"{role!r} has the shape {list(have.shape[1:])} an object; expected is {list(want.shape[1:])}"
        if want.dtype == np.bool_:
            off, allowed = float((want != have).mean()) if want.size else 0.0, _BITS
        else:
            far = _off(want, have)
            off, allowed = _most(_settled(far, want, tolerance) if role == "keypoints" else far, role), _allowed(want, tolerance)
        if not off <= allowed:
            return f"{role!r} is off by {off:.3g}; allowed is {allowed:.3g}"
    return None


def pairs(expected: Arrays, got: Arrays, *, tolerance: float) -> Pairs:
    """Find the objects that both sides have, the nearest first: by ``"boxes"`` [D, 4], ``"scores"`` [D] and, where they are given,
    ``"classes"`` [D].
    """
    count, other = len(expected["scores"]), len(got["scores"])
    allowed = _allowed(expected["boxes"], tolerance), tolerance
    off = np.full((count, other), np.inf)
    if count and other:
        boxes = np.abs(expected["boxes"][:, None].astype(np.float64) - got["boxes"][None]).max(axis=2)
        scores = np.abs(expected["scores"][:, None].astype(np.float64) - got["scores"][None])
        off = np.maximum(boxes / allowed[0], scores / allowed[1])
        if "classes" in expected and "classes" in got:
            off[expected["classes"][:, None] != got["classes"][None]] = np.inf
    left: list[int] = []
    right: list[int] = []
    free, unseen = np.ones(count, np.bool_), np.ones(other, np.bool_)
    near = np.argwhere(off <= 1)
    for i, j in near[np.argsort(off[off <= 1], kind="stable")].tolist():
        if free[i] and unseen[j]:
            free[i] = unseen[j] = False
            left.append(i)
            right.append(j)
    lost = (np.flatnonzero(mask & (side["scores"] > _least(side) + tolerance)) for mask, side in ((free, expected), (unseen, got)))
    return Pairs(np.array(left, np.int64), np.array(right, np.int64), *lost)


def images(arrays: Arrays, ranks: Mapping[str, int]) -> Iterator[Arrays]:
    """Yield the outputs of each image, for outputs by role that have these dimensions for one image, and one more for a batch."""
    if all(array.ndim == ranks[role] for role, array in arrays.items()):
        yield arrays
        return
    for i in range(min(len(array) for array in arrays.values())):
        yield {role: array[i] if array.ndim > ranks[role] else array for role, array in arrays.items()}


def _split(arrays: Arrays) -> Arrays:
    """Return arrays in which ``"detections"`` [D, 6] are boxes, scores and classes."""
    if "detections" not in arrays:
        return arrays
    rows = arrays["detections"]
    rest = {role: array for role, array in arrays.items() if role != "detections"}
    return {**rest, "boxes": rows[:, :4], "scores": rows[:, 4], "classes": rows[:, 5]}


def _least(arrays: Arrays) -> float:
    return float(arrays["scores"].min(initial=np.inf))


def _allowed(expected: NDArray[Any], tolerance: float) -> float:
    return tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))


def _most(off: NDArray[np.float64], role: str) -> float:
    """Return the largest difference, or the largest that counts."""
    return float(np.quantile(off, 1 - _BITS) if role in _SAMPLED and off.size else off.max(initial=0.0))


def _settled(off: NDArray[np.float64], expected: NDArray[Any], tolerance: float) -> NDArray[np.float64]:
    """Return how far keypoints [P, K, 3] are off, each, without those that are elsewhere by a near-tie, if they are few.

    A keypoint is where a heatmap is largest. Where it is nearly as large at another place, that may be the answer: the score is the same.
    """
    far = off[..., :2].max(axis=2) > _allowed(expected, tolerance)
    tied = far & (off[..., 2] <= _allowed(expected[..., 2], tolerance))
    each: NDArray[np.float64] = off.max(axis=2)
    return each[~tied] if tied.sum() <= UNMATCHED * tied.size else each


def _off(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.float64]:
    off: NDArray[np.float64] = np.abs(got.astype(np.float64) - expected)
    return off
