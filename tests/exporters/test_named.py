from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from exportweb import artifact
from exportweb.errors import ExportError
from exportweb.exporters.named import create
from exportweb.exporters.single import cli_export
from models import Tiny

MODULE = """
from torch import nn
from models import Tiny

tiny = Tiny(3)

def build():
    return Tiny(5)

def breaks():
    raise RuntimeError("no data")

def text():
    return "model"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module in it."""
    (tmp_path / "my_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_models", None)


def make(spec: str, **options):
    return create(spec, **{"classes": None, "checkpoint": None, "pretrained": False, **options})


def test_a_function_of_ones_own_makes_the_model(here):
    model, labels = make("my_models:build")
    assert (type(model), model.head.out_features, labels) == (Tiny, 5, None)
    assert make("my_models:tiny")[0].head.out_features == 3


def test_a_function_of_ones_own_with_trained_weights(here):
    trained = Tiny(5)
    torch.save(trained.state_dict(), here / "trained.pt")
    path = cli_export("my_models:build", output=here / "m.onnx", checkpoint=here / "trained.pt", size=(16, 24), mean=(0.1, 0.2, 0.3))
    card = artifact.read(path).card
    assert (card.input.height, card.input.width, card.input.mean, len(card.labels)) == (16, 24, (0.1, 0.2, 0.3), 5)
    assert trained.state_dict()["head.weight"].numpy().tobytes() in path.read_bytes()


def test_each_framework_has_a_prefix():
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")
    assert isinstance(make("timm/test_resnet", classes=4)[0], nn.Module)
    assert make("torchvision/squeezenet1_1", classes=4)[0].classifier[1].out_channels == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50", r"'resnet50' is not a model .* give one as timm/<name>, torchvision/<name>, .* for example timm/resnet50"),
        ("keras/resnet50", "give one as timm/<name>"),
        ("timm/", "give one as timm/<name>"),
        ("my-models:build", "give one as timm/<name>"),
        ("my_models:none", r"my_models:none can't be found \(module 'my_models' has no attribute 'none'\)\. It should be a function"),
        ("no_models:build", r"no_models:build can't be found \(No module named 'no_models'\)"),
        ("my_models:breaks", r"my_models:breaks failed, called without arguments: RuntimeError: no data"),
        ("my_models:text", r"my_models:text returned str; expected a torch\.nn\.Module"),
    ],
)
def test_a_name_that_is_none_says_what_would_be(here, spec, message):
    with pytest.raises(ExportError, match=message):
        make(spec)


def test_what_a_function_returns_was_not_published(here):
    with pytest.raises(ExportError, match="--pretrained is for models that were published"):
        make("my_models:build", pretrained=True)


def test_a_model_of_ones_own_needs_to_be_told_its_size(here):
    with pytest.raises(ExportError, match=r"my_models:build doesn't say what images it takes\..* --size 224"):
        cli_export("my_models:build", output=here / "m.onnx")
    assert not (here / "m.onnx").exists()
