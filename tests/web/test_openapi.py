from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from starlette.routing import Route

from exportweb.runtime import ServedModel
from exportweb.web import create_app
from exportweb.web.openapi import describe
from serving import Server


@pytest.fixture(scope="module")
def document(served: Server) -> Any:
    return served.http.get("/openapi.json").json()


@pytest.fixture(scope="module")
def check(document: Any) -> Callable[..., None]:
    """Check an answer against what the document says about its path, method and status."""

    def check(answer: httpx.Response) -> None:
        method = answer.request.method.lower()
        entry = document["paths"][answer.request.url.path][method]["responses"][str(answer.status_code)]
        kind = answer.headers["content-type"].partition(";")[0]
        value = answer.json() if kind == "application/json" else answer.text
        schema = entry["content"][kind]["schema"] | {"components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    return check


def test_every_route_is_in_it_and_nothing_else(document: Any, tmp_path: Path) -> None:
    app = create_app({"flowers": ServedModel(tmp_path)})
    routes = {route.path: {m.lower() for m in route.methods or ()} - {"head"} for route in app.routes if isinstance(route, Route)}
    assert {path: set(methods) for path, methods in document["paths"].items()} == routes


def test_it_is_made_once(serve_app: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is first asked for: not before, since a server should answer soon, and not again, since nothing in it changes."""
    made = []

    def counted(*args: Any) -> Any:
        made.append(args)
        return describe(*args)

    monkeypatch.setattr("exportweb.web.app.describe", counted)
    server = serve_app(create_app({"flowers": ServedModel(tmp_path)}, cors=["*"]))
    assert made == []
    answers = [server.http.get("/openapi.json", headers={"Origin": "https://example.org"}) for _ in range(3)]
    assert [answer.json() for answer in answers] == [json.loads(json.dumps(describe(20_000_000, ["flowers"])))] * 3
    assert len({len(answer.headers.raw) for answer in answers}) == 1, "what middleware adds to an answer stays with it"
    assert len(made) == 1


def test_its_schemas_are_json_schema(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", ["/", "/model", "/models", "/versions", "/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_what_get_answers_is_what_it_says(served: Server, check: Callable[..., None], path: str) -> None:
    check(served.http.get(path))


def test_what_predict_answers_is_what_it_says(served: Server, check: Callable[..., None], picture: Callable[..., bytes]) -> None:
    http = served.http
    answers = [
        http.post("/predict", content=picture()),
        http.post("/predict?top_k=0", content=picture()),
        http.post("/predict", content=b"no image"),
        http.post("/predict", content=picture(size=(200, 200))[:200]),
        http.post("/predict", content=bytes(200_000)),
    ]
    for answer in answers:
        check(answer)
    assert [answer.status_code for answer in answers] == [200, 400, 415, 422, 413]


def test_an_empty_server_answers_as_it_says(check: Callable[..., None], serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    server = serve(tmp_path / "store")
    for path in ("/model", "/readyz"):
        answer = server.http.get(path)
        assert answer.status_code == 503
        check(answer)


def test_the_limit_in_it_is_the_servers_own(document: Any) -> None:
    assert "100000 bytes" in json.dumps(document["paths"]["/predict"])
