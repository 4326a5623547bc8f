from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from exportweb.runtime import ServedModel
from exportweb.web.guard import Guard
from exportweb.web.metrics import Metrics
from serving import Server


@pytest.mark.parametrize("path", ["/", "/model", "/static/index.html", "/metrics", "/nothing", "/predict"])
def test_every_answer_has_the_security_headers(served: Server, path: str) -> None:
    headers = served.http.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["permissions-policy"] == "camera=(self)"
    assert "server" not in headers


def test_an_answer_to_predict_has_them_too(served: Server, picture: Callable[..., bytes]) -> None:
    assert served.http.post("/predict", content=picture()).headers["x-content-type-options"] == "nosniff"


def test_what_nobody_expected_is_logged_and_told_to_nobody(
    serve_app: Callable[[Any], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        raise RuntimeError("secret plans")

    metrics = Metrics({"flowers": ServedModel(tmp_path)})
    server = serve_app(Guard(broken, metrics=metrics, paths={"/late": ("/late", "")}))
    with caplog.at_level(logging.ERROR, "exportweb.web"):
        answer = server.http.get("/any")
    assert answer.status_code == 500
    assert answer.json() == {"error": "Internal error."}
    assert "x-content-type-options" in answer.headers
    assert "secret plans" in caplog.text
    assert "Traceback" in caplog.text

    with pytest.raises(httpx.RemoteProtocolError):
        server.http.get("/late")
