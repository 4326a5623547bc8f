"""The Starlette app: which path leads where, and what surrounds them all."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from exportweb.errors import ExportwebError
from exportweb.runtime import ServedModel
from exportweb.web.body import Inbox
from exportweb.web.events import Events
from exportweb.web.guard import Guard
from exportweb.web.info import Info
from exportweb.web.metrics import Metrics
from exportweb.web.models import ByName, Endpoint, Models, WhichOne
from exportweb.web.openapi import describe
from exportweb.web.predict import Predict
from exportweb.web.responses import JSONResponse, failed, http_error

STATIC = Path(__file__).with_name("static")
MAX_UPLOAD = 20_000_000  # bytes
MAX_HELD = 512_000_000  # bytes
BODY_TIMEOUT = 30.0  # seconds
TIMEOUT = 60.0  # seconds


def create_app(
    models: Mapping[str, ServedModel],
    *,
    max_upload: int = MAX_UPLOAD,
    max_held: int = MAX_HELD,
    body_timeout: float = BODY_TIMEOUT,
    timeout: float = TIMEOUT,
    cors: Sequence[str] = (),
) -> Starlette:
    """Return the web app of these models, by name; they are started and closed by the caller.

    `max_upload` is the largest body of a request in bytes, `max_held` that of all requests in flight together,
    `body_timeout` the seconds within which a body has to arrive, `timeout` those within which it is answered then, `cors` the origins
    (or ``"*"``) whose pages may ask.
    `app.state.events` are the event hubs: close them before the server waits for its connections to end. `app.state.refusal` says of a
    path and a size in bytes whether such a request would only be refused, `app.state.full` whether all would be (see `Connections`).
    `app.state.paths` says which model is asked by which path, `app.state.metrics` counts, and `app.state.fronts` may be set.
    """
    server, metrics, static = Models(models), Metrics(models), _Static(directory=STATIC)
    inbox = Inbox(max_upload=max_upload, max_held=max_held, timeout=body_timeout)
    hubs = {name: Events(model) for name, model in models.items()}
    infos = {name: Info(model) for name, model in models.items()}

    predicts = {name: Predict(model, metrics.of(name), inbox, timeout=timeout) for name, model in models.items()}
    asked = {f"/models/{quote(name)}/predict".encode(): (name, predict) for name, predict in predicts.items()}
    if len(models) == 1:
        asked[b"/predict"] = next(iter(asked.values()))

    def refusal(path: bytes, size: int) -> int:
        if path not in asked:
            return 0
        name, predict = asked[path]
        seconds = predict.refusal(size)
        if seconds:
            metrics.count(("/predict", name), 503)
        return seconds

    def full() -> bool:
        return all(model.full for model in models.values())

    async def page(request: Request) -> Response:
        return await static.get_response("index.html", request.scope)

    @functools.cache
    def document() -> msgspec.Raw:
        """Make it when it is first asked for: nothing in it changes."""
        return msgspec.Raw(msgspec.json.encode(describe(max_upload, list(models))))

    async def openapi(request: Request) -> Response:
        return JSONResponse(document())

    own: dict[str, dict[str, Endpoint]] = {  # by path, and then by model
        "/predict": {**predicts},
        "/model": {name: info.model for name, info in infos.items()},
        "/versions": {name: info.versions for name, info in infos.items()},
        "/events": {**hubs},
    }
    routes, counted = [], {}
    for path, by_name in own.items():
        methods = ["POST"] if path == "/predict" else ["GET"]
        only = next(iter(by_name.values())) if len(models) == 1 else None
        routes.append(Route(path, only or WhichOne(path, list(models)), methods=methods, include_in_schema=only is not None))
        routes.append(Route(f"/models/{{name}}{path}", ByName(by_name), methods=methods))
        counted[path] = path, next(iter(models)) if only else ""
        counted |= {f"/models/{name}{path}": (path, name) for name in models}
    for path, endpoint in {
        "/": page,
        "/models": server.models,
        "/healthz": server.healthz,
        "/readyz": server.readyz,
        "/metrics": metrics.page,
        "/openapi.json": openapi,
    }.items():
        routes.append(Route(path, endpoint))
        counted[path] = path, ""
    middleware = [Middleware(Guard, metrics=metrics, paths=counted)]
    if cors:
        exposed = ["X-Model-Version", "Server-Timing", "Retry-After"]
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=cors,
                allow_headers=["Content-Type"],
                allow_methods=["GET", "POST"],
                expose_headers=exposed,
            )
        )
    app = Starlette(
        routes=[*routes, Mount("/static", static)],
        middleware=middleware,
        exception_handlers={ExportwebError: failed, HTTPException: http_error},
    )
    app.router = _Router(app.router.routes, direct={path.decode(): predict for path, (_, predict) in asked.items()})
    app.state.events = list(hubs.values())
    app.state.refusal = refusal
    app.state.full = full
    app.state.paths = {path: name for path, (name, _) in asked.items()}
    app.state.metrics = metrics
    app.state.fronts = ()
    return app


class _Router(Router):
    """Starlette's router, behind a shorter way to where most requests go: `direct` are endpoints by path, for POST."""

    def __init__(self, routes: Sequence[BaseRoute], *, direct: Mapping[str, ASGIApp]) -> None:
        super().__init__(routes, redirect_slashes=False)
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._direct.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (endpoint or super().__call__)(scope, receive, send)


class _Static(StaticFiles):
    """The page's files: browsers keep them, and ask each time whether they are still the same."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        return response
