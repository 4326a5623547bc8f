"""Around every answer: security headers, the count by status, and a last resort for what nobody expected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exportweb.web.metrics import Metrics
from exportweb.web.responses import error

log = logging.getLogger("exportweb.web")

# The page needs its own scripts, styles and requests, pictures that are in the browser already, and nothing else.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self)"),
)


class Guard:
    """ASGI middleware; `paths` says as which path, and of which model, a request is counted."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: Mapping[str, tuple[str, str]]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, come what may."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # nothing sent: the client left first

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except asyncio.CancelledError:  # the server's time to stop is over
            if status != 499:
                raise
            await error("The server is shutting down; ask again in a moment.", status=503, headers={"Retry-After": "5"})(
                scope, receive, guarded
            )
        except Exception:
            if status != 499:
                raise  # the answer has begun; the server closes the connection and logs why
            log.exception("%s %s failed", scope["method"], scope["path"])
            await error("Internal error.", status=500)(scope, receive, guarded)
        finally:
            path = scope["path"]
            known = self._paths.get(path) or ("/static" if path.startswith("/static/") else "other", "")
            self._metrics.count(known, status)
