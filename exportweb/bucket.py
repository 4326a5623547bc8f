"""A store's files in a bucket, or on any other file system that fsspec knows: ``s3://bucket/runs/flowers``.

A version is written to a local temporary file, uploaded under a name that nothing has yet, and its size compared; the small files are
one PUT each, which a bucket does whole or not at all. Every call has a deadline, so that a bucket that is out of reach is an error after
a while, never a wait for good. Where and as whom comes from the environment, as for any tool of that service (``AWS_ENDPOINT_URL`` …).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from exportweb.atomic import replace_file
from exportweb.errors import StoreError
from exportweb.lease import Lease

_DEADLINE = 30.0  # seconds for a call that moves next to nothing
_RATE = 100_000  # bytes/s: what moves more slowly is given up
_RETRIES = 2  # within a call
_TURN = threading.Lock()
_BLOCK = 1 << 16  # bytes asked for at once while a card is looked for


class Bucket:
    """The files of a store at a URL. Raises `OSError` whatever goes wrong; `FileNotFoundError` for what isn't there.

    Raises `StoreError` if what the URL needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self.location = url
        self._fs, self._root = _open(url)
        self._lease: Lease | None = None

    def names(self) -> list[str]:
        """Return the names under the URL; none where there is nothing yet."""
        try:
            found = self._call("ls", self._root, detail=False)
        except FileNotFoundError:
            return []
        return [key.rstrip("/").rpartition("/")[2] for key in found]

    def where(self, name: str) -> PurePosixPath:
        """Return the key of a file."""
        return PurePosixPath(self._key(name))

    def read(self, name: str) -> bytes:
        """Return what a small file holds."""
        return bytes(self._call("cat_file", self._key(name)))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; only the parts that are read travel."""
        part = _Part(lambda start, end: self._call("cat_file", self._key(name), start=start, end=end), self._size(name))
        return cast(BinaryIO, io.BufferedReader(part, _BLOCK))

    def fetch(self, name: str, path: Path) -> None:
        """Download a file to a local path, where it appears whole or not at all."""
        size = self._size(name)
        replace_file(path, lambda part: self._call("get_file", self._key(name), part.name, size=size))

    def add(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Upload a file that isn't there yet: what another process may have put there meanwhile is never replaced."""
        with tempfile.NamedTemporaryFile(prefix="exportweb-", suffix=name) as file:
            write(cast(BinaryIO, file))
            file.flush()
            size = file.seek(0, os.SEEK_END)
            self._exclusively("put_file", file.name, self._key(name), size=size)
        if (arrived := self._size(name)) != size:
            raise OSError(f"{arrived} of {size} bytes of {name} arrived")

    def put(self, name: str, data: bytes) -> None:
        """Make or replace a small file, atomically."""
        self._call("pipe_file", self._key(name), data)

    def create(self, name: str, data: bytes) -> None:
        """Make a small file; raise `FileExistsError` if it is there."""
        self._exclusively("pipe_file", self._key(name), data)

    def delete(self, name: str) -> bool:
        """Delete a file. Nobody holds one: a server has a copy of its own."""
        with contextlib.suppress(FileNotFoundError):
            self._call("rm_file", self._key(name))
        return True

    def check(self) -> None:
        """Raise `StoreLocked` if the lock was held and another process has taken it over."""
        if self._lease is not None:
            self._lease.check()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the bucket for publishing; see `Lease`."""
        lease = Lease(self)
        lease.acquire()
        self._lease = lease
        try:
            yield
        finally:
            self._lease = None
            lease.release()

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _size(self, name: str) -> int:
        return int(self._call("info", self._key(name))["size"])

    def _exclusively(self, method: str, *args: object, size: int = 0) -> None:
        """Call what makes a file so that it fails with `FileExistsError` if there is one; as near to that as this service allows."""
        key = str(args[0] if method == "pipe_file" else args[1])
        try:
            self._call(method, *args, size=size, mode="create")
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            if self._call("exists", key):
                raise FileExistsError(errno.EEXIST, f"{key} is there already") from error
            self._call(method, *args, size=size)

    def _call(self, method: str, *args: object, size: int = 0, **options: object) -> Any:
        """Call a method of the file system: with a deadline, or in turn where it knows none (and may not know of threads either)."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_as_os_errors())
            if self._fs.async_impl:
                options["timeout"] = _DEADLINE + size / _RATE
            else:
                stack.enter_context(_TURN)
                if method in ("put_file", "pipe_file"):
                    self._fs.makedirs(self._root, exist_ok=True)
            self._fs.invalidate_cache()
            return getattr(self._fs, method)(*args, **options)


class _Part(io.RawIOBase):
    """A file that is read by asking for the bytes between two offsets."""

    def __init__(self, get: Callable[[int, int], bytes], size: int) -> None:
        self._get, self._size, self._at = get, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readall(self) -> bytes:
        data = self._get(self._at, self._size) if self._at < self._size else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._get(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        fsspec = importlib.import_module("fsspec")
        if url.startswith(("s3://", "s3a://")):
            importlib.import_module("s3fs")
            options["config_kwargs"] = importlib.import_module("exportweb.s3").config()
        fs, root = fsspec.core.url_to_fs(url, **options)
    except ModuleNotFoundError as error:
        raise StoreError(f'{url} needs {error.name}, which is not installed: pip install "exportweb[s3]"') from error
    except Exception as error:  # what a file system makes of a URL that it doesn't understand has no base of its own
        raise StoreError(f"{url} can't be a store: {error}. A store is a folder, or a URL such as s3://bucket/runs/flowers.") from error
    fs.retries = _RETRIES  # of s3fs, in place of five, each with time-outs of its own
    return fs, root.rstrip("/")


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn what a bucket's client raises into an `OSError` that says what happened."""
    try:
        yield
    except TimeoutError as error:
        raise TimeoutError(errno.ETIMEDOUT, "it did not answer in time") from error
    except OSError:
        raise
    except NotImplementedError as error:  # a service has no exclusive creation, for one
        raise OSError(errno.ENOSYS, str(error) or "this file system can't do that") from error
    except Exception as error:  # the clients' exceptions have no base of their own
        raise OSError(f"{type(error).__name__}: {error}") from error
