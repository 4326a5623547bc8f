from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from exportweb import Card
from exportweb.card import FORMAT, Precision
from exportweb.errors import CardError


def test_what_is_encoded_is_decoded(card: Card) -> None:
    assert Card.decode(card.encode()) == card
    assert Card.decode(card.encode().decode()) == card


def test_a_precision_travels_with_the_card_and_is_fp32_where_none_is_named(card: Card) -> None:
    precision = Precision(name="int8", images=200, agreement=0.995, difference=0.002, accuracy_before=0.9, accuracy_after=0.895)
    assert Card.decode(card.replace(precision=precision).encode()).precision == precision
    assert "precision" not in json.loads(card.encode()) and Card.decode(card.encode()).precision is None
    assert json.loads(card.replace(precision=Precision(name="fp16")).encode())["precision"] == {"name": "fp16"}


def test_replace_changes_a_copy(card: Card) -> None:
    assert card.replace(version=7).version == 7
    assert card.version is None


def test_a_card_is_immutable(card: Card) -> None:
    with pytest.raises(AttributeError):
        card.version = 7  # type: ignore[misc]


def test_absent_values_take_no_space(card: Card) -> None:
    data = json.loads(card.encode())
    assert "version" not in data
    assert "git" not in data["source"]


def test_arrays_travel_as_base64(card: Card) -> None:
    assert json.loads(card.encode())["golden"]["inputs"]["image"]["data"] == "AP8="


def test_channels_follow_the_colour(card: Card) -> None:
    assert card.input.channels == 3
    assert msgspec.structs.replace(card.input, color="L").channels == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_leaves_the_card_readable(card: Card, value: float) -> None:
    source = msgspec.structs.replace(card.source, metrics={"loss": value, "accuracy": 0.5})
    assert Card.decode(card.replace(source=source).encode()).source.metrics == {"accuracy": 0.5}


def test_fields_of_a_newer_card_are_ignored(card: Card) -> None:
    data = json.loads(card.encode()) | {"colour of the sky": "blue"}
    data["input"]["depth"] = 3
    assert Card.decode(json.dumps(data)) == card


def test_a_newer_format_is_refused(card: Card) -> None:
    with pytest.raises(CardError, match=f"format {FORMAT + 1}.*Update exportweb"):
        Card.decode(card.replace(format=FORMAT + 1).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"name": "x"}', b'{"name": 3}'])
def test_what_is_no_card_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(CardError, match="can't be read"):
        Card.decode(data)


@pytest.mark.parametrize(
    ("where", "value"),
    [("resize", "stretch"), ("color", "HSV"), ("interpolation", "cubic"), ("height", "224"), ("mean", "x")],
)
def test_values_out_of_range_name_their_place(card: Card, where: str, value: object) -> None:
    data = json.loads(card.encode())
    data["input"][where] = value
    with pytest.raises(CardError, match=rf"\$\.input\.{where}"):
        Card.decode(json.dumps(data))


def test_threads_may_be_the_first_to_decode_one_together(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(card.encode())
    code = f"""
import sys, threading
from pathlib import Path
from exportweb import Card

data, together = Path({str(path)!r}).read_bytes(), threading.Barrier(8)
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=lambda: (together.wait(), Card.decode(data))) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 3
