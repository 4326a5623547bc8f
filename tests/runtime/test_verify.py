from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from onnx import TensorProto

from exportweb.card import Golden
from exportweb.errors import Rejected
from exportweb.runtime import Predictor, card_for_onnx, verify
from serving import Artifacts
from versions import float_graph, version


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Predictor]:
    def write(**card: Any) -> Predictor:
        path = tmp_path / "model.onnx"
        path.write_bytes(version(**card))
        return Predictor.load(path, device="cpu", threads=1)

    return write


def golden(artifacts: Artifacts, **changes: Any) -> Golden:
    sample = artifacts.card().golden
    assert sample is not None
    return msgspec.structs.replace(sample, **changes)


def test_the_golden_sample_passes(load: Callable[..., Predictor]) -> None:
    verify.golden(load())


def test_a_wrong_answer_says_how_wrong(load: Callable[..., Predictor]) -> None:
    with pytest.raises(Rejected, match=r"'logits' is off by 1 .* allowed is 0\.00\d+"):
        verify.golden(load(damage=True))


def test_the_tolerance_is_relative_above_one(load: Callable[..., Predictor], artifacts: Artifacts) -> None:
    # The logits are near 500, so 1e-2 of them is more than the 1 by which the sample is off.
    verify.golden(load(scale=1000.0, golden=msgspec.structs.replace(artifacts.card(scale=1000.0, damage=True).golden, tolerance=1e-2)))


def test_numbers_that_are_none(load: Callable[..., Predictor]) -> None:
    with pytest.raises(Rejected, match=r"not finite.*NaN"):
        verify.golden(load(scale=float("nan")))
    with pytest.raises(Rejected, match="not finite"):
        verify.golden(load(scale=float("nan"), golden=None))


def test_a_sample_that_does_not_fit(load: Callable[..., Predictor], artifacts: Artifacts) -> None:
    good = golden(artifacts)
    with pytest.raises(Rejected, match="can't be run"):
        verify.golden(load(golden=golden(artifacts, inputs={"other": good.inputs["image"]})))
    with pytest.raises(Rejected, match="can't be run"):
        verify.golden(load(golden=golden(artifacts, outputs={"other": good.outputs["logits"]})))
    short = msgspec.structs.replace(good.inputs["image"], data=b"")
    with pytest.raises(Rejected, match="can't be run"):
        verify.golden(load(golden=golden(artifacts, inputs={"image": short})))


@pytest.mark.parametrize("most", [1, 4, 6])
def test_on_the_cpu_the_largest_batch_warms_for_all(load: Callable[..., Predictor], most: int) -> None:
    assert list(verify.warm(load(), most)) == [most]


def test_warms_float_images_too(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(float_graph(dtype=TensorProto.FLOAT))
    predictor = Predictor.load(path, device="cpu", card=card_for_onnx(path, task="image-classification", mean=[0], std=[1]))
    verify.golden(predictor)
    assert list(verify.warm(predictor, 2)) == [2]
