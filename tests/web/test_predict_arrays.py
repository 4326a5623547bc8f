"""``POST /predict`` of a model that takes arrays, on a real server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import tensors
from serving import Server


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two inputs: ``y = 2 x``, and words as they come."""
    folder = tmp_path_factory.mktemp("arrays")
    path = folder / "double.onnx"
    path.write_bytes(tensors.linear(scale=2))
    with Server(path, "--max-upload", "100000", "--max-pixels", "20000", log=folder / "log") as server:
        yield server


def npz(**values: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **values)
    return file.getvalue()


def test_json_in_and_out(arrays: Server) -> None:
    answer = arrays.http.post("/predict", json={"inputs": {"x": [[1, None, 3]], "words": [["ü"]]}})
    assert answer.json() == {"outputs": {"y": [[2, None, 6]], "same": [["ü"]]}}
    assert answer.headers["x-model-version"] == "1"
    stages = [stage.partition(";")[0].strip() for stage in answer.headers["server-timing"].split(",")]
    assert stages == ["queue", "decode", "inference", "post"]


def test_files_in_and_out(arrays: Server) -> None:
    body = npz(x=np.array([[1, np.nan, 3]]), words=[["ü"]])
    answer = arrays.http.post("/predict", content=body, headers={"Accept": "application/x-npz"})
    assert answer.headers["content-type"] == "application/x-npz"
    with np.load(io.BytesIO(answer.content)) as outputs:
        np.testing.assert_array_equal(outputs["y"], np.array([[2, np.nan, 6]], np.float32))
        assert outputs["same"].tolist() == [["ü"]]
    assert arrays.http.post("/predict", content=body, params={"format": "npz"}).content == answer.content
    assert arrays.http.post("/predict", content=body).json()["outputs"]["y"] == [[2, None, 6]]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"inputs": {"x": [[1, 2]], "words": [["a"]]}}', 422, "'x' has the shape [1, 2]; it should be float32 [N, 3]."),
        (b'{"inputs": {"x": [[1, 2, 3]]}}', 422, "takes 'x' (float32 [N, 3]), 'words' (string [N, 1]); 'words' is missing"),
        (b'{"inputs": [[1, 2, 3]]}', 422, 'Give "inputs" as an object, by name'),
        (b"\x93NUMPY", 422, "holds one array"),
        (b"PK\x03\x04 and no more", 422, ".npz file is cut short or damaged"),
        (b"a photo", 400, "no .npy or .npz file, and as JSON it should be"),
        (b'{"inputs": 1, "parameters": {"top_k": 1}}', 400, "'top_k'"),
        (npz(x=np.zeros((1_000_000, 3))), 413, "unpacks to 24,000,128 bytes; the limit is 160,000"),
        (b'{"inputs": {"x": [%s], "words": [["a"]]}}' % b",".join([b"[1,2,3]"] * 7000), 413, "21,001 values; the limit is 20,000"),
        (b" " * 100_001, 413, "more than 100000 bytes"),
    ],
)
def test_what_a_client_does_wrong(arrays: Server, body: bytes, status: int, says: str) -> None:
    answer = arrays.http.post("/predict", content=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_parameters_in_the_query(arrays: Server) -> None:
    answer = arrays.http.post("/predict?top_k=3", json={"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}})
    assert (answer.status_code, "knows 'format'" in answer.text) == (400, True)


def test_what_it_says_about_itself(arrays: Server) -> None:
    model = arrays.http.get("/model").json()
    assert (model["task"], model["runtime"]["decode"], model["runtime"]["max_batch"]) == ("tensor", None, 1)
    assert model["card"]["inputs"][0] == {"name": "x", "dtype": "float32", "shape": [None, 3]}
    document = arrays.http.get("/openapi.json").json()
    answer = arrays.http.post("/predict", json={"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}}).json()
    for name, value in (("Model", model), ("Outputs", answer)):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)


def test_a_version_that_is_swapped_in(serve: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tensors.linear(scale=2))
    server = serve(path)
    assert "arrays in, arrays out (--task tensor)" in server.log
    body = {"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}}
    replace(path, tensors.linear(scale=3))
    server.wait_for_version(2)
    answer = server.http.post("/predict", json=body)
    assert (answer.headers["x-model-version"], answer.json()["outputs"]["y"]) == ("2", [[3, 6, 9]])

    replace(path, tensors.linear(features=4))  # another model: what clients send would no longer fit
    server.wait(lambda: "version 3 is rejected: The card says that the graph takes" in server.log)
    assert server.http.post("/predict", json=body).headers["x-model-version"] == "2"


def replace(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def test_the_decoding_of_images_is_said(
    serve: Callable[..., Server], artifacts: Any, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    server = serve(artifacts.write(tmp_path / "colours.onnx"), env={"EXPORTWEB_DECODE": "fast"})
    assert server.http.get("/model").json()["runtime"]["decode"] == "fast"
    photo = picture("green", kind="JPEG", size=(640, 480))
    assert server.http.post("/predict", content=photo).json()[0]["label"] == "green"
