"""Predictions on the web: the Starlette app, its limits, events and metrics, and the server that runs it."""

from __future__ import annotations

from exportweb.web.app import create_app
from exportweb.web.fronts import suitable
from exportweb.web.server import run

__all__ = ["create_app", "run", "suitable"]
