"""The same seed gives the same weights, to the bit, with the hook and without it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from exportweb import Store, export_hook
from models import Tiny, batches, example


def train(model, *, workers, hook=None):
    """Three epochs of shuffled batches; return the weights and the state of the random numbers at the end."""
    images, labels = map(torch.cat, zip(*batches(3), strict=True))
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, shuffle=True, num_workers=workers)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(3):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        if hook is not None:
            hook.step()
    return model.state_dict(), torch.get_rng_state()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("options", "explicit"), [({}, True), ({}, False), ({"unit": "step", "every": 2}, False)])
def test_training_is_not_changed(tmp_path, workers, options, explicit):
    torch.manual_seed(0)
    model = Tiny()
    plain = copy.deepcopy(model)
    torch.manual_seed(1)
    expected, numbers = train(plain, workers=workers)

    torch.manual_seed(1)
    with export_hook(model, to=tmp_path, example=example(), **options) as hook:
        got, now = train(model, workers=workers, hook=hook if explicit else None)
    assert torch.equal(now, numbers)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert Store(tmp_path).versions()
