from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from exportweb.errors import ExportwebError
from exportweb.web import server as web_server
from exportweb.web.server import listen
from serving import Artifacts, Server
from wire import head, read_answer


@pytest.fixture
def file(artifacts: Artifacts, tmp_path: Path) -> Path:
    return artifacts.write(tmp_path / "colours.onnx")


def ask(server: Server, data: bytes) -> int:
    return httpx.post(f"{server.url}/predict", content=data, timeout=60).status_code


def in_flight(server: Server) -> float:
    """How many requests it has accepted and not answered yet."""
    lines = server.http.get("/metrics").text.splitlines()
    found = dict(line.split() for line in lines if line.startswith(("exportweb_in_flight{", "exportweb_queue_length{")))
    return sum(map(float, found.values()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_zero(serve: Callable[..., Server], file: Path, number: int) -> None:
    server = serve(file)
    server.process.send_signal(number)
    assert server.wait_for_end() == 0
    assert "Traceback" not in server.log


def test_what_was_accepted_is_answered_before_the_end(
    serve: Callable[..., Server], artifacts: Artifacts, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    server = serve(artifacts.write(tmp_path / "slow.onnx", slow=0.3), "--max-batch", "1")
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, server, picture()) for _ in range(8)]
        server.wait(lambda: in_flight(server) == 8, what="eight requests to be accepted")
        server.process.send_signal(signal.SIGTERM)
        assert [answer.result() for answer in answers] == [200] * 8
    assert server.wait_for_end() == 0
    with pytest.raises(httpx.ConnectError):
        ask(server, picture())


def test_what_is_not_answered_within_the_grace_is_refused(
    serve: Callable[..., Server], artifacts: Artifacts, picture: Callable[..., bytes], connect: Callable[..., socket.socket], tmp_path: Path
) -> None:
    """Whether it waits in the queue or is still on its way."""
    server = serve(artifacts.write(tmp_path / "slow.onnx", slow=0.5), "--grace", "0.5", "--max-batch", "1")
    late = connect(server.address, head(1000) + b"a few")
    with ThreadPoolExecutor(14) as pool:  # of a model as slow as this, no more than 16 may wait
        answers = [pool.submit(ask, server, picture()) for _ in range(14)]
        server.wait(lambda: in_flight(server) >= 13, what="the requests to be accepted")
        server.process.send_signal(signal.SIGTERM)
        assert {503} <= {answer.result() for answer in answers} <= {200, 503}
    status, headers, answer = read_answer(late)
    assert (status, headers["retry-after"]) == (503, "5")
    assert "shutting down" in answer["error"]
    assert server.wait_for_end() == 0
    assert "Traceback" not in server.log


def test_idle_connections_and_open_streams_do_not_hold_it_up(serve: Callable[..., Server], file: Path) -> None:
    server = serve(file)
    idle = socket.create_connection(server.address)
    server.http.get("/healthz")
    opened = threading.Event()

    def follow() -> None:
        with httpx.stream("GET", f"{server.url}/events", timeout=60) as answer:
            for _ in answer.iter_lines():
                opened.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert opened.wait(30)
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert time.monotonic() - start < web_server.GRACE
    thread.join()
    idle.close()


def test_it_ends_with_the_process_that_started_it(serve: Callable[..., Server], file: Path) -> None:
    server = serve(file, "--exit-with-stdin")
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.process.wait(30) == 0
    server.http.close()


def test_a_signal_ends_it_while_it_waits_for_that(serve: Callable[..., Server], file: Path) -> None:
    server = serve(file, "--exit-with-stdin")
    assert server.stop() == 0
    assert "Fatal" not in server.log


def test_without_that_option_stdin_may_end(serve: Callable[..., Server], file: Path) -> None:
    server = serve(file)
    assert server.process.stdin is not None
    server.process.stdin.close()
    time.sleep(0.3)
    assert server.http.get("/healthz").status_code == 200


def test_a_port_that_is_taken_is_explained(serve: Callable[..., Server], file: Path) -> None:
    port = serve(file).address[1]
    command = [sys.executable, "-m", "exportweb", "serve", str(file), "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert line == f"Error: Can't listen on 127.0.0.1:{port}: address already in use. Choose another port with --port; 0 takes a free one."
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_host_that_is_unknown_is_explained() -> None:
    with pytest.raises(ExportwebError, match=r"'no such host' isn't known here"):
        listen("no such host", 0)


def test_ipv6(serve: Callable[..., Server], file: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listen("::1", 0).close()
    except ExportwebError:
        pytest.skip("no IPv6 here")
    server = serve(file, "--host", "::1")
    assert server.url.startswith("http://[::1]:")
    assert server.http.get("/healthz").status_code == 200


def test_only_errors_are_logged_not_requests(serve: Callable[..., Server], file: Path, picture: Callable[..., bytes]) -> None:
    server = serve(file, "--log-level", "warning")
    assert ask(server, picture()) == 200
    assert ask(server, b"no image") == 415
    server.stop()
    assert server.log == ""
