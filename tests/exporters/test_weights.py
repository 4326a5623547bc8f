from __future__ import annotations

import torch
from torch import nn

from exportweb.exporters.weights import Snapshot, Weights
from models import Tiny


def test_weights_are_parameters_and_buffers_under_their_names(model):
    weights = Weights(model)
    assert set(weights.names) == set(model.state_dict())
    assert weights.tensors[weights.names["head.weight"]] is model.head.weight


def test_a_tied_weight_is_one_tensor_with_two_names(model):
    model.second = model.head
    weights = Weights(model)
    assert weights.names["second.weight"] == weights.names["head.weight"]
    assert len(weights.tensors) == len(weights.names) - 2


def test_a_walk_is_only_repeated_when_something_was_replaced(model):
    weights = Weights(model)
    with torch.no_grad():
        model.head.weight.add_(1)  # training changes values, not tensors
    assert weights.refreshed() is weights

    model.head = nn.Linear(8, 7)
    again = weights.refreshed()
    assert again is not weights
    assert again.layout() != weights.layout()

    model.head.extra = nn.Parameter(torch.zeros(1))
    assert again.refreshed() is not again


def test_replacing_a_tensor_by_its_like_keeps_the_layout(model):
    weights = Weights(model)
    model.head.weight = nn.Parameter(torch.zeros_like(model.head.weight))
    again = weights.refreshed()
    assert again is not weights
    assert again.layout() == weights.layout()
    assert again.tensors[again.names["head.weight"]] is model.head.weight


def test_a_snapshot_is_a_copy(model):
    weights = Weights(model)
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    before = model.head.weight.detach().clone()
    with torch.no_grad():
        model.head.weight.zero_()
    assert torch.equal(snapshot.tensors[weights.names["head.weight"]], before)


def test_a_snapshot_of_low_precision_weights_is_float32(model):
    weights = Weights(model.to(torch.bfloat16))
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    i = weights.names["conv.weight"]
    assert snapshot.tensors[i].dtype == torch.float32
    assert torch.equal(snapshot.tensors[i], model.conv.weight.float())


def test_a_snapshot_of_channels_last_weights_is_contiguous(model):
    weights = Weights(model.to(memory_format=torch.channels_last))
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    i = weights.names["conv.weight"]
    assert snapshot.tensors[i].is_contiguous()
    assert torch.equal(snapshot.tensors[i], model.conv.weight)


def test_another_module_can_borrow_a_snapshot(model):
    weights = Weights(model)
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    other = Tiny()
    snapshot.lend(Weights(other), weights.names)
    assert torch.equal(other.head.weight, model.head.weight)
    snapshot.tensors[weights.names["head.weight"]].fill_(3)
    assert other.head.weight.unique().tolist() == [3]


def test_nan_and_infinity_are_found_by_name(model):
    weights = Weights(model)
    snapshot = Snapshot(weights)
    for poison in (float("nan"), float("inf"), float("-inf")):
        snapshot.take(weights)
        assert snapshot.not_finite(weights.names) is None
        snapshot.tensors[weights.names["norm.weight"]][2] = poison
        assert snapshot.not_finite(weights.names) == "norm.weight"


def test_large_but_finite_weights_are_finite(model):
    weights = Weights(model)
    snapshot = Snapshot(weights)
    snapshot.tensors[weights.names["head.weight"]].fill_(3e38)
    assert snapshot.not_finite(weights.names) is None
