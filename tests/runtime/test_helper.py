from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from exportweb.card import ImageInput
from exportweb.errors import NotAnImage, TooLarge, TornImage
from exportweb.runtime import helper as helpers
from exportweb.runtime.helper import PATIENCE, Found, Helper, Placed
from exportweb.runtime.preparation import Preparation, described
from exportweb.runtime.reader import Prepared
from exportweb.runtime.workers import Workers
from serving import Artifacts
from versions import WAIT, Served

Picture = Callable[..., bytes]
INPUT = ImageInput(height=48, width=48, resize_height=56, resize_width=56, mean=(0.5,) * 3, std=(0.5,) * 3, dtype="float32", layout="NCHW")
PIXELS = 1_000_000


@pytest.fixture
def helper() -> Iterator[Helper]:
    helper = Helper()
    yield started(helper)
    helper.close()


def started(helper: Helper) -> Helper:
    for _ in range(PATIENCE):
        helper.miss()
    end = time.monotonic() + 30
    while not helper.look():
        assert time.monotonic() < end, "it isn't ready"
        time.sleep(0.01)
    return helper


def process(helper: Helper) -> int:
    assert helper._process is not None
    return helper._process.pid


def same(one: Any, other: Prepared) -> bool:
    assert isinstance(one, Prepared)
    return one.size == other.size and all(
        np.array_equal(one.arrays[name], array) and one.arrays[name].dtype == array.dtype for name, array in other.arrays.items()
    )


def test_a_preparation_is_described_by_bytes(picture: Picture) -> None:
    prepare = Preparation(INPUT, "fast")
    again = described(prepare.description)
    assert again.description == prepare.description
    assert same(again(picture(), max_pixels=PIXELS), prepare(picture(), max_pixels=PIXELS))


def test_prepares_as_is_done_here(helper: Helper, picture: Picture) -> None:
    prepare = Preparation(INPUT)
    images = [picture("red"), picture("green", size=(300, 200)), picture("blue", size=(37, 91))]
    for _ in range(3):  # what is there from before is nobody's
        found = helper.prepare(prepare.description, images, max_pixels=PIXELS)
        assert all(same(one, prepare(data, max_pixels=PIXELS)) for one, data in zip(found, images, strict=True))
        images.reverse()
    assert isinstance(found[0], Prepared) and set(found[0].stages) == {"decode", "resize"}


def test_an_answer_stays_what_it_was(helper: Helper, picture: Picture) -> None:
    prepare = Preparation(INPUT)
    (first,) = helper.prepare(prepare.description, [picture("red")], max_pixels=PIXELS)
    helper.prepare(prepare.description, [picture("blue")], max_pixels=PIXELS)
    assert same(first, prepare(picture("red"), max_pixels=PIXELS))


def test_each_bad_image_costs_itself(helper: Helper, picture: Picture) -> None:
    good = picture("red", size=(300, 200))
    images = [b"text", good, good[:-100], picture(size=(1001, 1000)), good]
    found = helper.prepare(Preparation(INPUT).description, images, max_pixels=PIXELS)
    assert [type(one) for one in found] == [NotAnImage, Prepared, TornImage, TooLarge, Prepared]
    assert "b'text'" in str(found[0]) and "1001 x 1000" in str(found[3])


def test_what_does_not_fit_is_left_to_who_asks(helper: Helper, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Preparation(msgspec.structs.replace(INPUT, height=1500, width=1500, resize_height=1500, resize_width=1500))  # 27 MB
    found = helper.prepare(large.description, [picture(), picture()], max_pixels=PIXELS)
    assert isinstance(found[0], Prepared) and found[1] is None
    monkeypatch.setattr(helpers, "MEMORY", 2 * len(picture()))
    found = helper.prepare(Preparation(INPUT).description, [picture(), picture()], max_pixels=PIXELS)
    assert isinstance(found[0], Prepared) and found[1] is None


def test_what_can_not_be_understood_is_left_to_who_asks(helper: Helper, picture: Picture) -> None:
    assert helper.prepare(b"nonsense", [picture()], max_pixels=PIXELS) == [None]
    assert helper.ready


def test_it_is_started_when_it_is_missed() -> None:
    helper = Helper()
    for _ in range(PATIENCE - 1):
        helper.miss()
    assert not helper.look() and helper._process is None
    helper.miss()
    assert helper._process is not None
    helper.close()
    assert not helper.look() and helper._process is None


def test_one_that_is_killed_costs_its_help_only(helper: Helper, picture: Picture) -> None:
    prepare = Preparation(INPUT)
    for _ in range(2):
        before = process(helper)
        os.kill(before, signal.SIGKILL)
        assert helper.prepare(prepare.description, [picture()], max_pixels=PIXELS) == [None]
        assert not helper.ready
        started(helper)  # missed again, it is started again
        assert process(helper) != before
        assert isinstance(helper.prepare(prepare.description, [picture()], max_pixels=PIXELS)[0], Prepared)


def test_one_that_always_ends_is_given_up(picture: Picture) -> None:
    helper = Helper()
    seen = set()
    for _ in range(10):
        for _ in range(PATIENCE):
            helper.miss()
        if helper._process is None:
            break
        seen.add(process(helper))
        os.kill(process(helper), signal.SIGKILL)
        helper._process.wait()
        assert not helper.look()
    else:
        pytest.fail("it is started again and again")
    assert 1 < len(seen) < 10


def test_it_uses_all_cpus_whoever_starts_it() -> None:
    helper, allowed = Helper(), os.sched_getaffinity(0)

    def pinned() -> None:
        os.sched_setaffinity(0, {min(allowed)})  # of this thread
        started(helper)

    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join(WAIT)
    assert os.sched_getaffinity(process(helper)) == allowed
    helper.close()


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense",
        msgspec.msgpack.encode([Found({"image": Placed("|u1", (1 << 40,), 0)}, {}, None)]),
        msgspec.msgpack.encode([Found({"image": Placed("no dtype", (1,), 0)}, {}, None)]),
    ],
)
def test_one_whose_answers_make_no_sense_is_ended(helper: Helper, picture: Picture, reply: bytes) -> None:
    assert helper._socket is not None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper._socket.close()
    helper._socket = ours
    theirs.send(reply)
    assert helper.prepare(Preparation(INPUT).description, [picture()], max_pixels=PIXELS) == [None]
    assert not helper.ready and helper._process is None
    theirs.close()


def test_it_ends_with_who_asks_and_not_by_ctrl_c(helper: Helper, picture: Picture) -> None:
    os.kill(process(helper), signal.SIGINT)
    assert isinstance(helper.prepare(Preparation(INPUT).description, [picture()], max_pixels=PIXELS)[0], Prepared)
    running, channel = helper._process, helper._socket
    assert running is not None and channel is not None
    channel.close()  # as the system does when this process ends
    assert running.wait(10) == 0


def test_a_crowd_is_answered_with_helpers_whatever_becomes_of_them(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    workers = Workers(4, helpers=2)
    served = Served(artifacts.write(tmp_path / "model.onnx", slow=20), workers=workers)
    served.model.start(wait=True)
    colours = ["red", "green", "blue"]
    images = {colour: picture(colour, size=(400, 300)) for colour in colours}
    killed = 0
    end = time.monotonic() + WAIT
    while killed < 3:
        assert time.monotonic() < end
        asked = [(colour, served.later(images[colour], top_k=1)) for colour in colours * 20]
        torn = served.later(images["red"][:-100])
        for helper in workers._helpers:
            if helper.ready and helper._process is not None:
                os.kill(process(helper), signal.SIGKILL)
                killed += 1
                break
        assert [future.result(WAIT).result[0]["label"] for _, future in asked] == [colour for colour, _ in asked]
        assert isinstance(torn.exception(WAIT), TornImage)
    served.model.close()
    assert not any(helper.ready for helper in workers._helpers)


@pytest.mark.parametrize(
    ("device", "gpus", "built", "cpus", "suits"),
    [
        ("auto", 1, ["cuda", "cpu"], 16, 16),
        ("cuda:all", 2, ["cuda", "cpu"], 8, 8),
        ("cuda", 1, ["cuda", "cpu"], 7, 0),
        ("cpu", 1, ["cuda", "cpu"], 16, 0),
        ("auto", 0, ["cuda", "cpu"], 16, 0),
        ("auto", 1, ["cpu"], 16, 0),
    ],
)
def test_they_suit_a_gpu_with_many_cpus(
    device: str, gpus: int, built: list[str], cpus: int, suits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers.cuda, "count", lambda: gpus)
    monkeypatch.setattr(helpers, "available_devices", lambda: built)
    monkeypatch.setattr(helpers, "usable_cpus", lambda: cpus)
    assert helpers.suitable(device) == suits


def test_a_pool_has_no_more_than_threads() -> None:
    assert [len(Workers(4, helpers=count)._helpers) for count in (0, 3, 9)] == [0, 3, 4]
