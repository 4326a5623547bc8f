from __future__ import annotations

import base64
import json

import httpx
import pytest

from exportweb.errors import BadParameter
from exportweb.web.payload import MAX_FIELD, MAX_PARTS, Payload, parse


def form(**parts: object) -> tuple[bytes, bytes]:
    """A form as httpx writes it: bytes are files, text is a field."""
    files = {name: value for name, value in parts.items() if isinstance(value, bytes)}
    data = {name: value for name, value in parts.items() if not isinstance(value, bytes)}
    request = httpx.Request("POST", "http://x", files=files, data=data)
    return request.read(), request.headers["content-type"].encode()


def test_a_raw_body_is_the_image_itself() -> None:
    assert parse(b"abc", b"", b"") == Payload(b"abc", {})
    assert parse(b"abc", b"image/jpeg", b"top_k=5&x=%20") == Payload(b"abc", {"top_k": "5", "x": " "})


@pytest.mark.parametrize("image", [b"", b"abc", b"\r\n", b"--", b"\r\n--x\r\n" * 3, bytes(range(256)) * 100])
def test_a_forms_image_comes_out_as_it_went_in(image: bytes) -> None:
    body, kind = form(image=image, top_k="3")
    assert parse(body, kind, b"") == Payload(image, {"top_k": "3"})


def test_the_boundary_may_be_quoted_and_the_kind_in_capitals() -> None:
    body = b'--a b\r\ncontent-disposition: FORM-DATA; name="image"; filename="x.png"\r\n\r\nabc\r\n--a b--\r\n'
    assert parse(body, b'Multipart/Form-Data; boundary="a b"', b"").data == b"abc"


def test_a_form_of_too_many_parts() -> None:
    body, kind = form(**{f"field{i}": "x" for i in range(MAX_PARTS)}, image=b"abc")
    with pytest.raises(BadParameter, match=f"more than {MAX_PARTS} parts"):
        parse(body, kind, b"")


def test_a_field_that_is_too_long() -> None:
    body, kind = form(image=b"abc", top_k="1" * (MAX_FIELD + 1))
    with pytest.raises(BadParameter, match="'top_k' is too long"):
        parse(body, kind, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x--",
        b"--x\r\n\r\n\r\n--x--",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--",
        b"--x\r\n" + b"A" * 100_000 + b": b\r\n\r\n\r\n--x--",
        b"--x\r\n" + b"a: b\r\n" * 1000 + b"\r\nabc\r\n--x--",
        b"--x\r\n: \r\n\r\nabc\r\n--x--",
        b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\nabc\r\n--y--",
    ],
)
def test_broken_forms_are_the_clients_fault(body: bytes) -> None:
    with pytest.raises(BadParameter):
        parse(body, b"multipart/form-data; boundary=x", b"")


@pytest.mark.parametrize("filler", [b"\r\n--", b"\r", b"\r\n--boundar", b"-", b"\r\n-boundary"])
def test_almost_boundaries_are_data(filler: bytes) -> None:
    image = filler * (5_000_000 // len(filler))
    body = b"--boundary\r\nContent-Disposition: form-data; name=image\r\n\r\n" + image + b"\r\n--boundary--\r\n"
    assert parse(body, b"multipart/form-data; boundary=boundary", b"").data == image


def test_json_carries_base64_and_parameters_of_any_kind() -> None:
    call = {"inputs": base64.b64encode(b"abc").decode(), "parameters": {"top_k": 3, "a": "b", "c": None, "d": 0.5}}
    assert parse(json.dumps(call).encode(), b"application/json; charset=utf-8", b"") == Payload(
        b"abc", {"top_k": "3", "a": "b", "d": "0.5"}
    )


def test_the_query_string_wins() -> None:
    body, kind = form(image=b"abc", top_k="3")
    assert parse(body, kind, b"top_k=1").params == {"top_k": "1"}


def test_a_body_of_arrays_is_passed_on_whole() -> None:
    body = b'{"inputs": [1]}'
    assert parse(body, b"application/json", b"format=npz", takes="arrays") == Payload(body, {"format": "npz"})
