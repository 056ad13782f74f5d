"""What a machine and its control groups grant."""

import math
import os

import pytest

from gluon_vae import machine

GIB = 1 << 30
MACHINE = {"proc/meminfo": "MemTotal:       8388608 kB\nMemFree: 1 kB\nSwapTotal:      1048576 kB\n"}
SECOND = MACHINE | {"proc/self/cgroup": "0::/a/b\n"}
FIRST = MACHINE | {"proc/self/cgroup": "9:name=systemd:/x\n4:cpu,memory:/a\n"}
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}".rstrip() + "\n")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, math.inf),
        (MACHINE, 9 * GIB),
        (SECOND, 9 * GIB),
        (SECOND | {f"{V2}/a/b/memory.max": "max"}, 9 * GIB),
        (SECOND | {f"{V2}/a/b/memory.max": 2 * GIB}, 3 * GIB),
        (SECOND | {f"{V2}/a/memory.max": 2 * GIB, f"{V2}/a/memory.swap.max": 0}, 2 * GIB),
        (SECOND | {f"{V2}/memory.max": GIB, f"{V2}/memory.swap.max": "max"}, 2 * GIB),
        (FIRST | {f"{V1}/a/memory.limit_in_bytes": 9223372036854771712}, 9 * GIB),
        (FIRST | {f"{V1}/memory.limit_in_bytes": 4 * GIB}, 5 * GIB),
        (FIRST | {f"{V1}/a/memory.memsw.limit_in_bytes": 3 * GIB}, 3 * GIB),
        (FIRST | {f"{V2}/a/memory.max": 1}, 9 * GIB),  # not where this version has it
    ],
)
def test_memory_is_the_least_of_what_the_machine_and_its_control_groups_grant(files, expected, tmp_path, monkeypatch):
    unlimited = machine.resource.RLIM_INFINITY
    monkeypatch.setattr(machine.resource, "getrlimit", lambda limit: (unlimited, unlimited))
    write(tmp_path, files)
    assert machine.memory(tmp_path) == expected
    monkeypatch.setattr(machine.resource, "getrlimit", lambda limit: (12345, unlimited))
    assert machine.memory(tmp_path) == 12345


FOUR = {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": n for n in range(4)}
PAIRS = {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 2},{n % 2 + 2}" for n in range(4)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4),  # nothing is told: every processor is taken for a core
        (FOUR, 4),
        (PAIRS, 2),
        (FOUR | SECOND | {f"{V2}/a/b/cpu.max": "max 100000"}, 4),
        (FOUR | SECOND | {f"{V2}/a/cpu.max": "250000 100000"}, 2),
        (FOUR | SECOND | {f"{V2}/a/b/cpu.max": "50000 100000"}, 1),
        (PAIRS | SECOND | {f"{V2}/cpu.max": "300000 100000"}, 2),
        (FOUR | FIRST | {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": -1, "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": 5}, 4),
        (FOUR | FIRST | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": 15, "sys/fs/cgroup/cpu/cpu.cfs_period_us": 5}, 3),
        (FOUR | FIRST | {f"{V2}/a/cpu.max": "1 1"}, 4),  # not where this version has it
    ],
)
def test_cores_are_the_fewest_of_what_the_machine_and_its_control_groups_grant(
    files, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    write(tmp_path, files)
    assert machine.cores(tmp_path) == expected


def test_a_process_is_granted_the_cores_that_it_may_run_on(tmp_path, monkeypatch):
    write(tmp_path, PAIRS)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3}, raising=False)
    assert machine.cores(tmp_path) == 1
    assert machine.one_of_each_core(tmp_path) == [1]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert machine.cores(tmp_path) == 2
    assert machine.one_of_each_core(tmp_path) == [0, 1]


def test_what_is_found_here_is_plausible():
    assert machine.memory() > 1e8
    assert 1 <= machine.cores() <= os.cpu_count()
