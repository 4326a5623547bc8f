"""The page follows the versions as they come, go and fail."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from browsing import LiveServer, Relay, bars, choose, expected_bars, open_page, png, row


def test_waits_for_the_first_version_and_comes_alive_by_itself(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server)
    expect(page.locator("#answer")).to_contain_text("Waiting for the first version")
    choose(page, png())
    version = live_server.publish(0.5, epoch=1)
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{version}")
    expect(bars(page)).to_have_text(expected_bars(live_server, png()))


def test_a_new_version_is_shown_and_asked_about_the_last_image(page: Page, live_server: LiveServer) -> None:
    first = live_server.publish(0.5, epoch=1)
    open_page(page, live_server, first)
    choose(page, png(3))
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{first}")
    expect(bars(page)).to_have_text(expected_bars(live_server, png(3)))

    second = live_server.publish(0.75, epoch=2, scale=3.0)
    expect(page.locator("#serving .badge")).to_have_text(f"v{second}")
    expect(page.locator("#answer-version")).to_contain_text("epoch 2")
    expect(bars(page)).to_have_text(expected_bars(live_server, png(3)))
    expect(page.locator("#announcer")).to_contain_text(f"Version {second} is serving now, accuracy 0.75.")
    expect(page.locator("#history li")).to_have_count(2)
    expect(page.locator("#chart .last-value")).to_have_text("0.75")
    expect(row(page, first)).to_contain_text("retired")
    expect(row(page, second)).to_contain_text("serving")


def test_the_chart_reads_out_values_by_pointer_and_by_key(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.25, epoch=1))
    live_server.publish(0.75, epoch=2)
    plot = page.get_by_role("slider", name="accuracy over the versions")
    expect(page.locator("#chart .last-value")).to_have_text("0.75")
    plot.hover(position={"x": 60, "y": 100})
    expect(page.locator("#chart .tip")).to_contain_text("accuracy 0.25")
    page.mouse.move(0, 0)
    expect(page.locator("#chart .tip")).to_be_hidden()
    plot.focus()
    page.keyboard.press("End")
    expect(page.locator("#chart .tip")).to_contain_text("accuracy 0.75")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#chart .tip")).to_contain_text("accuracy 0.25")
    expect(plot).to_have_attribute("aria-valuetext", re.compile("accuracy 0.25"))


def test_a_rejected_and_a_refused_version_show_why(page: Page, live_server: LiveServer) -> None:
    serving = live_server.publish(0.9, epoch=1)
    open_page(page, live_server, serving)
    live_server.reject(2)
    live_server.refuse("The weights are not finite: fc.weight.", epoch=3)

    rejected = page.locator("#versions li[data-state=rejected]")
    expect(rejected).to_contain_text("epoch 2")
    (reason,) = [info["reason"] for info in httpx.get(f"{live_server.url}/versions").json()["versions"] if info["state"] == "rejected"]
    expect(rejected.locator(".reason")).to_have_text(reason)
    refused = page.locator("#versions li[data-state=refused]")
    expect(refused).to_contain_text("epoch 3")
    expect(refused.locator(".reason")).to_have_text("The weights are not finite: fc.weight.")
    expect(page.locator("#serving .badge")).to_have_text(f"v{serving}")
    expect(page.locator("#chart .cross")).to_have_count(2)


def test_a_slow_answer_never_overwrites_a_newer_one(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.9, epoch=1))
    held: list[Callable[[], None]] = []

    def hold_the_first(route: object) -> None:
        proceed = route.continue_  # type: ignore[attr-defined]
        if held:
            proceed()
        else:
            held.append(proceed)

    page.route("**/predict*", hold_the_first)
    choose(page, png(4))
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
    choose(page, png(5))
    expect(bars(page)).to_have_text(expected_bars(live_server, png(5)))
    held[0]()
    page.unroute_all(behavior="wait")
    expect(bars(page)).to_have_text(expected_bars(live_server, png(5)))


def test_a_server_that_went_away_is_found_again(page: Page, live_server: LiveServer) -> None:
    first = live_server.publish(0.5, epoch=1)
    relay = Relay(live_server.url)
    try:
        page.goto(relay.url)
        expect(page.locator("#serving .badge")).to_have_text(f"v{first}")
        choose(page, png(6))
        expect(page.locator("#answer-version .badge")).to_have_text(f"v{first}")
        relay.cut()
        expect(page.locator("#connection")).to_contain_text("The server is away")
        second = live_server.publish(0.75, epoch=2)
        relay.mend()
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#answer-version .badge")).to_have_text(f"v{second}")
    finally:
        relay.cut()
