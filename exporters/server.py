"""The server beside a training run: a process of its own, without PyTorch in it, that ends with the trainer."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

from exportweb.errors import ExportwebError

_NICE = 5


class Server:
    """`exportweb serve` for a store, or several, as a child process.

    Its standard input is a pipe from this process: however this process ends, the pipe closes and the server stops. It runs in a session
    of its own, so that Ctrl-C reaches the trainer first, which may still have a version to publish. It trusts the stores as this process
    does, which publishes into them, so that TorchScript versions are served, too.
    `tune` is the server's budget for measuring itself: none, since what it measured would be the training.
    Raises `ExportwebError` if the server doesn't start.
    """

    def __init__(self, *stores: str | os.PathLike[str], host: str, port: int, device: str, nice: int = _NICE, tune: float = 0) -> None:
        words = ["serve", *(os.fspath(store) for store in stores), "--host", host, "--port", str(_free(host, port)), "--device", device]
        words += ["--tune", str(tune), "--trust-torchscript"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "exportweb", *words, "--log-level", "warning", "--exit-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if hasattr(os, "setpriority"):  # training goes first
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, nice)
        self.url = self._address()

    def wait(self) -> None:
        """Wait until the server ends."""
        self._process.wait()

    def close(self) -> None:
        """Stop the server and wait for it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _address(self) -> str:
        """Read the line by which the server says that it listens."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            for word in line.split():
                if word.startswith("http://"):
                    return word.rstrip(".")
        code = self._process.wait()
        raise ExportwebError(f"The server did not start (exit status {code}); what it said stands above. Train without it: serve=False.")


def _free(host: str, port: int) -> int:
    """Return `port`, or 0 (any that is free) if something else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
    return port
