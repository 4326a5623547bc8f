"""Image classification: logits or probabilities in, the likeliest labels out.

Answers have the shape of Hugging Face's task API: ``[{"label": "cat", "score": 0.93}, ...]``, best first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from exportweb.card import Card
from exportweb.errors import CardError, ExportwebError
from exportweb.runtime.parameters import count, known
from exportweb.runtime.reader import Prepared, Row

DEFAULT_TOP_K = 5

# What `together` adds to a graph's outputs, by names that none of these has.
_BEST, _SCORES = "best classes\0", "their scores\0"


class Params(msgspec.Struct, frozen=True):
    """What a client may ask for: how many classes, best first."""

    top_k: int


class ImageClassification:
    """The task of a card with one output of role ``"logits"`` or ``"probabilities"``, of shape [N, classes].

    Raises `CardError` if there is no such output, or if the labels are not as many as its classes. Classes without labels are
    called ``class_0``, ``class_1``, ...
    """

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        output = next((output for output in card.outputs if output.role in ("logits", "probabilities")), None)
        if output is None:
            roles = ", ".join(output.role for output in card.outputs) or "none"
            raise CardError(f"Image classification needs an output of role 'logits' or 'probabilities'; the card has {roles}.")
        shape = shapes[output.name]
        if len(shape) != 2:
            raise CardError(f"Output {output.name!r} should have the shape [N, classes]; it has {list(shape)}.")
        classes = shape[1] or len(card.labels)
        if not classes:
            raise CardError(f"The graph doesn't say how many classes {output.name!r} has, and the card has no labels.")
        if card.labels and len(card.labels) != classes:
            raise CardError(f"The card has {len(card.labels)} labels, but output {output.name!r} has {classes} classes.")
        self.outputs = (output.name,)
        self.labels = card.labels or tuple(f"class_{i}" for i in range(classes))
        self._logits = output.role == "logits"

    def params(self, given: Mapping[str, object]) -> Params:
        """Read ``top_k``, 1 to the number of classes (default 5, or all where there are fewer).

        Raises `BadParameter`.
        """
        known(given, ["top_k"], what="image classification")
        classes = len(self.labels)
        return Params(top_k=count(given, "top_k", most=classes, of="classes") or min(DEFAULT_TOP_K, classes))

    def together(self, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Find the likeliest classes of each row of a batch, as many as are answered by default.

        Where equal scores leave that open, or one isn't finite, all is left to `answer`.
        """
        logits = outputs[self.outputs[0]]
        scores = logits.astype(np.float32, copy=False)
        with np.errstate(all="ignore"):
            if self._logits:
                scores = softmax(scores)
            k = min(DEFAULT_TOP_K, scores.shape[1])
            best = scores >= np.partition(scores, -k, axis=1)[:, -k, np.newaxis]
        if not (np.isfinite(logits).all() and (best.sum(axis=1) == k).all()):
            return outputs
        rows, classes = best.nonzero()
        return {**outputs, _BEST: classes.reshape(-1, k), _SCORES: scores[rows, classes].reshape(-1, k)}

    def answer(self, row: Row, params: Params, prepared: Prepared | None = None) -> list[dict[str, object]]:
        """Return the `top_k` likeliest classes, best first, equal scores in the order of the classes.

        Raises `ExportwebError` if the outputs are not finite.
        """
        if _BEST in row and params.top_k == len(row[_BEST]):
            return self._ranked(row[_SCORES], row[_BEST])
        scores = row[self.outputs[0]].astype(np.float32, copy=False)
        if not np.isfinite(scores).all():
            raise ExportwebError("The model's output for this image is not finite, so there is no answer.")
        if self._logits:
            scores = softmax(scores)
        # The version that runs may have fewer classes than the one that the parameters were checked against.
        k = min(params.top_k, len(scores))
        best = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        best = best[np.argsort(-scores[best], kind="stable")][:k]
        return self._ranked(scores[best], best)

    def _ranked(self, scores: NDArray[np.float32], classes: NDArray[np.intp]) -> list[dict[str, object]]:
        ranked = sorted(zip((-scores).tolist(), classes.tolist(), strict=True))
        return [{"label": self.labels[i], "score": -score} for score, i in ranked]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``exp(x) / sum(exp(x))`` over the last axis, float32; the largest logit is subtracted first, so nothing overflows."""
    powers: NDArray[np.float32] = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    powers /= np.add.reduce(powers, axis=-1, keepdims=True)
    return powers
