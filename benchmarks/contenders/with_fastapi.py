"""FastAPI by hand: the body is read by the event loop, the work done in its pool of threads; uvicorn starts the processes."""

from __future__ import annotations

import pipeline
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

app = FastAPI()
session = pipeline.session()


def answer(data: bytes) -> list[dict]:
    return pipeline.run(session, [pipeline.prepare(data)])[0]


@app.post("/predict")
async def predict(request: Request) -> list[dict]:
    return await run_in_threadpool(answer, await request.body())
