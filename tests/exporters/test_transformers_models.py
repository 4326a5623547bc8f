from __future__ import annotations

import pytest
import torch

from exportweb import artifact
from exportweb.errors import ExportError
from exportweb.exporters import transformers_models
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.single import cli_export, export
from models import Tiny

transformers = pytest.importorskip("transformers")

VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
NAMES = {0: "cat", 1: "dog", 2: "bird"}


def vit(**settings):
    return transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, **settings))


def test_a_classifier_becomes_an_artifact_in_one_line(tmp_path, caplog):
    path = export(vit(id2label=NAMES), tmp_path / "vit.onnx")
    card = artifact.read(path).card
    assert (card.name, card.labels, card.source.framework) == ("ViTForImageClassification", ("cat", "dog", "bird"), "transformers")
    assert (card.input.height, card.input.resize, card.input.mean) == (32, "exact", (0.5, 0.5, 0.5))
    assert "no image processor lies beside the weights" in caplog.text and "pass mean= and std=" in caplog.text


def test_the_processor_that_was_saved_with_the_weights_says_how_images_are_prepared(tmp_path, caplog):
    vit(id2label=NAMES).save_pretrained(tmp_path / "saved")
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    processor.save_pretrained(tmp_path / "saved")
    path = cli_export(f"transformers/{tmp_path / 'saved'}", output=tmp_path / "m.onnx")
    card = artifact.read(path).card
    assert (card.input.mean, card.input.std, card.labels) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), ("cat", "dog", "bird"))
    assert "exportweb:" not in caplog.text


def test_labels_that_nobody_named_are_none():
    assert describe(vit(num_labels=4), Hints()).labels is None
    assert describe(vit(id2label={1: "b", 0: "a"}), Hints()).labels == ("a", "b")
    small = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 40, 64], "image_size": 64, "num_labels": 4}
    pvt = transformers.PvtForImageClassification(transformers.PvtConfig(**small))
    assert pvt.config.id2label is None and describe(pvt, Hints()).labels is None


def test_what_the_user_says_goes_before_and_nothing_is_assumed(caplog):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    image = describe(vit(), Hints(mean=mean, std=std)).input
    assert (image.height, image.mean, image.std) == (32, mean, std)
    assert caplog.text == ""
    assert describe(vit(), Hints(torch.zeros(3, 16, 32))).input.width == 32


def test_a_family_without_a_size_has_that_of_its_processor(caplog):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    image = describe(transformers.ResNetForImageClassification(config), Hints()).input
    assert (image.height, image.width) == (384, 384)
    assert "384 x 384 pixels" in caplog.text


def test_a_model_for_grey_takes_grey():
    assert describe(vit(num_channels=1), Hints()).input.color == "L"


def test_timms_models_are_described_by_timm():
    pytest.importorskip("timm")
    config = transformers.TimmWrapperConfig(architecture="test_vit", num_labels=3)
    image = describe(transformers.TimmWrapperForImageClassification(config), Hints()).input
    assert (image.height, image.mean) == (160, (0.5, 0.5, 0.5))


def test_other_models_are_not_recognised():
    assert transformers_models.recognises(vit())
    assert not transformers_models.recognises(Tiny())
    bert = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    assert not transformers_models.recognises(transformers.BertForSequenceClassification(bert))


def test_several_labels_for_one_picture_are_refused():
    with pytest.raises(ExportError, match=r"any number of labels \(problem_type='multi_label_classification'\)"):
        describe(vit(problem_type="multi_label_classification"), Hints())


def test_a_model_for_another_task_is_refused():
    model = transformers.MaskFormerForInstanceSegmentation
    with torch.device("meta"):
        made = model(transformers.MaskFormerConfig(backbone_config=transformers.SwinConfig(embed_dim=8, num_heads=[1] * 4)))
    with pytest.raises(ExportError, match=r"is for InstanceSegmentation; exportweb serves transformers' models for ImageClassification, "):
        describe(made, Hints())


def test_a_folder_that_holds_no_model_says_what_would_do(tmp_path):
    with pytest.raises(ExportError, match=r"can't load an image model from .*Give a folder that save_pretrained wrote"):
        cli_export(f"transformers/{tmp_path}", output=tmp_path / "m.onnx")
