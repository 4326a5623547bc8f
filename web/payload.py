"""From a request's body to what the model is asked and its parameters: raw bytes, a form, or Hugging Face's JSON.

A model that takes arrays reads its body itself. Parameters come from the query string, a form's other fields, or JSON's ``parameters``; the
query string wins.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from exportweb.errors import BadParameter

MAX_PARTS = 16  # of a form; each costs time to parse, and there is one image and a few parameters
MAX_FIELD = 4096  # bytes of a form's text field


class Payload(NamedTuple):
    """The bytes of an image file, or of a body that holds arrays, and the parameters that came with them."""

    data: bytes
    params: dict[str, str]


class _Call(msgspec.Struct):
    """Hugging Face's JSON request: ``{"inputs": "<base64>", "parameters": {"top_k": 3}}``."""

    inputs: bytes
    parameters: dict[str, str | int | float | bool | None] = {}


_decode_call = msgspec.json.Decoder(_Call).decode  # made here for threads, as in exportweb.card


def parse(body: bytes, content_type: bytes, query: bytes, *, takes: Literal["image", "arrays"] = "image") -> Payload:
    """Find the image in a body by its Content-Type; anything but a form or JSON is the image itself, and a body of arrays always whole.

    Raises `BadParameter` when the form or the JSON isn't what it should be.
    """
    kind = content_type[:32].lower()
    params: dict[str, str]
    if takes == "arrays":
        data, params = body, {}
    elif kind.startswith(b"multipart/form-data"):
        data, params = _form(body, content_type)
    elif kind.startswith(b"application/json"):
        data, params = _json(body)
    else:
        data, params = body, {}
    if query:
        try:
            params |= parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARTS)
        except ValueError:
            raise BadParameter(f"The query string can't be read; it should look like ?top_k=5 (at most {MAX_PARTS}).") from None
    return Payload(data, params)


def _json(body: bytes) -> tuple[bytes, dict[str, str]]:
    try:
        call = _decode_call(body)
    except msgspec.DecodeError as error:
        raise BadParameter(f'The JSON should be {{"inputs": "<image as base64>", "parameters": {{"top_k": 5}}}}: {error}.') from None
    return call.inputs, {key: str(value) for key, value in call.parameters.items() if value is not None}


def _form(body: bytes, content_type: bytes) -> tuple[bytes, dict[str, str]]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadParameter("The multipart form's Content-Type has no boundary.")
    form = _Form(body)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise BadParameter(f"The multipart form can't be read: {error}.") from None
    if not form.ended:
        raise BadParameter("The multipart form is cut short: its last boundary is missing.")
    image = form.fields.pop("image", None)
    if image is None:
        have = ", ".join(map(repr, form.fields)) or "nothing"
        raise BadParameter(f"The form should have a file field named 'image'; it has {have}.")
    for name, value in form.fields.items():
        if len(value) > MAX_FIELD:
            raise BadParameter(f"The form's field {name!r} is too long; only 'image' may have over {MAX_FIELD} bytes.")
    return image, {name: value.decode("utf-8", "replace") for name, value in form.fields.items()}


class _Form:
    """Collects a form's fields from the parser's callbacks, each of which gets a slice of the body."""

    def __init__(self, body: bytes) -> None:
        self.fields: dict[str, bytes] = {}
        self.ended = False
        self._parts = 0
        self._name = ""
        self._header = self._value = b""
        self._data: list[bytes] = []

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadParameter(f"The form has more than {MAX_PARTS} parts.")
        self._name, self._data = "", []

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"").decode("utf-8", "replace")
        self._header = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _part_end(self) -> None:
        self.fields[self._name] = self._data[0] if len(self._data) == 1 else b"".join(self._data)

    def _end(self) -> None:
        self.ended = True
