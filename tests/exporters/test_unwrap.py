from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.unwrap import eval_copy, forget_caches, unwrap
from models import Tiny, example


def test_the_module_inside_a_wrapper_is_found(model):
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert unwrap(averaged) is averaged.module
    assert unwrap(nn.DataParallel(model)) is model
    assert unwrap(torch.compile(model)) is model
    assert unwrap(torch.compile(nn.DataParallel(model))) is model
    assert unwrap(model) is model


def test_a_copy_shares_nothing_and_changes_nothing(model):
    model.drop.eval()  # mixed modes, as with frozen layers
    before = {k: v.clone() for k, v in model.state_dict().items()}
    twin = eval_copy(model)
    for tensor in twin.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(1)
    assert model.training and not model.drop.training and not twin.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_copy_is_float32_whatever_the_model_is_trained_in(model):
    twin = eval_copy(model.to(torch.bfloat16))
    assert {t.dtype for t in twin.parameters()} == {torch.float32}
    assert {t.dtype for t in model.parameters()} == {torch.bfloat16}


def test_hooks_of_users_stay_behind(model):
    seen = []
    model.conv.register_forward_hook(lambda *args: seen.append(1))
    eval_copy(model)(example())
    assert seen == []
    model(example())
    assert seen == [1]


def test_hooks_that_compute_a_weight_come_along(model):
    nn.utils.weight_norm(model.head)  # the hook form, which PyTorch keeps for old models
    model.eval()
    with torch.no_grad():
        model.head.weight_g.mul_(3)
        expected = model(example())
    assert torch.allclose(eval_copy(model)(example()), expected)


def test_tied_weights_stay_tied():
    model = Tiny()
    model.second = model.head
    twin = eval_copy(model)
    assert twin.second.weight is twin.head.weight


def test_a_model_that_cannot_be_copied_says_so(model):
    model.lock = threading.Lock()
    with pytest.raises(ExportError, match=r"Tiny can't be copied .*lock"):
        eval_copy(model)


def test_a_copy_of_a_compiled_forward_runs_the_copy(model):
    images = torch.rand(2, *example().shape[1:])
    model.forward = torch.compile(model.forward, backend="eager")
    twin = eval_copy(model)
    before = twin(images)
    with torch.no_grad():
        model.head.weight.fill_(9)
    assert torch.equal(twin(images), before)


def test_a_copy_computes_in_full_precision_where_accelerate_trains_in_half(model):
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # it is the process's: another test may have made one
    images = torch.rand(2, *example().shape[1:])
    expected = eval_copy(model)(images)
    prepared = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare(model)
    assert torch.equal(eval_copy(prepared)(images), expected)
    assert not torch.equal(prepared.eval()(images), expected)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def test_what_a_module_remembers_between_forwards_is_forgotten():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.cache = None

        def train(self, mode=True):
            if mode:
                self.cache = None
            return super().train(mode)

        def forward(self, x):
            if self.cache is None:
                self.cache = self.weight * 2
            return x + self.cache

    model = Remembers().eval()
    model(torch.zeros(2))
    model.weight.data.fill_(5)
    assert forget_caches(model)(torch.zeros(2)).tolist() == [10, 10]
