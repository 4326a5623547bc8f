"""Answers as JSON, and every error as ``{"error": "<what was wrong, what to do>"}``: the one place that maps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from exportweb.errors import ExportwebError, Overloaded, RequestError, TooLarge, TooSlow

# Seconds for which a refused upload is still read and dropped, so that its sender sees the answer before the close.
LINGER = 2.0

_HTTP = {
    404: "There is nothing at {path}. Try POST /predict, GET /model, or /openapi.json for all there is.",
    405: "{path} doesn't take {method}; it takes {allow}.",
}


class JSONResponse(Response):
    """A value as compact JSON, never cached: what is served changes with the next version."""

    media_type = "application/json"

    def __init__(self, content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(msgspec.json.encode(content), status, {"Cache-Control": "no-store", **(headers or {})})


class Refusal(JSONResponse):
    """An error sent while the body is still on its way: answer at once, drop the rest for a while, then close."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error and then, for at most `LINGER` seconds, receive what is still coming."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if not any(name == b"expect" for name, _ in scope["headers"]):  # receiving would ask that client for the body
            with anyio.move_on_after(LINGER):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})


def error(message: str, *, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as JSON."""
    return JSONResponse({"error": message}, status=status, headers=headers)


class Failure(NamedTuple):
    """What a client is told of something that went wrong; and after how many seconds it may ask again, 0 if that is up to it."""

    status: int
    message: str
    retry_after: int = 0

    def response(self) -> JSONResponse:
        """Return it as an answer."""
        return error(self.message, status=self.status, headers={"Retry-After": str(self.retry_after)} if self.retry_after else None)


def failure(error: Exception) -> Failure:
    """Return what is said of an error: a `RequestError` is the client's; why a model failed stands in the log, since it may name files."""
    if isinstance(error, RequestError):
        return Failure(error.status, str(error), error.retry_after if isinstance(error, Overloaded) else 0)
    if isinstance(error, ExportwebError):
        return Failure(500, "The model has no answer to this; the server's log says why.")
    return Failure(500, "Internal error.")


async def failed(request: Request, exc: Exception) -> Response:
    """Answer for an error of ours; a body that is still on its way is waited for."""
    if isinstance(exc, TooLarge | TooSlow):
        return Refusal({"error": str(exc)}, status=exc.status, headers={"Connection": "close"})
    return failure(exc).response()


def answer_headers(kind: str, length: int, version: int, timings: Mapping[str, float]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a prediction; `timings` are seconds by stage."""
    stages = ", ".join([f"{stage};dur={1000 * seconds:.2f}" for stage, seconds in timings.items()])
    return [
        (b"content-type", kind.encode("ascii")),
        (b"content-length", b"%d" % length),
        (b"cache-control", b"no-store"),
        (b"x-model-version", b"%d" % version),
        (b"server-timing", stages.encode("ascii")),
    ]


async def http_error(request: Request, exc: Exception) -> Response:
    """Answer what Starlette refuses (unknown path, wrong method); OPTIONS is told which methods there are."""
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    if exc.status_code == 405:
        headers["Allow"] = ", ".join(sorted({*headers.get("Allow", "GET, HEAD").split(", "), "OPTIONS"}))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    text = _HTTP.get(exc.status_code, exc.detail)
    text = text.format(path=request.url.path, method=request.method, allow=headers.get("Allow"))
    return error(text, status=exc.status_code, headers=headers)
