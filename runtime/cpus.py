"""How many CPUs this process may really use: its affinity and its container's quota, not the host's core count."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process can keep busy, at least 1.

    The smallest of its affinity mask and the CPU quota of its cgroups (v2 ``cpu.max``, v1 ``cpu.cfs_quota_us``; a quota of
    1.5 CPUs counts as 2). `root` is where ``proc`` and ``sys`` are found.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        cpus = os.cpu_count() or 1
    return max(1, min([cpus, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield each CPU quota, in CPUs, that holds for this process: its own cgroup's and those of the groups around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # A container often sees the host's name of its group but only its own group, mounted at the top: try all of them.
        group = mount / name.strip("/")
        for folder in [group, *(p for p in group.parents if p.is_relative_to(mount))]:
            quota = _quota(folder)
            if quota is not None:
                yield quota


def _quota(folder: Path) -> float | None:
    """Read the quota of one cgroup, in CPUs; None where it has none."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text("ascii")
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max", -1, or a file that isn't there: no quota
        return None
