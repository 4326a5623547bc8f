"""What the server makes of what a front asks. That it answers is in test_front."""

from __future__ import annotations

import types
from typing import Any

import pytest

from exportweb.web.fronts import answering, channel
from exportweb.web.fronts.known import Known
from exportweb.web.fronts.slots import Placed
from exportweb.web.fronts.spawn import Spawned

NONE: Any = types.SimpleNamespace()


@pytest.mark.parametrize(
    "asked",
    [
        channel.Asked(1, 0, {}, 0, {"image": Placed("|u1", (1 << 40,), 0)}, {}, None, 0.0),  # where there is no memory
        channel.Asked(1, 0, {}, 0, {"image": Placed("O", (1,), 0)}, {}, None, 0.0),
        channel.Asked(1, 5, {}, 9, {}, {}, None, 0.0),  # nothing that it was told of
    ],
)
def test_a_front_that_says_nonsense_is_ended(monkeypatch: pytest.MonkeyPatch, asked: channel.Asked) -> None:
    killed: list[int] = []
    monkeypatch.setattr(answering.os, "kill", lambda process, number: killed.append(process))
    front = Spawned(0)
    front.process = 123
    answering.Answering([], [front], Known([], count=1), NONE, lambda function: None).asked(front, asked)
    assert killed == [123]
    front.started()
