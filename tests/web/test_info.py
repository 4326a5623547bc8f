from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import exportweb
from exportweb import Store
from serving import Artifacts, Server


def test_model_is_the_card_and_how_it_runs(served: Server) -> None:
    model = served.http.get("/model").json()
    assert (model["name"], model["task"], model["version"]) == ("colours", "image-classification", 7)
    assert model["card"]["labels"] == ["red", "green", "blue"]
    assert model["card"]["input"]["height"] == 8
    assert "golden" not in model["card"]
    runtime = model["runtime"]
    assert runtime["device"] == "cpu"
    assert runtime["providers"] == ["CPUExecutionProvider"]
    assert runtime["exportweb"] == exportweb.__version__
    assert min(runtime["threads"], runtime["workers"], runtime["max_batch"]) >= 1
    assert runtime["fronts"] == 0  # nobody has missed one
    assert runtime["loaded"].endswith("+00:00")


def test_versions_say_where_they_come_from(served: Server) -> None:
    versions = served.http.get("/versions").json()
    assert versions["serving"] == 7
    assert versions["loaded"] == [7]
    (only,) = versions["versions"]
    assert (only["version"], only["state"], only["epoch"]) == (7, "serving", 3)
    assert only["metrics"] == {"accuracy": 0.5}
    assert only["created"] == "2026-01-02T03:04:05+00:00"
    assert only["reason"] is None


@pytest.mark.parametrize("path", ["/model", "/versions", "/healthz", "/readyz", "/openapi.json"])
def test_json_is_not_cached(served: Server, path: str) -> None:
    answer = served.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_an_empty_store_is_served_until_its_first_version(
    serve: Callable[..., Server], artifacts: Artifacts, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "flowers")
    store.folder.mkdir()
    server = serve(store.folder)
    assert server.hello.startswith("exportweb: serving flowers on http://127.0.0.1:")
    http = server.http
    assert http.get("/healthz").status_code == 200
    assert http.get("/versions").json() == {"serving": None, "loaded": [], "versions": []}
    for answer in (http.get("/readyz"), http.get("/model"), http.post("/predict", content=picture())):
        assert answer.status_code == 503
        assert "No version is loaded yet" in answer.json()["error"]
        assert int(answer.headers["retry-after"]) >= 1

    artifacts.publish(store)
    server.wait_for_version(1)
    assert http.get("/readyz").status_code == 200
    assert http.post("/predict", content=picture()).headers["x-model-version"] == "1"
