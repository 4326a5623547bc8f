"""Fronts: processes that take requests for predictions and prepare their images, so that the server only runs the model.

In one process, threads that prepare images and the event loop wait for each other's GIL. That is what a server with a GPU or many cores
is short of first. A front has a GIL of its own, and all of HTTP in it for requests that are plain (see `web.refusal`): a POST to a model
whose head comes whole. The server accepts connections and hands them over, the sockets themselves; one on which anything else comes, or a
body that takes long, is handed back to the server, which can do everything. What is said goes through a socket, arrays through memory that
both see.
"""

from __future__ import annotations

from exportweb.web.fronts.fronts import Fronts
from exportweb.web.fronts.spawn import suitable

__all__ = ["Fronts", "suitable"]
