"""How s3fs is set up, so that a bucket that is slow or gone is noticed, and the last version of a script is published while it exits."""

from __future__ import annotations

import importlib
import socket
from typing import Any

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

_CONNECT, _READ = 5, 15  # seconds


def config() -> dict[str, Any]:
    """Return s3fs's `config_kwargs`."""
    loop = importlib.import_module("fsspec.asyn").get_loop()  # that of the thread in which s3fs runs
    return {
        "connect_timeout": _CONNECT,
        "read_timeout": _READ,
        "retries": {"total_max_attempts": 1},  # s3fs retries, too
        "connector_args": {"resolver": _Resolver(loop)},
    }


class _Resolver(ThreadedResolver):
    """Finds addresses in a thread, or, where the interpreter exits and starts no more threads, without one."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        try:
            return await super().resolve(host, port, family)
        except RuntimeError:
            found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            return [
                ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
                for kind, _, proto, _, address in found
            ]
