from __future__ import annotations

import numpy as np
import pytest
import torch

from exportweb.runtime.bfloat16 import pack, unpack


def test_what_is_packed_is_unpacked() -> None:
    values = np.array([[0, -1.5, 2.0**100], [np.inf, -np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(unpack(pack(values)), values)


@pytest.mark.parametrize("seed", range(3))
def test_rounds_as_pytorch_does(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=10_000).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(values)), torch.from_numpy(values).bfloat16().float().numpy())
