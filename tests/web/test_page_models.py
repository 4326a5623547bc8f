"""The page of a server of several models, and of one that keeps versions loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browsing import LiveServer, bars, choose, expected_bars, open_page, png, row
from exportweb import Store
from serving import Artifacts, Server


def test_a_model_is_chosen(page: Page, serve: Callable[..., Server], artifacts: Artifacts, tmp_path: Path, complaints: list[str]) -> None:
    store = Store(tmp_path / "flowers & more")
    artifacts.publish(store, epoch=4)
    server = serve(artifacts.write(tmp_path / "colours.onnx", version=7), str(store.folder))
    page.goto(server.url)
    expect(page.locator("#connection")).to_have_text("Live")
    chooser = page.get_by_role("combobox", name="Model")
    expect(chooser).to_have_value("colours")
    expect(page.locator("#serving .badge")).to_have_text("v7")
    chooser.select_option("flowers & more")
    expect(page.locator("#serving .badge")).to_have_text("v1")
    expect(chooser).to_have_value("flowers & more")
    choose(page, png(3))
    expect(page.locator("#answer-version")).to_contain_text("epoch 4")
    address = f"{server.url}/models/flowers%20%26%20more"
    expect(page.locator("#curl")).to_contain_text(f"{address}/predict")
    expect(page.get_by_role("link", name="versions")).to_have_attribute("href", "models/flowers%20%26%20more/versions")
    artifacts.publish(store, epoch=5)
    expect(page.locator("#answer-version")).to_contain_text("epoch 5")
    page.go_back()
    expect(page.locator("#serving .badge")).to_have_text("v7")
    expect(chooser).to_have_value("colours")
    assert [each for each in complaints if not each.endswith(": net::ERR_ABORTED")] == []  # what pages that were left still asked for


def test_a_loaded_version_is_asked(page: Page, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("EXPORTWEB_KEEP_LOADED", "2")
    server: LiveServer = request.getfixturevalue("live_server")
    first = server.publish(0.1, epoch=1)
    open_page(page, server, first)
    second = server.publish(0.2, epoch=2, scale=3.0)
    expect(page.get_by_role("combobox", name="Model")).to_be_hidden()
    choose(page, png(3))
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{second}")
    newest = page.get_by_role("button", name="Back to the newest")
    expect(newest).to_be_hidden()
    row(page, first).get_by_role("button", name="Ask").click()
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{first}")
    expect(page.locator("#history li")).to_have_count(2)
    newest.click()
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{second}")
    expect(bars(page)).to_have_text(expected_bars(server, png(3)))

    row(page, first).get_by_role("button", name="Ask").click()
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{first}")
    third = server.publish(0.3, epoch=3)  # the one that is asked is no longer loaded
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{third}")
    expect(newest).to_be_hidden()
    expect(row(page, first)).to_contain_text("retired")
