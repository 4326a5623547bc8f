from __future__ import annotations

import numpy as np
import pytest

from exportweb.runtime.evaluate.accuracy import Accuracy


def test_top_1_and_top_5_are_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    targets, scores = random.integers(0, 8, 300), random.random((300, 8), np.float32)
    scores[np.arange(300), targets] += 0.3
    accuracy = Accuracy({i: f"class {i}" for i in range(8)})
    for target, row in zip(targets.tolist(), scores, strict=True):
        accuracy.add(target, row)
    score = accuracy.result()
    assert score.metrics == {k: pytest.approx(metrics.top_k_accuracy_score(targets, scores, k=int(k[3:]))) for k in ("top1", "top5")}
    assert score.classes["class 3"] == pytest.approx(np.mean(scores[targets == 3].argmax(1) == 3))


def test_of_equal_scores_the_first_class_is_the_likeliest() -> None:
    accuracy = Accuracy({0: "a", 1: "b"})
    tie = np.array([0.5, 0.5], np.float32)
    accuracy.add(0, tie)
    accuracy.add(1, tie)
    assert accuracy.result() == ({"top1": 0.5}, {"a": 1.0, "b": 0.0})  # and no top-5 of two classes
