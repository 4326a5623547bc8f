"""Images: what waits in a front, prepared one after the other, and what lies in the memory that the server sees."""

from __future__ import annotations

import asyncio
import mmap
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from exportweb.errors import RequestError
from exportweb.runtime import Prepared, described
from exportweb.web.fronts.question import Question
from exportweb.web.fronts.slots import Slots

_LARGE = 1 << 20  # bytes of an image file from which on others don't wait for it


class Images:
    """The images of questions, by model; of each, at most so many pixels are decoded.

    A model's turn comes when it has had the fewest seconds. `done` is called with each question whose image is in the `memory`; `refused`
    with one whose image can't be answered, and why; `left` with one that the server has to deal with. `alive` says whether anybody still
    waits for it; `waiting` is told how many do.
    """

    def __init__(
        self,
        memory: mmap.mmap,
        max_pixels: Sequence[int],
        *,
        done: Callable[[Question, Prepared], None],
        refused: Callable[[Question, RequestError], None],
        left: Callable[[Question], None],
        alive: Callable[[Question], bool],
        waiting: Callable[[int], None],
    ) -> None:
        self.descriptions: dict[int, tuple[int, bytes | None]] = {}
        self._slots = Slots(memory)
        self._placed = 0
        self._max_pixels = max_pixels
        self._done, self._refused, self._left, self._alive, self._tell = done, refused, left, alive, waiting
        self._waiting: list[deque[Question]] = [deque() for _ in max_pixels]
        self._used = [0.0] * len(max_pixels)
        self._clock = 0.0
        self._working = False
        self._pool = ThreadPoolExecutor(1)

    def add(self, question: Question, *, first: bool = False) -> None:
        """Have an image prepared; `first` goes one that was before, as it is needed otherwise."""
        waiting = self._waiting[question.model]
        if not waiting:  # time in which nothing was asked of a model is not saved up
            self._used[question.model] = max(self._used[question.model], self._clock)
        if first:
            waiting.appendleft(question)
        else:
            waiting.append(question)
        self._go_on()

    def free(self, question: Question) -> None:
        """Let the memory of a question's image be used again."""
        if question.placed:
            self._slots.free(question.placed)
            question.placed = {}
            self._placed -= 1
        self._go_on()

    def _go_on(self) -> None:
        count = sum(map(len, self._waiting))
        self._tell(count)
        if count and not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """Prepare one image; what came meanwhile is dealt with between it and the next."""
        self._working = False
        ready = [model for model, waiting in enumerate(self._waiting) if waiting]
        if not ready:
            return
        model = min(ready, key=self._used.__getitem__)
        self._clock = self._used[model]
        question = self._waiting[model].popleft()
        if not self._alive(question):
            self._go_on()
        elif question.prepared is not None:
            self._place(question, question.prepared)
        else:
            self._prepare(question)

    def _prepare(self, question: Question) -> None:
        question.description = question.description or self.descriptions[question.model]
        description = question.description[1]
        if description is None:
            self._left(question)
            return
        question.waited = time.monotonic() - question.since
        prepare, most = described(description), self._max_pixels[question.model]
        if len(question.data) > _LARGE:
            future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: prepare(question.data, max_pixels=most))
            future.add_done_callback(lambda done: self._prepared(question, done.exception() or done.result()))
            self._go_on()
            return
        try:
            found: Prepared | BaseException = prepare(question.data, max_pixels=most)
        except Exception as error:
            found = error
        self._prepared(question, found)

    def _prepared(self, question: Question, found: Prepared | BaseException) -> None:
        if not self._alive(question):
            self._go_on()
        elif isinstance(found, RequestError):
            self._refused(question, found)
        elif isinstance(found, BaseException):  # the server tries it again, and says what is wrong
            self._left(question)
        else:
            self._used[question.model] += sum(found.stages.values())
            self._place(question, found)

    def _place(self, question: Question, prepared: Prepared) -> None:
        placed = self._slots.place(prepared.arrays)
        if placed is not None:
            question.placed, question.prepared = placed, None
            self._placed += 1
            self._done(question, prepared)
            self._go_on()
        elif self._placed:  # it waits for one of those, all the others behind it
            question.prepared = prepared
            self._waiting[question.model].appendleft(question)
            self._tell(sum(map(len, self._waiting)))
        else:
            self._left(question)
