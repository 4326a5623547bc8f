from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportweb.web.fronts.slots import Placed, Slots, look


def array(size: int, value: int = 1) -> np.ndarray:
    return np.full(size, value, np.uint8)


def test_arrays_are_seen_as_they_were_written() -> None:
    memory = mmap.mmap(-1, 1 << 16)
    arrays = {"image": np.arange(24, dtype=np.uint8).reshape(2, 4, 3), "size": np.array([1.5, -2], np.float32), "none": array(0)}
    placed = Slots(memory).place(arrays)
    assert placed is not None
    assert {name: (one.dtype, one.shape, one.size) for name, one in placed.items()}["size"] == ("<f4", (2,), 8)
    for name, seen in look(memory, placed).items():
        assert seen.dtype == arrays[name].dtype
        assert np.array_equal(seen, arrays[name])


def test_what_was_used_last_is_used_next() -> None:
    slots = Slots(mmap.mmap(-1, 1 << 12))
    first, second = slots.place({"a": array(100)}), slots.place({"a": array(100)})
    assert first is not None and second is not None
    assert (first["a"].start, second["a"].start) == (0, 128)
    slots.free(first)
    assert slots.place({"a": array(200)}) == {"a": Placed("|u1", (200,), 256)}, "it doesn't fit between"
    assert slots.place({"a": array(128)}) == {"a": Placed("|u1", (128,), 0)}


def test_what_does_not_fit_takes_nothing() -> None:
    memory = mmap.mmap(-1, 4096)
    slots = Slots(memory)
    assert slots.place({"a": array(1000), "b": array(4000)}) is None
    assert slots.place({"a": array(4097)}) is None
    whole = slots.place({"a": array(4096)})
    assert whole is not None
    assert slots.place({"a": array(1)}) is None
    slots.free(whole)
    assert slots.place({"a": array(1)}) is not None


@given(st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=60))
def test_no_array_is_written_over_another(steps: list[tuple[int, bool]]) -> None:
    memory = mmap.mmap(-1, 8192)
    slots = Slots(memory)
    alive: list[tuple[dict[str, Placed], int]] = []
    for number, (size, end) in enumerate(steps):
        if end and alive:
            slots.free(alive.pop(0)[0])
        placed = slots.place({"a": array(size, number)})
        if placed is not None:
            alive.append((placed, number))
        assert all((look(memory, one)["a"] == value).all() for one, value in alive)


@pytest.mark.parametrize(
    "placed", [Placed("|u1", (1 << 20,), 0), Placed("|u1", (8,), 4095), Placed("nonsense", (1,), 0), Placed("O", (1,), 0)]
)
def test_what_can_not_lie_there_is_not_looked_at(placed: Placed) -> None:
    with pytest.raises((ValueError, TypeError)):
        look(mmap.mmap(-1, 4096), {"a": placed})
