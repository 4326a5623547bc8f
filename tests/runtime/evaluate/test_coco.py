"""mAP of what a model answers, as pycocotools itself computes it from files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pycocotools")

import dots
from exportweb.errors import DataError
from exportweb.runtime.evaluate import Evaluation, Pipeline, evaluate, kind_of, open_data
from exportweb.runtime.evaluate.names import Matching
from versions import pack

PICTURES = [
    {(3, 2): (0, 204, 0), (17, 9): (255, 0, 0), (0, 0): (0, 0, 51)},
    {(5, 5): (255, 0, 0), (6, 2): (0, 150, 0)},
    {(1, 1): (100, 0, 0), (12, 4): (0, 0, 255), (13, 8): (0, 0, 90)},
    {},
]


@pytest.fixture(params=["object-detection", "instance-segmentation", "keypoint-detection"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def artifact(folder: Path, task: str) -> Path:
    role = {"instance-segmentation": ("masks",), "keypoint-detection": ("keypoints",)}.get(task, ())
    path = folder / "dots.onnx"
    path.write_bytes(pack(dots.graph(), dots.card(task, *role, keypoints=("corner",) if role == ("keypoints",) else ())))
    return path


def dataset(folder: Path) -> dict[str, Any]:
    """Every dot is annotated, but for those of blue: one at another place, one not at all."""
    (folder / "images").mkdir()
    images, annotations = [], []
    for i, pixels in enumerate(PICTURES):
        name = f"{i}.png"
        (folder / "images" / name).write_bytes(dots.picture(pixels))
        images.append({"id": 100 + i, "file_name": name, "width": 20, "height": 10})
        for (x, y), colour in pixels.items():
            category = colour.index(max(colour))
            if (i, category, y) == (2, 2, 8):
                continue
            x = 19 if (i, category) == (0, 2) else x
            corners = [x, y, x + 1, y, x + 1, y + 1, x, y + 1]
            annotations.append(
                {
                    "id": len(annotations),  # 0 is one
                    "image_id": 100 + i,
                    "category_id": 7 - category,
                    "bbox": [x, y, 1, 1],
                    "segmentation": [corners],
                    "keypoints": [x, y, 2],
                    "num_keypoints": 1,
                }
            )
    categories = [{"id": 7, "name": "Red"}, {"id": 6, "name": "green"}, {"id": 5, "name": "BLUE"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def measure(path: Path, data: Path, **options: Any) -> Evaluation:
    with Pipeline(path, device="cpu") as pipeline:
        kind = kind_of(pipeline.predictor)
        return evaluate(pipeline, open_data(data, kind, pipeline.card, **options), kind, file="dots.onnx")


def own(folder: Path, content: dict[str, Any], task: str) -> dict[str, list[float]]:
    """What pycocotools says of answers that were written as results are, with annotations as they should be."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    full = [{**each, "id": each["id"] + 1, "iscrowd": 0, "area": 1} for each in content["annotations"]]
    (folder / "full.json").write_text(json.dumps({**content, "annotations": full}))
    predictor = dots.predictor(folder, Pipeline(artifact(folder, task), device="cpu").card)
    results = []
    for image in content["images"]:
        answer = predictor.predict((folder / "images" / image["file_name"]).read_bytes(), format="coco", threshold="0.001")
        results += [{**one, "image_id": image["id"], "category_id": 8 - one["category_id"]} for one in answer["annotations"]]
    found = {}
    for kind, key in (("bbox", "bbox"), ("segm", "segmentation"), ("keypoints", "keypoints")):
        if (kind != "bbox" and (kind == "segm") != (task == "instance-segmentation")) or (task == "object-detection" and kind != "bbox"):
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            kept = ("image_id", "category_id", "score", key)
            (folder / "results.json").write_text(json.dumps([{name: one[name] for name in kept} for one in results]))
            truth = COCO(str(folder / "full.json"))
            evaluation = COCOeval(truth, truth.loadRes(str(folder / "results.json")), kind)
            if kind == "keypoints":
                import numpy as np

                evaluation.params.kpt_oks_sigmas = np.array([1.0])
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        found[kind] = evaluation.stats.tolist()
    return found


def test_the_figures_are_pycocotools(tmp_path: Path, task: str) -> None:
    content = dataset(tmp_path)
    (tmp_path / "data.json").write_text(json.dumps(content))
    found = measure(artifact(tmp_path, task), tmp_path / "data.json")
    assert (found.images, found.unreadable) == (4, [])
    expected = own(tmp_path, content, task)
    names = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
    assert {name.split("_")[0] for name in found.metrics} == {names[kind] for kind in expected}
    for kind, stats in expected.items():
        assert [found.metrics[f"{names[kind]}_{figure}"] for figure in ("mAP", "mAP50", "mAP75")] == pytest.approx(stats[:3])
        assert 0.5 < stats[0] < 1


def test_the_figure_that_follows_from_what_was_changed(tmp_path: Path) -> None:
    """Of two objects of blue the model finds one, with its best score; red and green are as annotated."""
    (tmp_path / "data.json").write_text(json.dumps(dataset(tmp_path)))
    found = measure(artifact(tmp_path, "object-detection"), tmp_path / "data.json")
    half = 51 / 101  # precision 1 at the recalls 0, 0.01, …, 0.5
    assert found.classes == {"Red": pytest.approx(1), "green": pytest.approx(1), "BLUE": pytest.approx(half)}
    assert found.metrics["box_mAP"] == pytest.approx((2 + half) / 3)


def test_a_model_that_finds_nothing(tmp_path: Path) -> None:
    content = dataset(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(dots.picture({}))
    (tmp_path / "data.json").write_text(json.dumps(content))
    assert measure(artifact(tmp_path, "object-detection"), tmp_path / "data.json").metrics["box_mAP"] == 0


def test_an_image_that_is_missing_is_named_and_its_objects_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(dataset(tmp_path)))
    (tmp_path / "images" / "0.png").unlink()
    found = measure(artifact(tmp_path, "object-detection"), tmp_path / "data.json")
    assert [Path(one.image).name for one in found.unreadable] == ["0.png"]
    assert found.metrics["box_mAP"] == pytest.approx(1), "the blue dot that was annotated elsewhere was in it"


def test_categories_that_the_model_does_not_know(tmp_path: Path) -> None:
    content = dataset(tmp_path)
    content["categories"][2]["name"] = "cyan"
    (tmp_path / "data.json").write_text(json.dumps(content))
    path = artifact(tmp_path, "object-detection")
    with pytest.raises(DataError, match=r"1 of 3 categories in .* 'cyan'.* The model has 3 labels: 'red', 'green', 'blue'.* --known-only"):
        measure(path, tmp_path / "data.json")
    assert set(measure(path, tmp_path / "data.json", how=Matching(known_only=True)).classes) == {"Red", "green"}
    content["categories"] = [{"id": 7 - i, "name": str(i)} for i in range(3)]
    (tmp_path / "data.json").write_text(json.dumps(content))
    assert measure(path, tmp_path / "data.json", how=Matching(by_index=True)).classes["1"] == pytest.approx(1), (
        "green, the second both ways"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": []}, "should be a COCO data set, a JSON object with the lists"),
        ({"annotations": [{"image_id": 100, "category_id": 7}]}, "number 0 of its annotations has no 'bbox'"),
        ({"images": [{"id": 1, "file_name": "x.png", "not_exhaustive_category_ids": []}]}, "is LVIS"),
        ({"images": [{"id": 1, "file_name": "x.png"}]}, "such as x.png, are not in .* Say where they are: --images DIR"),
        ({"categories": [{"id": 1, "name": "red"}, {"id": 1, "name": "green"}]}, "each should have its own"),
    ],
)
def test_mistakes(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "data.json").write_text(json.dumps({**dataset(tmp_path), **change}))
    with pytest.raises(DataError, match=says):
        measure(artifact(tmp_path, "object-detection"), tmp_path / "data.json")


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(DataError, match="can't be read as JSON"):
        measure(artifact(tmp_path, "object-detection"), tmp_path / "data.json")


def test_images_where_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    content = dataset(tmp_path / "elsewhere")
    (tmp_path / "data.json").write_text(json.dumps(content))
    assert measure(artifact(tmp_path, "object-detection"), tmp_path / "data.json", images=tmp_path / "elsewhere" / "images").images == 4


def test_the_number_of_keypoints_has_to_be_the_models(tmp_path: Path) -> None:
    content = dataset(tmp_path)
    for one in content["annotations"]:
        one["keypoints"] *= 2
    (tmp_path / "data.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="The model has 1 keypoints; an object of the data set, in image 100, has 2"):
        measure(artifact(tmp_path, "keypoint-detection"), tmp_path / "data.json")
