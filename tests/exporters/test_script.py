from __future__ import annotations

import io
import zipfile

import pytest
import torch
from torch import nn

from exportweb.exporters.script import ScriptTemplate
from exportweb.exporters.weights import Weights
from models import Tiny
from scripted import traced


def loaded(template: ScriptTemplate, tensors: list[torch.Tensor]) -> torch.jit.ScriptModule:
    """The archive with these weights, as PyTorch loads it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in template.fill(tensors):
            archive.writestr(name, data)
    file.seek(0)
    return torch.jit.load(file)


def changed(model: nn.Module) -> nn.Module:
    """The model with other weights, positive where a variance has to be."""
    random = torch.Generator().manual_seed(1)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=random) + 0.1
    return model


def test_other_weights_answer_to_the_bit_as_a_fresh_trace_does() -> None:
    model, images = Tiny().eval(), torch.rand(2, 3, 16, 16)
    template = ScriptTemplate(traced(model, images), Weights(model).names)
    assert template.missing == set()
    changed(model)
    with torch.inference_mode():
        assert torch.equal(loaded(template, Weights(model).tensors)(images), traced(model, images)(images))


def test_the_archive_is_the_one_that_pytorch_writes_less_what_names_this_machine() -> None:
    model, images = Tiny().eval(), torch.rand(2, 3, 16, 16)
    module, file = traced(model, images), io.BytesIO()
    torch.jit.save(module, file)
    records = {name: bytes(data) for name, data in ScriptTemplate(module, Weights(model).names).fill(Weights(model).tensors)}
    with zipfile.ZipFile(file) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    left = whole.keys() - records.keys()
    assert left == {name for name in whole if name.endswith(".debug_pkl") or "/traced_inputs" in name}
    assert {name: whole[name] for name in records} == records
    assert not any(__file__.encode() in data for data in records.values())


def test_tied_weights_are_one_record() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    model[1].weight = model[0].weight
    names = Weights(model).names
    template = ScriptTemplate(traced(model, torch.rand(1, 4)), names)
    assert (template.missing, names["0.weight"]) == (set(), names["1.weight"])
    changed(model)
    got = loaded(template, Weights(model).tensors)
    assert torch.equal(got.state_dict()["1.weight"], model[0].weight)


def test_a_weight_that_is_part_of_a_storage_is_missing() -> None:
    model = nn.Linear(4, 4).eval()
    both = torch.rand(2, 4, 4)
    model.weight = nn.Parameter(both[1], requires_grad=False)
    template = ScriptTemplate(traced(model, torch.rand(1, 4)), Weights(model).names)
    assert template.missing == {"weight"}


def test_a_weight_of_another_size_is_an_error() -> None:
    model = nn.Linear(4, 4).eval()
    template = ScriptTemplate(traced(model, torch.rand(1, 4)), Weights(model).names)
    with pytest.raises(ValueError, match="64 bytes was given"):
        list(template.fill([torch.zeros(3), torch.zeros(3)]))


def test_names_begin_with_the_prefix() -> None:
    model = nn.Sequential()
    model.add_module("model", nn.Linear(4, 4))
    names = Weights(model.model).names
    template = ScriptTemplate(traced(model.eval(), torch.rand(1, 4)), names, prefix="model.")
    assert template.missing == set()
    assert template.nbytes > 80
