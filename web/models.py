"""Several models behind one address: which there are, whether they serve, and the way to each by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response
from starlette.types import Receive, Scope, Send

from exportweb.errors import NotFound
from exportweb.runtime import ServedModel
from exportweb.web.responses import JSONResponse, error

Endpoint = Callable[..., Any]
"""What a `Route` takes: a method from a request to a response, or an ASGI app that is no function."""


class Models:
    """The small GET endpoints of the server as a whole."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

    async def models(self, request: Request) -> Response:
        """``GET /models``: what is served, in the order of the command line."""
        return JSONResponse({"models": [self._describe(name, model) for name, model in self._models.items()]})

    async def healthz(self, request: Request) -> Response:
        """``GET /healthz``: 200 while the process lives."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """``GET /readyz``: 200 once a version of every model serves, through every swap, else 503."""
        waiting = [name for name, model in self._models.items() if not model.ready]
        if not waiting:
            return JSONResponse({"status": "ready"})
        of = f" of {', '.join(waiting)}" if len(self._models) > 1 else ""
        return error(f"No version is loaded yet{of}.", status=503, headers={"Retry-After": "1"})

    def _describe(self, name: str, model: ServedModel) -> dict[str, object]:
        predictor, current = model.predictor, model.current
        return {
            "name": name,
            "ready": model.ready,
            "version": None if current is None else current.version,
            "task": None if predictor is None else predictor.card.task,
        }


class ByName:
    """The ASGI endpoint of a path under ``/models/{name}``: that of the model which is named. They are what a `Route` takes."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = {name: request_response(each) if inspect.ismethod(each) else each for name, each in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the model; raise `NotFound` if there is none of that name."""
        name = scope["path_params"]["name"]
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise NotFound(f"There is no model {name!r} here. The models: {', '.join(self._endpoints)}.")
        await endpoint(scope, receive, send)


class WhichOne:
    """The ASGI endpoint of a path that would be a model's own if there were only one: an answer by another model would be a wrong one."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self._sentence = (
            f"There are several models here, so say which, for example /models/{quote(names[0])}{path}. The models: {', '.join(names)}."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise `NotFound` with the names."""
        raise NotFound(self._sentence)
