"""Objects over HTTP: what a detector's server answers, and that it is what /openapi.json says."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import pytest

import dots
from exportweb import artifact
from scripts import exportweb as run
from serving import Server

PICTURE = dots.picture(dots.THREE)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dots") / "dots.onnx"
    with path.open("wb") as file:
        artifact.write(file, [dots.graph()], dots.card("instance-segmentation", "masks"))
    return path


@pytest.fixture(scope="module")
def http(path: Path) -> Iterator[httpx.Client]:
    with Server(path, log=path.with_name("log")) as server:
        yield server.http


def ask(http: httpx.Client, query: str = "") -> httpx.Response:
    answer = http.post(f"/predict{query}", content=PICTURE)
    document = http.get("/openapi.json").json()
    content = document["paths"]["/predict"]["post"]["responses"][str(answer.status_code)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    schema = content[kind]["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json() if kind == "application/json" else answer.text)
    return answer


def test_objects_with_their_boxes_and_masks(http: httpx.Client) -> None:
    red, green = ask(http).json()
    assert (red["label"], green["label"]) == ("red", "green")
    assert green["box"] == {"xmin": 3, "ymin": 2, "xmax": 4, "ymax": 3}
    assert len(ask(http, "?threshold=0&masks=none").json()) == 3
    assert ask(http, "?masks=rle&top_k=1").json()[0]["mask"]["size"] == [10, 20]


def test_in_the_formats_of_datasets(http: httpx.Client) -> None:
    assert len(ask(http, "?format=coco").json()["annotations"]) == 2
    lines = ask(http, "?format=yolo")
    assert lines.headers["content-type"] == "text/plain; charset=utf-8"
    assert lines.text.splitlines()[1] == "1 0.150000 0.200000 0.200000 0.200000 0.200000 0.300000 0.150000 0.300000"
    document = ask(http, "?format=voc")
    assert document.headers["content-type"] == "application/xml"
    assert [name.text for name in ET.fromstring(document.text).iter("name")] == ["red", "green"]


@pytest.mark.parametrize("query", ["threshold=2", "top_k=-1", "masks=no", "format=csv", "size=3"])
def test_what_can_not_be_asked(http: httpx.Client, query: str) -> None:
    answer = ask(http, f"?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]


def test_parameters_in_hugging_faces_json(http: httpx.Client) -> None:
    import base64

    body = {"inputs": base64.b64encode(PICTURE).decode(), "parameters": {"threshold": 0.9}}
    assert [one["label"] for one in http.post("/predict", json=body).json()] == ["red"]


def test_on_the_command_line(path: Path, tmp_path: Path) -> None:
    image = tmp_path / "dots.png"
    image.write_bytes(PICTURE)
    assert run("predict", path, image).stdout.splitlines() == ["1.0000  red    17.0 9.0 18.0 10.0", "0.8000  green  3.0 2.0 4.0 3.0"]
    assert run("predict", path, image, "--format", "yolo", "--threshold", 0.9).stdout.startswith("0 0.850000 0.900000")
    (found,) = json.loads(run("predict", path, image, "--masks", "rle", "--json").stdout)
    assert found["result"][0]["mask"]["size"] == [10, 20]
