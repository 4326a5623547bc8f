from __future__ import annotations

import gc
import threading
import weakref

import pytest

from exportweb.calls import Calls


def start(calls: Calls, count: int = 1) -> list[threading.Thread]:
    threads = [threading.Thread(target=calls.work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_what_is_called_comes_back_in_order() -> None:
    calls = Calls()
    futures = [calls.call(divmod, i, 3) for i in range(5)]
    start(calls)
    assert [future.result(30) for future in futures] == [divmod(i, 3) for i in range(5)]


def test_an_exception_costs_only_its_own_call() -> None:
    calls = Calls()
    start(calls)
    with pytest.raises(ZeroDivisionError):
        calls.call(divmod, 1, 0).result(30)
    assert calls.call(divmod, 7, 2).result(30) == (3, 1)


def test_the_end_comes_after_the_calls_and_to_every_thread() -> None:
    calls = Calls()
    future = calls.call(threading.get_ident)
    calls.end()
    threads = start(calls, 3)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert future.result(0) in {thread.ident for thread in threads}


def test_a_thread_that_waits_holds_on_to_nothing() -> None:
    class Weights:
        pass

    calls, weights = Calls(), Weights()
    seen = weakref.ref(weights)
    start(calls)
    calls.call(id, weights).result(30)
    del weights
    calls.call(int).result(30)  # the thread is past the first call
    gc.collect()
    assert seen() is None
