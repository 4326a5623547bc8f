from __future__ import annotations

import os
from pathlib import Path

import pytest

from exportweb.runtime.cpus import usable_cpus

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_a_quota_it_is_the_affinity(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == HERE
    unlimited = {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}
    assert usable_cpus(write(tmp_path, unlimited)) == HERE


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},  # v2, in a container
        {"proc/self/cgroup": "0::/pod/app\n", "sys/fs/cgroup/pod/cpu.max": "100000 100000\n"},  # v2, the group around it
        {  # v1, where the container sees the host's name of its group
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/0123\n3:memory:/docker/0123\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "90000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert usable_cpus(write(tmp_path, files)) == 1


def test_a_quota_above_the_affinity_changes_nothing(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{(HERE + 1) * 100000} 100000\n"}
    assert usable_cpus(write(tmp_path, files)) == HERE
