"""``GET /openapi.json``: what the server takes and answers, as OpenAPI 3.1, whose schemas are plain JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence

import exportweb
from exportweb.web.schemas import SCHEMAS, SHARE, Json, ref


def describe(max_upload: int, models: Sequence[str]) -> Json:
    """Return the OpenAPI document of a server of these models that takes bodies of up to `max_upload` bytes."""
    own = {
        "/predict": {"post": _predict(max_upload)},
        "/model": {
            "get": _get("The card of the version that serves, and how it runs", ref("Model"))
            | {"responses": {"200": _json("The model", ref("Model")), "503": _error("No version is loaded yet")}}
        },
        "/versions": {"get": _get("Every version that this server has seen, oldest first", ref("Versions"))},
        "/events": {"get": _events()},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "exportweb",
            "version": exportweb.__version__,
            "description": "Predictions of models, from versions that are swapped in without a dropped request.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            **(own if len(models) == 1 else {}),
            **{f"/models/{{name}}{path}": _named(operations, models) for path, operations in own.items()},
            "/models": {"get": _get("What is served", ref("Models"))},
            "/healthz": {"get": _get("200 while the process lives", ref("Status"))},
            "/readyz": {
                "get": {
                    "summary": "200 once a version of every model serves, through every swap",
                    "responses": {"200": _json("Ready", ref("Status")), "503": _error("No version is loaded yet")},
                }
            },
            "/metrics": {"get": _text("Metrics in Prometheus' text format", "text/plain")},
            "/openapi.json": {"get": _get("This document", {"type": "object", "required": ["openapi", "paths"]})},
            "/": {"get": _text("The page: try a model in a browser", "text/html")},
        },
        "components": {"schemas": SCHEMAS},
    }


def _named(operations: Json, models: Sequence[str]) -> Json:
    """Return what can be done with a path of one model, for the model that is named in it."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"enum": list(models)}}
    return {
        method: operation
        | {
            "parameters": [name, *operation.get("parameters", [])],
            "responses": {"404": _error("There is no such model"), **operation["responses"]},
        }
        for method, operation in operations.items()
    }


def _predict(max_upload: int) -> Json:
    image = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF (first frame), BMP or TIFF"}
    file = {"type": "string", "format": "binary", "description": "What numpy.save or numpy.savez writes"}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": image, "top_k": {"type": "integer", "minimum": 1}},
    }
    hugging_face = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {"type": "string", "contentEncoding": "base64", "description": "The image file, base64"},
            "parameters": {"type": "object", "properties": {"top_k": {"type": ["integer", "null"], "minimum": 1}}},
        },
    }
    arrays = {
        "type": "object",
        "required": ["inputs"],
        "description": "For a model that takes arrays",
        "properties": {
            "inputs": {
                "type": ["object", "array", "number", "string", "boolean"],
                "description": "By name: nested lists, or {data, shape, dtype}; for a single input the nested list itself. null is NaN",
            }
        },
    }
    errors = {
        "400": "A parameter, the form or the JSON isn't what it should be",
        "404": "The version isn't loaded, or there is no such model",
        "408": "The body didn't arrive in time",
        "413": f"More than {max_upload} bytes, or more pixels or values than the server decodes",
        "415": "Not an image",
        "422": "An image that can't be decoded, or arrays that aren't what the model takes",
        "503": "The queue is full, or no version is loaded yet; see Retry-After",
        "504": "There was no answer in time",
    }
    return {
        "summary": "Ask about one image, or about named arrays",
        "parameters": [
            _query(
                "top_k", "How many labels, objects or regions to answer with at most, the first of them", {"type": "integer", "minimum": 1}
            ),
            _query(
                "version",
                "A loaded version that should answer, instead of the newest; /versions lists them",
                {"type": "integer", "minimum": 0},
            ),
            _query("threshold", "The score from which on an object counts; 0.5 if not given", SHARE),
            _query("masks", "What masks are: a PNG in base64, COCO's run lengths, or left out", {"enum": ["png", "rle", "none"]}),
            _query(
                "format",
                "How objects are answered: as JSON, a COCO dataset, YOLO's lines or VOC's XML; how arrays are: as JSON or npz, which "
                "Accept can ask for, too, as application/x-npz",
                {"enum": ["json", "coco", "yolo", "voc", "npz"]},
            ),
        ],
        "requestBody": {
            "required": True,
            "description": "The image file itself (with any Content-Type or none), a form, or Hugging Face's JSON; for a model of "
            "arrays JSON, a .npy file or a .npz file (told apart by how they begin)",
            "content": {
                "image/*": {"schema": image},
                "application/octet-stream": {"schema": image},
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": {"anyOf": [hugging_face, arrays]}},
                "application/x-npy": {"schema": file},
                "application/x-npz": {"schema": file},
            },
        },
        "responses": {
            "200": {
                "description": "Labels with their scores, sorted by score; objects and regions; or the outputs by name",
                "content": {
                    "application/json": {"schema": {"anyOf": [ref(name) for name in ("Prediction", "Objects", "Coco", "Outputs")]}},
                    "application/x-npz": {"schema": file},
                    "application/xml": {"schema": {"type": "string", "description": "Objects as Pascal VOC annotates them"}},
                    "text/plain": {
                        "schema": {"type": "string", "description": "Objects as YOLO annotates them: class, x, y, width, height"}
                    },
                },
                "headers": {
                    "X-Model-Version": {"description": "The version that answered", "schema": {"type": "integer"}},
                    "Server-Timing": {"description": "Milliseconds by stage", "schema": {"type": "string"}},
                },
            },
            **{status: _error(text) for status, text in errors.items()},
        },
    }


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _events() -> Json:
    text = (
        "A stream of server-sent events, named `published`, `loaded`, `rejected` or `refused`; `data` is an Event as "
        "JSON. A client that (re)connects asks `/versions` for what it has missed."
    )
    return {
        "summary": "What happens to versions, as it happens",
        "responses": {
            "200": {"description": text, "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            "503": _error("Too many clients follow already"),
        },
    }


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error(description: str) -> Json:
    return _json(description, ref("Error"))


def _get(summary: str, schema: Json) -> Json:
    return {"summary": summary, "responses": {"200": _json(summary, schema)}}


def _text(summary: str, kind: str) -> Json:
    content = {kind: {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}
