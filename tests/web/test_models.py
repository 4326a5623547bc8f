from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest

from exportweb import Store
from serving import Artifacts, Server
from streams import Stream, read

NAMES = ["colours", "flowers", "späte"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts) -> Iterator[Server]:
    """A server of a file, a store, and one that is still empty."""
    folder = tmp_path_factory.mktemp("several")
    path = artifacts.write(folder / "model.onnx", version=7)
    artifacts.publish(Store(folder / "flowers"), scale=2.0)
    (folder / "späte").mkdir()
    with Server(f"colours={path}", str(folder / "flowers"), str(folder / "späte"), log=folder / "log") as server:
        server.wait(lambda: server.http.get("/models/flowers/versions").json()["serving"] == 1)
        yield server


def test_models_lists_them(several: Server) -> None:
    assert several.hello.startswith("exportweb: serving colours, flowers, späte on http://")
    assert several.http.get("/models").json()["models"] == [
        {"name": "colours", "ready": True, "version": 7, "task": "image-classification"},
        {"name": "flowers", "ready": True, "version": 1, "task": "image-classification"},
        {"name": "späte", "ready": False, "version": None, "task": None},
    ]


def test_each_answers_under_its_name(several: Server, picture: Callable[..., bytes]) -> None:
    for name, version in (("colours", "7"), ("flowers", "1")):
        answer = several.http.post(f"/models/{name}/predict?top_k=1", content=picture("blue"))
        assert (answer.json()[0]["label"], answer.headers["x-model-version"]) == ("blue", version)
        assert several.http.get(f"/models/{name}/model").json()["version"] == int(version)
        assert several.http.get(f"/models/{name}/versions").json()["loaded"] == [int(version)]
    assert several.http.get("/models/späte/model").status_code == 503


@pytest.mark.parametrize(("method", "path"), [("POST", "/predict"), ("GET", "/model"), ("GET", "/versions"), ("GET", "/events")])
def test_which_one_has_to_be_said(several: Server, method: str, path: str) -> None:
    answer = several.http.request(method, path, content=b"no matter")
    assert answer.status_code == 404
    assert f"/models/colours{path}" in answer.json()["error"]
    assert answer.json()["error"].endswith("The models: colours, flowers, späte.")
    unknown = several.http.request(method, f"/models/roses{path}")
    assert unknown.status_code == 404
    assert unknown.json()["error"] == "There is no model 'roses' here. The models: colours, flowers, späte."
    assert several.http.request("PUT", f"/models/colours{path}").status_code == 405


def test_ready_when_all_are(several: Server) -> None:
    answer = several.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"error": "No version is loaded yet of späte."}
    assert int(answer.headers["retry-after"]) >= 1
    assert several.http.get("/healthz").status_code == 200


def test_metrics_say_of_which(several: Server, picture: Callable[..., bytes]) -> None:
    before = read(several)
    several.http.post("/models/flowers/predict", content=picture())
    several.http.get("/models/none/model")
    found = read(several)
    for sample in (("exportweb_requests_total", "flowers", "/predict", "200"), ("exportweb_batch_size_count", "flowers")):
        assert found[sample] == before.get(sample, 0) + 1
    assert found["exportweb_requests_total", "", "other", "404"] >= 1
    assert [found["exportweb_ready", name] for name in NAMES] == [1, 1, 0]
    assert [found["exportweb_loaded_versions", name] for name in NAMES] == [1, 1, 0]


def test_openapi_describes_them(several: Server) -> None:
    document = several.http.get("/openapi.json").json()
    assert "/predict" not in document["paths"]
    get = document["paths"]["/models/{name}/versions"]["get"]
    assert get["parameters"] == [{"name": "name", "in": "path", "required": True, "schema": {"enum": NAMES}}]
    schema = get["responses"]["200"]["content"]["application/json"]["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(several.http.get("/models/colours/versions").json())


def test_each_tells_of_its_own_versions(artifacts: Artifacts, tmp_path: Path, serve: Callable[..., Server]) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    for store in (one, other):
        store.folder.mkdir()
    server = serve(one.folder, str(other.folder))
    streams = [Stream(f"{server.url}/models/{name}") for name in ("one", "other")]
    artifacts.publish(one, epoch=1)
    artifacts.publish(other, epoch=2)
    assert [stream.until("loaded")["info"]["epoch"] for stream in streams] == [1, 2]
    assert "exportweb: other: version 1 serves (epoch 2)" in server.log
    assert server.http.get("/readyz").status_code == 200
    assert server.stop() == 0
    assert all(stream.ended() for stream in streams)


def test_a_single_one_has_both_addresses(served: Server, picture: Callable[..., bytes]) -> None:
    (only,) = served.http.get("/models").json()["models"]
    assert only["name"] == "colours"
    for prefix in ("", "/models/colours"):
        answer = served.http.post(f"{prefix}/predict", content=picture("red"))
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, "7")
    assert served.http.get("/models/colours/model").json() == served.http.get("/model").json()
    assert served.http.get("/models/roses/model").status_code == 404


def test_a_loaded_version_can_be_asked(
    serve: Callable[..., Server], artifacts: Artifacts, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    store = Store(tmp_path / "store")
    artifacts.publish(store, scale=1.0)
    server = serve(store.folder, "--keep-loaded", "2")
    server.wait_for_version(1)
    for number in (2, 3):
        artifacts.publish(store, scale=float(number))
        server.wait_for_version(number)
    assert server.http.get("/versions").json()["loaded"] == [2, 3]
    image = picture()
    for query, version in (("", "3"), ("?version=2", "2"), ("?version=3", "3")):
        answer = server.http.post(f"/predict{query}", content=image)
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, version)
    form = server.http.post("/predict", files={"image": image}, data={"version": "2"})
    assert form.headers["x-model-version"] == "2"
    gone = server.http.post("/predict?version=1", content=image)
    assert gone.status_code == 404
    assert gone.json()["error"].startswith("Version 1 isn't loaded. Loaded: 2, 3;")
    for nonsense in ("x", "", "-1", "2.0", "9" * 5000):
        answer = server.http.post("/predict", params={"version": nonsense}, content=image)
        assert answer.status_code == 400
        assert "version=" in answer.json()["error"]
