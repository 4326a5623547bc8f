"""The pipeline over a data set, with all that can be wrong with one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exportweb.errors import ArtifactError, CardError, DataError
from exportweb.runtime import Predictor
from exportweb.runtime.evaluate import Pipeline, evaluate, kind_of, open_data
from exportweb.runtime.evaluate.data import Example
from serving import COLOURS, Artifacts


@pytest.fixture
def pipeline(artifacts: Artifacts, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(artifacts.write(tmp_path / "colours.onnx"), device="cpu") as pipeline:
        yield pipeline


@pytest.fixture
def colours(picture: Callable[..., bytes], tmp_path: Path) -> Path:
    """Twenty images of each colour, of which two show another one."""
    for name in COLOURS:
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "data" / name / f"{i:02}.png").write_bytes(picture("red" if i < 2 else name, size=(8 + i, 8)))
    return tmp_path / "data"


def test_an_image_folder(pipeline: Pipeline, colours: Path) -> None:
    kind = kind_of(pipeline.predictor)
    data = open_data(colours, kind, pipeline.card)
    seen: list[int] = []
    found = evaluate(pipeline, data, kind, file="colours.onnx", progress=seen.append)
    assert found.metrics == {"top1": 56 / 60}
    assert found.classes == {"red": 1.0, "green": 0.9, "blue": 0.9}
    assert (found.images, found.unreadable, len(seen)) == (60, [], 60)
    few = evaluate(pipeline, data, kind, file="colours.onnx", limit=6)
    assert (few.images, few.metrics) == (6, {"top1": 4 / 6}), "2 of each colour, of which the first shows red"


def test_what_can_not_be_read_is_named_and_does_not_count(pipeline: Pipeline, colours: Path) -> None:
    (colours / "green" / "05.png").write_bytes((colours / "green" / "05.png").read_bytes()[:40])
    (colours / "green" / "06.png").write_text("no image")
    (colours / "green" / "07.png").unlink()
    (colours / "green" / "07.png").symlink_to("nowhere")
    kind = kind_of(pipeline.predictor)
    data = open_data(colours, kind, pipeline.card)
    found = evaluate(pipeline, data, kind, file="colours.onnx")
    assert (found.images, found.metrics) == (57, {"top1": 53 / 57})
    assert [Path(one.image).name for one in found.unreadable] == ["05.png", "06.png", "07.png"]
    assert "no image" in found.unreadable[1].error
    assert found.unreadable[2].error == "No such file or directory"


def test_no_image_at_all(pipeline: Pipeline, colours: Path) -> None:
    for path in colours.rglob("*.png"):
        path.write_bytes(b"")
    kind = kind_of(pipeline.predictor)
    data = open_data(colours, kind, pipeline.card)
    with pytest.raises(DataError, match=r"none of 60 images could be evaluated. The first, .*00.png: The body is empty"):
        evaluate(pipeline, data, kind, file="colours.onnx")


def test_answers_come_in_order_and_are_those_of_the_predictor(pipeline: Pipeline, colours: Path) -> None:
    """Of images of different sizes, in batches, by several threads."""
    paths = sorted(colours.rglob("*.png"))
    found = list(pipeline.answers([Example(path, None) for path in paths], {"top_k": "3"}))
    assert [example.path for example, _ in found] == paths
    expected = [pipeline.predictor.predict(path.read_bytes(), top_k="3") for path in paths]
    for (_, answer), one in zip(found, expected, strict=True):
        assert [each["label"] for each in answer] == [each["label"] for each in one]
        assert [each["score"] for each in answer] == pytest.approx([each["score"] for each in one], abs=1e-6)


def test_only_what_would_be_served(artifacts: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(CardError, match="has no card"):
        Pipeline(artifacts.write(tmp_path / "foreign.onnx", carded=False))
    path = artifacts.write(tmp_path / "colours.onnx")
    path.write_bytes(path.read_bytes().replace(b"colours", b"colourS", 1))
    with pytest.raises(ArtifactError, match="altered"):
        Pipeline(path)


def test_data_of_another_kind(pipeline: Pipeline, tmp_path: Path) -> None:
    kind = kind_of(pipeline.predictor)
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(DataError, match="should be an image folder"):
        open_data(tmp_path / "instances.json", kind, pipeline.card)
    with pytest.raises(DataError, match="There is nothing at"):
        open_data(tmp_path / "nowhere", kind, pipeline.card)


def test_arrays_have_no_right_answers(artifacts: Artifacts, tmp_path: Path) -> None:
    predictor = Predictor.load(artifacts.write(tmp_path / "colours.onnx"), device="cpu", card=artifacts.card().replace(task="tensor"))
    with pytest.raises(DataError, match="A model for tensor can't be evaluated"):
        kind_of(predictor)
