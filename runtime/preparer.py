"""A preparer: what reads images for one worker's thread, itself or by its helper."""

from __future__ import annotations

from collections.abc import Sequence

from exportweb.runtime.helper import MOST, Helper
from exportweb.runtime.jobs import Job
from exportweb.runtime.reader import Prepared


class Preparer:
    """Reads images; where its thread is one of many, its `helper` does, if it has one."""

    def __init__(self, helper: Helper | None = None) -> None:
        self._helper = helper

    def most(self) -> int:
        """Return how many images it takes at a time."""
        return MOST if self._helper is not None and self._helper.look() else 1

    def prepare(self, jobs: Sequence[Job], *, max_pixels: int, crowded: bool) -> list[Prepared | Exception]:
        """Return what comes of each image of one version: whatever it does, it costs only its own request."""
        found = self._helped(jobs, max_pixels) if crowded and self._helper is not None else [None] * len(jobs)
        return [_prepared(job, max_pixels) if one is None else one for job, one in zip(jobs, found, strict=True)]

    def _helped(self, jobs: Sequence[Job], max_pixels: int) -> Sequence[Prepared | Exception | None]:
        """Ask the helper; None for what it doesn't do."""
        assert self._helper is not None
        description = jobs[0].live.predictor.preparation if jobs and jobs[0].live is not None else None
        if description is not None:
            if self._helper.ready:
                return self._helper.prepare(description, [job.data for job in jobs], max_pixels=max_pixels)
            self._helper.miss()
        return [None] * len(jobs)

    def close(self) -> None:
        """End the helper."""
        if self._helper is not None:
            self._helper.close()


def _prepared(job: Job, max_pixels: int) -> Prepared | Exception:
    assert job.live is not None
    try:
        return job.live.predictor.prepare(job.data, max_pixels=max_pixels)
    except Exception as error:
        return error
