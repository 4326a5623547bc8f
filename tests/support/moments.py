"""Whose weights the versions in a store hold: those that a model had at moments of its training."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from exportweb import Store
from published import weights


def moment(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a model as they are now."""
    return copy.deepcopy(model.state_dict())


def same(version: dict[str, torch.Tensor], then: dict[str, torch.Tensor]) -> bool:
    """Whether a version holds the weights that a model had then, to the bit: all but what counts batches, which no graph needs."""
    return all(torch.equal(version[name], tensor.cpu()) for name, tensor in then.items() if tensor.is_floating_point())


def assert_versions_are(folder: Path, moments: list[dict[str, torch.Tensor]]) -> None:
    """Assert that the versions, oldest first, hold the weights of these moments."""
    versions = [weights(path) for path in Store(folder).versions().values()]
    assert len(versions) == len(moments)
    assert [same(version, then) for version, then in zip(versions, moments, strict=True)] == [True] * len(moments)
    assert not any(same(moments[i], moments[i + 1]) for i in range(len(moments) - 1))  # training changes them, so that tells something
