"""Digests of artifacts, each with the name of the function that made it in front: ``blake3:<hex>``.

BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs) hashes many parts at once with any CPU's vector instructions: a version's bytes are
hashed beside training, and again beside a server's answers. Artifacts may have SHA-256 as well.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from typing import Any

from blake3 import blake3

from exportweb.errors import ArtifactError

_FUNCTIONS: dict[str, Callable[[], Any]] = {"blake3": blake3, "sha256": hashlib.sha256}
_CHUNK = 1 << 20


class Digest:
    """The digest of the bytes that it is given, as text. `name` is the function's: ``blake3`` or ``sha256``."""

    def __init__(self, name: str = "blake3") -> None:
        self._name = name
        self._hash = _FUNCTIONS[name]()

    @classmethod
    def like(cls, digest: str, *, what: str) -> Digest:
        """Return an empty one, made as a digest that there is; raise `ArtifactError`, naming `what` has it, if that kind isn't known."""
        name = digest.partition(":")[0]
        if name not in _FUNCTIONS:
            known = " and ".join(_FUNCTIONS)
            raise ArtifactError(f"{what} has a digest of a newer exportweb, {name[:20]!r}; this one knows {known}. Update exportweb.")
        return cls(name)

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes, from where they lie; other threads run meanwhile."""
        self._hash.update(data)

    def read(self, file: io.RawIOBase | io.BufferedReader, count: int | None = None) -> None:
        """Add the next `count` bytes of an open file, or all that are left."""
        buffer = memoryview(bytearray(_CHUNK if count is None else min(_CHUNK, count)))
        left = sys.maxsize if count is None else count
        while got := file.readinto(buffer[:left]):
            self._hash.update(buffer[:got])
            left -= got

    def __str__(self) -> str:
        return f"{self._name}:{self._hash.hexdigest()}"
