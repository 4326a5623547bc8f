from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exportweb.web.app import STATIC
from serving import Server

GET = ["/", "/model", "/models", "/versions", "/healthz", "/readyz", "/metrics", "/openapi.json"]


def test_the_page(served: Server) -> None:
    answer = served.http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.content == (STATIC / "index.html").read_bytes()


@pytest.mark.parametrize("file", [path for path in STATIC.rglob("*") if path.is_file()], ids=lambda path: path.name)
def test_its_files(served: Server, file: Path) -> None:
    answer = served.http.get(f"/static/{file.relative_to(STATIC)}")
    assert answer.content == file.read_bytes()
    kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds[file.suffix])


@pytest.mark.parametrize("path", ["/", "/static/index.html"])
def test_browsers_ask_whether_a_file_has_changed(served: Server, path: str) -> None:
    first = served.http.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = served.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/none.js", "/static/"])
def test_nothing_else_is_a_file(served: Server, path: str) -> None:
    answer = served.http.get(path)
    assert answer.status_code == 404
    assert "error" in answer.json()


@pytest.mark.parametrize("path", ["/nothing", "/predict/", "/model/x", "/v2", "/%00"])
def test_404_is_json(served: Server, path: str) -> None:
    answer = served.http.get(path)
    assert answer.status_code == 404
    assert "/openapi.json" in answer.json()["error"]


@pytest.mark.parametrize("path", GET)
def test_head_is_get_without_a_body(served: Server, path: str) -> None:
    answer = served.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("HEAD", "/predict"), ("PUT", "/predict"), ("POST", "/model")])
def test_405_says_what_there_is(served: Server, method: str, path: str) -> None:
    answer = served.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == ("OPTIONS, POST" if path == "/predict" else "GET, HEAD, OPTIONS")
    if method != "HEAD":
        assert path in answer.json()["error"]


@pytest.mark.parametrize(("path", "allow"), [("/predict", "OPTIONS, POST"), *((path, "GET, HEAD, OPTIONS") for path in GET)])
def test_options(served: Server, path: str, allow: str) -> None:
    answer = served.http.options(path)
    assert (answer.status_code, answer.headers["allow"]) == (204, allow)


def test_another_sites_page_may_ask_where_it_is_allowed_to(served: Server) -> None:
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = served.http.options("/predict", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://example.org"

    answer = served.http.get("/model", headers={"Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert "X-Model-Version" in answer.headers["access-control-expose-headers"]

    answer = served.http.get("/model", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_no_site_may_ask_by_default(serve_model: Any) -> None:
    answer = serve_model().http.get("/model", headers={"Origin": "https://example.org"})
    assert "access-control-allow-origin" not in answer.headers
