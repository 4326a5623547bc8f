from __future__ import annotations

import pytest

pytest.importorskip("detectron2")

from detectron2.config import get_cfg

from exportweb.errors import ExportError
from exportweb.exporters.detectron2_config import Settings, keypoints, read

LAZY = """
import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper, build_detection_test_loader, get_detection_dataset_dicts
from omegaconf import OmegaConf

dataloader = OmegaConf.create()
dataloader.test = L(build_detection_test_loader)(
    dataset=L(get_detection_dataset_dicts)(names="{names}"),
    mapper=L(DatasetMapper)(is_train=False, image_format="RGB", augmentations=[{augmentations}]),
)
"""


def lazy(folder, augmentations, names="coco_2017_val"):
    """A LazyConfig as its file says it."""
    from detectron2.config import LazyConfig

    path = folder / "config.py"
    path.write_text(LAZY.format(augmentations=augmentations, names=names))
    return LazyConfig.load(str(path))


def test_a_cfg_node_says_sizes_colours_and_names():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, cfg.INPUT.FORMAT = 320, 640, "RGB"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("coco_2017_train_panoptic_separated",), ()
    known = read(cfg)
    assert (known.short, known.long, known.color) == (320, 640, "RGB")
    assert known.things[0] == "person" and known.stuff[:2] == ("things", "banner") and known.keypoints is None


def test_a_lazy_config_says_the_same(tmp_path):
    known = read(lazy(tmp_path, "L(T.ResizeShortestEdge)(short_edge_length=320, max_size=640)"))
    assert (known.short, known.long, known.color, len(known.things)) == (320, 640, "RGB", 80)
    assert read(lazy(tmp_path, ""))[:2] == (0, 0)  # images as they are
    assert read(lazy(tmp_path, "L(T.ResizeShortestEdge)(short_edge_length=320)")).long == 0  # as long as they get


def test_a_dataset_that_nobody_registered_has_no_names_and_gets_no_entry(tmp_path):
    from detectron2.data import MetadataCatalog

    assert read(lazy(tmp_path, "", names="nobodys"))[3:] == Settings()[3:]
    assert "nobodys" not in MetadataCatalog.list()


def test_a_choice_of_sizes_is_none(tmp_path):
    with pytest.raises(ExportError, match=r"resized to any of \[320, 640\]; give one short_edge_length"):
        read(lazy(tmp_path, "L(T.ResizeShortestEdge)(short_edge_length=(320, 640), max_size=640)"))


def test_names_of_keypoints():
    assert keypoints(2, ["head", "foot"]) == ("head", "foot")
    assert keypoints(2, ["head"]) == ("keypoint_0", "keypoint_1")
    assert keypoints(17, None)[:2] == ("nose", "left_eye")
