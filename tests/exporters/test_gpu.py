"""Publishing from a real GPU: weights are copied beside the training, and the training is what it would be without."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from exportweb import export_hook
from exportweb.exporters.weights import Snapshot, Weights
from exportweb.runtime import Predictor
from models import LABELS, SIZE, Tiny, batches, example

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LONG = 2_000_000_000  # cycles of a GPU: about a second


@pytest.fixture
def exact() -> Iterator[None]:
    """Have cuDNN compute the same in every run."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def big() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(16)]).cuda()


def test_a_copy_holds_the_weights_of_its_moment() -> None:
    model = big()
    weights = Weights(model)
    wanted = [tensor.detach().cpu().clone() for tensor in weights.tensors]
    snapshot = Snapshot(weights)
    assert all(tensor.is_pinned() for tensor in snapshot.tensors)
    for _ in range(3):
        snapshot.take(weights)
        with torch.no_grad():
            for tensor in weights.tensors:
                tensor.zero_()  # at once, in the training's stream
        snapshot.wait()
        assert all(torch.equal(mine, value) for mine, value in zip(snapshot.tensors, wanted, strict=True))
        with torch.no_grad():
            for tensor, value in zip(weights.tensors, wanted, strict=True):
                tensor.copy_(value)


def test_taking_a_copy_waits_for_no_computation() -> None:
    weights = Weights(big())
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    snapshot.wait()
    torch.cuda.synchronize()
    torch.cuda._sleep(LONG)
    snapshot.take(weights)
    assert not torch.cuda.current_stream().query()  # the GPU still computes what came before
    snapshot.wait()


def test_copies_come_beside_what_is_computed_next() -> None:
    weights = Weights(big())
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    torch.cuda._sleep(LONG)
    snapshot.wait()
    assert not torch.cuda.current_stream().query()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters_arrive_as_float32(dtype: torch.dtype) -> None:
    weights = Weights(big().to(dtype))
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    snapshot.wait()
    for mine, theirs in zip(snapshot.tensors, weights.tensors, strict=True):
        assert mine.dtype == torch.float32 and torch.equal(mine, theirs.detach().float().cpu())


def train(model: nn.Module, *, epochs: int, amp: bool = False) -> Iterator[int]:
    """Train on the GPU; yield after each epoch."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for epoch in range(epochs):
        model.train()
        for images, labels in batches(seed=epoch):
            with torch.autocast("cuda", torch.bfloat16, enabled=amp):
                loss = F.cross_entropy(model(images.cuda()), labels.cuda())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield epoch


@pytest.mark.parametrize("amp", [False, True])
def test_every_epoch_of_a_training_becomes_a_version(tmp_path: Path, amp: bool) -> None:
    torch.manual_seed(0)
    model = Tiny().cuda()
    wanted = []
    image = torch.rand(1, 3, SIZE, SIZE)
    with export_hook(model, to=tmp_path, example=example(), labels=LABELS) as hook:
        for _ in train(model, epochs=3, amp=amp):
            hook.step()
            wanted.append(copy.deepcopy(model).cpu().eval()(image))
        hook.flush()
        store = hook.store
        pixels = (image.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
        for number, logits in enumerate(wanted, 1):
            got = Predictor.load(store.path(number), device="cpu").session.run({"image": pixels.numpy()})["logits"]
            assert torch.allclose(torch.from_numpy(got), logits, atol=2e-2)
    assert sorted(store.versions()) == [1, 2, 3]


def test_the_hook_changes_no_bit_of_the_training(tmp_path: Path, exact: None) -> None:
    def trained(published: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = Tiny().cuda()
        if published:
            with export_hook(model, to=tmp_path, example=example()) as hook:
                for _ in train(model, epochs=3):
                    hook.step()
        else:
            list(train(model, epochs=3))
        return model.state_dict()

    without, with_hook = trained(False), trained(True)
    assert all(torch.equal(without[name], with_hook[name]) for name in without)
