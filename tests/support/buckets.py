"""A real S3 endpoint on this machine, and a proxy before it that can be told to fail or to be slow."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import boto3
from moto.server import ThreadedMotoServer

NAME = "flowers"


class Endpoint:
    """moto's server with one empty bucket, behind a proxy: `failing` answers 500 to everything, `delay` seconds come before each answer."""

    def __init__(self) -> None:
        self.failing = False
        self.delay = 0.0
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, self._moto.get_host_and_port()))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()
        self.port = self._proxy.server_address[1]
        self.env = {
            "AWS_ENDPOINT_URL": f"http://localhost:{self.port}",  # a name, which has to be looked up
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=NAME)

    def url(self, path: str) -> str:
        """The URL of a path in the bucket."""
        return f"s3://{NAME}/{path}"

    def keys(self, path: str) -> list[str]:
        """The names under a path in the bucket."""
        found = self.client.list_objects_v2(Bucket=NAME, Prefix=f"{path}/").get("Contents", [])
        return [entry["Key"].removeprefix(f"{path}/") for entry in found]

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()


def _handler(endpoint: Endpoint, address: tuple[str, int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(endpoint.delay)
            if endpoint.failing:
                code, headers, data = (
                    500,
                    [],
                    b"<Error><Code>InternalError</Code><Message>Try again.</Message></Error>",
                )
            else:
                upstream = http.client.HTTPConnection(*address, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                response = upstream.getresponse()
                code, headers, data = response.status, response.getheaders(), response.read()
                upstream.close()
            self.send_response(code)
            kept = [(name, value) for name, value in headers if name.lower() not in ("connection", "transfer-encoding", "date", "server")]
            for name, value in kept:
                self.send_header(name, value)
            if all(name.lower() != "content-length" for name, _ in kept):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
