"""The page of a model that takes arrays, in a real browser, on a real server."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from playwright.sync_api import Browser, Page, expect

import tensors
from browsing import SEND_FILE, last_sent
from serving import Server

Open = Callable[..., Server]
DASH = "\N{EN DASH}"  # what is shown for null


@pytest.fixture
def open_model(page: Page, serve: Callable[..., Server], tmp_path: Path) -> Open:
    """Serve a graph as a file, and open its page."""

    def open_model(graph: bytes) -> Server:
        path = tmp_path / "model.onnx"
        path.write_bytes(graph)
        server = serve(path)
        page.goto(server.url)
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#fields fieldset").first).to_be_visible()
        return server

    return open_model


def output(page: Page, name: str) -> list[list[str]]:
    """The rows of an output's table."""
    rows = page.get_by_role("region", name=name, exact=True).get_by_role("row")
    return [cells.split("\t") for cells in rows.all_inner_texts()]


def many(dtype: int = TensorProto.FLOAT) -> bytes:
    """``y = x``, of [n, 2, 9] values."""
    return tensors.model([helper.make_node("Identity", ["x"], ["y"])], [("x", dtype, ["n", 2, 9])], [("y", dtype, ["n", 2, 9])])


def test_a_form_of_fields(page: Page, complaints: list[str], open_model: Open) -> None:
    server = open_model(tensors.linear(scale=2))
    expect(page.locator("#modes")).to_be_hidden()
    expect(page.locator("#answer")).to_contain_text("Fill in the form, or send a file.")
    expect(page.locator("#fields legend")).to_have_text(["x float32 [N, 3]", "words string [N, 1]"])
    for i, value in enumerate(("1.5", "", "-3")):
        page.get_by_label(f"x {i}", exact=True).fill(value)
    page.get_by_label("words", exact=True).fill('Ærø "1"')
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("region", name="y", exact=True)).to_be_visible()
    assert output(page, "y") == [["0", "3"], ["1", DASH], ["2", "-6"]]
    expect(page.get_by_role("region", name="same")).to_have_text('Ærø "1"')
    assert json.loads(last_sent(page)) == {"inputs": {"x": [[1.5, None, -3]], "words": [['Ærø "1"']]}}
    expect(page.locator("#answer-version .badge")).to_have_text("v1")
    expect(page.locator("#announcer")).to_contain_text("y, 3 values, says version 1.")
    expect(page.locator("#curl")).to_have_text(f'curl -d \'{{"inputs": {{"x": [[0, 0, 0]], "words": [[""]]}}}}\' {server.url}/predict')
    assert complaints == []


def test_works_by_keyboard_alone(page: Page, open_model: Open) -> None:
    open_model(tensors.reciprocal())
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.locator(":focus").get_attribute("aria-label") == "x 0":
            break
    for value in ("2", "4"):
        page.keyboard.press("Control+a")
        page.keyboard.type(value)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # of a field sends the form
    expect(page.get_by_role("region", name="y")).to_be_visible()
    assert output(page, "y") == [["0", "0.5"], ["1", "0.25"], ["2", DASH]]  # 1 / 0 is no number that JSON has


def test_nested_lists_where_there_are_many_values(page: Page, open_model: Open) -> None:
    open_model(many(TensorProto.INT64))
    area = page.get_by_role("textbox", name="x")
    assert json.loads(area.input_value()) == [[[0] * 9] * 2]
    area.fill("[[1, 2")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("“x” should be nested lists in JSON, such as [[[0,")
    area.fill("[[1, 2]]")
    area.press("Control+Enter")
    expect(page.get_by_role("alert")).to_have_text("'x' has the shape [1, 2]; it should be int64 [N, 2, 9].")
    area.fill(json.dumps([[[2**60 + 1] * 9] * 2]))
    area.press("Control+Enter")
    expect(page.get_by_role("region", name="y")).to_contain_text(re.compile(r"\[\n \[\n  \[\d+,"))
    assert last_sent(page).count(b"1152921504606846977") == 18  # no digit is lost on the way
    expect(page.locator("#problem")).to_be_hidden()


def test_a_whole_number_has_to_be_given(page: Page, open_model: Open) -> None:
    open_model(tensors.cast(TensorProto.INT64, TensorProto.FLOAT))
    page.get_by_label("x 1", exact=True).fill("")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_have_text("“x” needs a number in each field.")


def test_a_file_of_rows_is_a_table(page: Page, open_model: Open) -> None:
    open_model(tensors.linear(scale=2))
    file = io.BytesIO()
    np.savez(file, x=np.arange(180.0).reshape(60, 3), words=np.full((60, 1), "a"))
    page.evaluate(SEND_FILE, ["drop", "rows.npz", "", base64.b64encode(file.getvalue()).decode()])
    expect(page.get_by_role("region", name="y", exact=True)).to_be_visible()
    assert last_sent(page) == file.getvalue()
    rows = output(page, "y")
    assert (rows[0][-3:], rows[2], len(rows)) == (["0", "1", "2"], ["1", "6", "8", "10"], 51)
    expect(page.get_by_role("region", name="y", exact=True)).to_contain_text("and 10 more")


def test_a_new_version_answers_the_same_input(page: Page, open_model: Open, tmp_path: Path) -> None:
    open_model(tensors.linear(scale=2))
    page.get_by_label("x 0", exact=True).fill("5")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("region", name="y", exact=True)).to_contain_text("10")
    part = tmp_path / "part"
    part.write_bytes(tensors.linear(scale=3))
    part.replace(tmp_path / "model.onnx")
    expect(page.locator("#answer-version .badge")).to_have_text("v2")
    assert output(page, "y")[0] == ["0", "15"]
    expect(page.get_by_label("x 0", exact=True)).to_have_value("5")
    expect(page.locator("#history li")).to_have_count(2)


def test_text_is_pasted_where_text_belongs(page: Page, open_model: Open) -> None:
    open_model(many())
    page.get_by_role("textbox", name="x").evaluate(
        "(area) => area.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, clipboardData: new DataTransfer() }))"
    )
    expect(page.locator("#problem")).to_be_hidden()


@pytest.mark.parametrize("graph", [tensors.linear(features=16), many()], ids=["fields", "text"])
def test_no_horizontal_overflow_on_a_phone(browser: Browser, serve: Callable[..., Server], tmp_path: Path, graph: bytes) -> None:
    path = tmp_path / f"{'a-very-long-name-' * 6}.onnx"
    path.write_bytes(graph)
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(serve(path).url)
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("region", name="y", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fields_follow_the_colour_scheme(page: Page, open_model: Open, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_model(tensors.reciprocal())
    field = page.get_by_label("x 0", exact=True)
    colours = [field.evaluate(f"(element) => getComputedStyle(element).{name}") for name in ("backgroundColor", "color")]
    background, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours)
    assert (background < 64 and text > 192) if scheme == "dark" else (background > 192 and text < 64)
