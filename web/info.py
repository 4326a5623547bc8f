"""What a server says about a model: its card, how it runs, its versions."""

from __future__ import annotations

from datetime import datetime, timezone

from starlette.requests import Request
from starlette.responses import Response

import exportweb
from exportweb.errors import Overloaded
from exportweb.runtime import Event, ServedModel
from exportweb.web.responses import JSONResponse


class Info:
    """The small GET endpoints of one model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._loaded: tuple[int, float] | None = None  # the version that was loaded last, and when
        model.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if event.kind == "loaded":
            self._loaded = event.info.version, event.time

    async def model(self, request: Request) -> Response:
        """``GET /model``: the card without its golden sample, and how it runs here."""
        predictor, current = self._model.predictor, self._model.current
        if predictor is None or current is None:
            raise Overloaded("No version is loaded yet; the first one is served as soon as it is published.")
        stats, card, loaded = self._model.stats(), predictor.card, self._loaded
        since = loaded[1] if loaded is not None and loaded[0] == current.version else current.seen
        runtime = {
            "device": predictor.device,
            "providers": predictor.providers,
            "threads": stats["threads"],
            "workers": stats["workers"],
            "fronts": len(request.app.state.fronts),
            "max_batch": stats["max_batch"],
            "tuning": self._model.tuning,
            "decode": predictor.decoding,
            "loaded": datetime.fromtimestamp(since, timezone.utc).isoformat(timespec="seconds"),
            "exportweb": exportweb.__version__,
        }
        return JSONResponse(
            {
                "name": card.name,
                "task": card.task,
                "version": current.version,
                "card": card.replace(golden=None),
                "runtime": runtime,
            }
        )

    async def versions(self, request: Request) -> Response:
        """``GET /versions``: every version that this server has seen, oldest first."""
        current = self._model.current
        serving = current.version if current else None
        return JSONResponse({"serving": serving, "loaded": self._model.loaded, "versions": self._model.versions()})
