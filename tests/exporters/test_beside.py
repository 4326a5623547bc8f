from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from exportweb.exporters.beside import Beside


def test_it_does_two_things_beside_the_caller_and_the_next_in_order():
    beside, go, done = Beside(), threading.Event(), []
    waiting = [beside.call(go.wait, 30)]
    beside.call(done.append, 1).result(30)
    waiting.append(beside.call(go.wait, 30))
    last = beside.call(done.append, 2)
    assert done == [1]
    go.set()
    assert all(future.result(30) for future in waiting)
    last.result(30)
    assert done == [1, 2]


def test_an_exception_comes_to_whoever_asks_and_the_thread_goes_on():
    beside = Beside()
    with pytest.raises(ZeroDivisionError):
        beside.call(divmod, 1, 0).result(30)
    assert beside.call(divmod, 7, 2).result(30) == (3, 1)


def test_its_threads_end_with_it():
    before = set(threading.enumerate())
    beside = Beside()
    threads = set(threading.enumerate()) - before
    assert beside.call(threading.current_thread).result(30) in threads
    assert set(beside.threads) == {thread.native_id for thread in threads}
    del beside
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_it_still_works_while_the_interpreter_exits():
    code = (
        "import atexit; from exportweb.exporters.beside import Beside; beside = Beside()\n"
        "atexit.register(lambda: print(beside.call(sum, [1, 2]).result(30)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "3\n"


def test_it_leaves_the_processor_to_the_training():
    threads = torch.get_num_threads()
    beside = Beside()
    assert beside.call(torch.get_num_threads).result(30) == 1
    assert torch.get_num_threads() == threads
    started = []
    thread = threading.Thread(target=lambda: started.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert started == [threads]


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux only")
def test_it_has_a_low_priority():
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert Beside().call(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result(30) > mine
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine
