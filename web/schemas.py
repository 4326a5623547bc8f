"""What the server's answers look like: JSON Schemas, which refer to each other by name, as parts of an OpenAPI document."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def ref(name: str) -> Json:
    """Refer to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


_STRING: Json = {"type": "string"}
_INTEGER: Json = {"type": "integer"}
_NUMBER: Json = {"type": "number"}
_INTEGERS: Json = {"type": "array", "items": _INTEGER}
_STRINGS: Json = {"type": "array", "items": _STRING}
_NUMBERS: Json = {"type": "array", "items": _NUMBER}
SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
_METRICS: Json = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


SCHEMAS: Json = {
    "Error": _object({"error": {"type": "string", "description": "What was wrong, and what to do"}}),
    "Status": _object({"status": _STRING}),
    "Prediction": {
        "type": "array",
        "items": _object({"label": _STRING, "score": SHARE}),
    },
    "Objects": {
        "type": "array",
        "description": "What was found in the picture, in pixels of it, upright; the best, or the largest region, first",
        "items": _object(
            {"label": _STRING, "score": {"type": ["number", "null"], "description": "null: a region, which has none"}},
            {
                "box": _object(dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), _NUMBER)),
                "mask": {
                    "anyOf": [
                        {"type": "string", "contentEncoding": "base64", "description": "PNG of the picture's size: 255 inside, 0 outside"},
                        ref("Runs"),
                    ]
                },
                "keypoints": {"type": "array", "items": _object({"label": _STRING, "x": _NUMBER, "y": _NUMBER, "score": _NUMBER})},
            },
        ),
    },
    "Runs": _object(
        {"size": _INTEGERS | {"description": "Height and width"}, "counts": {**_STRING, "description": "COCO's compressed RLE"}}
    ),
    "Coco": _object(
        {
            "images": {"type": "array", "items": _object({"id": _INTEGER, "width": _INTEGER, "height": _INTEGER})},
            "categories": {"type": "array", "items": _object({"id": _INTEGER, "name": _STRING})},
            "annotations": {
                "type": "array",
                "items": _object(
                    {"id": _INTEGER, "image_id": _INTEGER, "category_id": _INTEGER, "bbox": _NUMBERS, "area": _NUMBER, "iscrowd": _INTEGER},
                    {"score": _NUMBER, "segmentation": {"anyOf": [ref("Runs"), {"type": "array"}]}, "keypoints": _NUMBERS},
                ),
            },
        }
    ),
    "Outputs": _object(
        {
            "outputs": {
                "type": "object",
                "description": "Nested lists; sequences are lists and maps are objects. NaN and the infinities are null",
            }
        }
    ),
    "VersionInfo": _object(
        {
            "version": {"type": "integer", "minimum": 0, "description": "0: never published"},
            "state": {"enum": ["serving", "retired", "available", "rejected", "refused"]},
            "epoch": _or_null(_INTEGER),
            "step": _or_null(_INTEGER),
            "metrics": _METRICS,
            "created": {"type": ["string", "null"], "format": "date-time"},
            "seen": {"type": "number", "description": "Unix seconds"},
            "reason": {"type": ["string", "null"], "description": "Why it was rejected or refused"},
        }
    ),
    "Versions": _object(
        {
            "serving": _or_null(_INTEGER),
            "loaded": {"type": "array", "items": _INTEGER, "description": "Those that can be asked by ?version="},
            "versions": {"type": "array", "items": ref("VersionInfo")},
        },
    ),
    "Models": _object(
        {
            "models": {
                "type": "array",
                "items": _object({"name": _STRING, "ready": {"type": "boolean"}, "version": _or_null(_INTEGER), "task": _or_null(_STRING)}),
            }
        }
    ),
    "Event": _object(
        {
            "kind": {"enum": ["published", "loaded", "rejected", "refused"]},
            "info": ref("VersionInfo"),
            "time": {"type": "number", "description": "Unix seconds"},
        }
    ),
    "ImageInput": _object(
        {
            "name": _STRING,
            "height": {**_INTEGER, "description": "0: any"},
            "width": {**_INTEGER, "description": "0: any"},
            "color": {"enum": ["RGB", "BGR", "L"]},
            "dtype": {"enum": ["uint8", "float32"]},
            "layout": {"enum": ["NHWC", "NCHW"]},
            "resize": {"enum": ["shortest", "bounded", "cover", "contain", "exact", "none"]},
            "resize_height": _INTEGER,
            "resize_width": _INTEGER,
            "resize_max": {**_INTEGER, "description": "Of the longest edge; 0: as long as it gets"},
            "interpolation": {"enum": ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "linear"]},
            "fill": {"type": "array", "items": _INTEGER},
            "mean": _NUMBERS,
            "std": _NUMBERS,
        }
    ),
    "TensorInput": _object(
        {
            "name": _STRING,
            "dtype": _STRING,
            "shape": {"type": "array", "items": _or_null(_INTEGER), "description": "null: any length"},
        }
    ),
    "Source": _object(
        {"framework": _STRING, "model": _STRING, "created": _STRING},
        {
            "epoch": _INTEGER,
            "step": _INTEGER,
            "metrics": _METRICS,
            "packages": {"type": "object", "additionalProperties": _STRING},
            "git": _STRING,
        },
    ),
    "Card": _object(
        {
            "name": _STRING,
            "task": _STRING,
            "outputs": {"type": "array", "items": _object({"name": _STRING, "role": _STRING}, {"paste": {"enum": ["integer"]}})},
            "source": ref("Source"),
        },
        {
            "input": ref("ImageInput"),
            "inputs": {"type": "array", "items": ref("TensorInput")},
            "labels": _STRINGS,
            "stuff": _STRINGS,
            "keypoints": _STRINGS,
            "fallback": _STRING,
            "format": _INTEGER,
            "version": _INTEGER,
            "digest": _STRING,
        },
    ),
    "Model": _object(
        {
            "name": _STRING,
            "task": _STRING,
            "version": _INTEGER,
            "card": ref("Card"),
            "runtime": _object(
                {
                    "device": _STRING,
                    "providers": {"type": "array", "items": _STRING},
                    "threads": _INTEGER,
                    "workers": _INTEGER,
                    "fronts": {**_INTEGER, "description": "Processes that take requests and prepare images now"},
                    "max_batch": _INTEGER,
                    "decode": {"enum": ["exact", "fast", None], "description": "How JPEGs are decoded; null for arrays"},
                    "loaded": {"type": "string", "format": "date-time"},
                    "exportweb": _STRING,
                }
            ),
        }
    ),
}
"""All of them, by name."""
