from __future__ import annotations

import pytest
import torch

from exportweb import artifact
from exportweb.errors import ExportError
from exportweb.exporters import timm_models
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.single import cli_export, export
from models import Tiny

timm = pytest.importorskip("timm")


def test_a_timm_model_describes_itself():
    model = timm.create_model("test_resnet", num_classes=7)
    assert timm_models.recognises(model) and not timm_models.recognises(Tiny())
    about = describe(model, Hints())
    assert (about.framework, about.architecture) == ("timm", "test_resnet")
    config = timm.data.resolve_model_data_config(model)
    assert (3, about.input.height, about.input.width) == config["input_size"]
    assert about.input.mean == tuple(config["mean"])


def test_what_the_model_was_made_with_goes_before_its_configuration():
    grey = describe(timm.create_model("test_resnet", in_chans=1), Hints())
    assert grey.input.color == "L"
    small = describe(timm.create_model("test_vit", img_size=96), Hints())
    assert (small.input.height, small.input.width) == (96, 96)


def test_what_the_user_says_goes_before_both():
    model = timm.create_model("test_resnet")
    about = describe(model, Hints(torch.zeros(3, 64, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    assert (about.input.height, about.input.width, about.input.mean, about.input.std) == (64, 32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_a_model_can_be_named(tmp_path):
    path = cli_export("timm/test_vit3", output=tmp_path / "new" / "m.onnx", checkpoint=None, labels=["a", "b"], pretrained=False)
    card = artifact.read(path).card
    assert (card.name, card.labels) == ("test_vit3", ("a", "b"))
    artifact.verify(artifact.read(path))


def test_a_checkpoint_brings_its_number_of_classes(tmp_path):
    trained = timm.create_model("test_resnet", num_classes=5)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "checkpoint.pth.tar")
    path = cli_export(
        "timm/test_resnet", output=tmp_path / "m.onnx", checkpoint=tmp_path / "checkpoint.pth.tar", labels=None, pretrained=False
    )
    assert len(artifact.read(path).card.labels) == 5
    assert trained.state_dict()["fc.weight"].numpy().tobytes() in path.read_bytes()


def test_a_name_that_is_none_says_what_would_be(tmp_path):
    with pytest.raises(ExportError, match=r"has no model 'resnet5'\. Did you mean resnet"):
        cli_export("timm/resnet5", output=tmp_path / "m.onnx", checkpoint=None, labels=None, pretrained=False)


def test_pretrained_weights_answer_with_the_names_of_imagenet():
    names = timm_models.imagenet_labels(timm.create_model("resnet18"))
    assert len(names) == 1000 and "tench" in names[0]


def test_a_file_that_failed_its_check_never_appears(tmp_path):
    model = timm.create_model("test_resnet", num_classes=3)
    with torch.no_grad():
        model.fc.bias.fill_(float("nan"))
    from exportweb.errors import Rejected

    with pytest.raises(Rejected, match=r"fc\.bias"):
        export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
