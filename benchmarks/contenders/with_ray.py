"""Ray Serve: as many replicas as cores, each running batches of up to four in a thread. SIGHUP deploys the model's file anew."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pipeline
import ray
from ray import serve
from starlette.requests import Request

CORES = os.cpu_count() or 1


@serve.deployment(num_replicas=CORES, max_ongoing_requests=32, ray_actor_options={"num_cpus": 0.4}, graceful_shutdown_timeout_s=5)
class Classifier:
    """One replica."""

    def __init__(self, version: int) -> None:
        self.session = pipeline.session()
        self.thread = ThreadPoolExecutor(1)

    def answer(self, bodies: list[bytes]) -> list[list[dict]]:
        """Answer a batch."""
        return pipeline.run(self.session, [pipeline.prepare(body) for body in bodies])

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.005)
    async def batch(self, bodies: list[bytes]) -> list[list[dict]]:
        """Answer a batch in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.answer, bodies)

    async def __call__(self, request: Request) -> list[dict]:
        """Answer a request."""
        return await self.batch(await request.body())


def main() -> None:
    """Serve until SIGTERM."""
    ray.init(num_cpus=CORES, include_dashboard=False, logging_level="ERROR", object_store_memory=200 << 20)
    quiet = {"enable_access_log": False, "log_level": "ERROR"}
    serve.start(http_options={"host": "127.0.0.1", "port": pipeline.PORT}, logging_config=quiet)
    hangups = threading.Semaphore(1)
    signal.signal(signal.SIGHUP, lambda *_: hangups.release())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    version = 0
    try:
        while True:
            if hangups.acquire(timeout=0.2):
                version += 1
                serve.run(Classifier.bind(version), route_prefix="/predict", name="app", logging_config=quiet)
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
