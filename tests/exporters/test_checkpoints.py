from __future__ import annotations

import pytest
import torch

from exportweb.errors import ExportError
from exportweb.exporters.checkpoints import did_you_mean, load, put
from models import Tiny

pytest.importorskip("timm")


def test_weights_are_found_in_what_trainers_save(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "wrapped.pt")
    averaged = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    torch.save({"state_dict": model.state_dict(), "state_dict_ema": averaged}, tmp_path / "averaged.pt")
    for name, shift in (("plain.pt", 0), ("wrapped.pt", 0), ("averaged.pt", 1)):
        other = Tiny()
        put(load(tmp_path / name), other, name="Tiny", path=tmp_path / name)
        assert torch.equal(other.head.weight, model.head.weight + shift)


def test_what_holds_no_weights_says_so(tmp_path):
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(ExportError, match=r"text\.pt can't be read as weights .*It should hold a state dict"):
        load(tmp_path / "text.pt")
    with pytest.raises(ExportError, match=r"There is no checkpoint .*none\.pt"):
        load(tmp_path / "none.pt")


def test_weights_of_another_model_do_not_fit(model, tmp_path):
    with pytest.raises(ExportError, match=r"a\.pt doesn't fit Tiny: .*Missing key.*head\.bias"):
        put({"head.weight": model.head.weight}, model, name="Tiny", path=tmp_path / "a.pt")


def test_names_that_look_alike_are_proposed():
    assert did_you_mean("resnet5", ["resnet50", "vgg11"]) == " Did you mean resnet50?"
    assert did_you_mean("alexnet", ["vgg11"]) == ""
