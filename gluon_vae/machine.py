"""What a process may use of its machine, memory and cores, also where a container grants less than there is.

Only the standard library is used here: the command line asks before anything is loaded.
"""

from __future__ import annotations

import math
import os
import resource
from decimal import Decimal
from pathlib import Path

ROOT = Path("/")


def memory(root: Path = ROOT) -> float:
    """Return how many bytes this process can have at most: infinity where the system does not tell.

    That is the least of memory with swap, of what its control groups grant, and of its own limits (``ulimit``).
    """
    limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    bounds: list[float] = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    sizes = dict(line.partition(":")[::2] for line in _text(root / "proc/meminfo").splitlines())
    if "MemTotal" in sizes:
        total, swap = (1024 * int(sizes.get(name, "0").split()[0]) for name in ("MemTotal", "SwapTotal"))
        bounds += [total + swap, *(_granted_memory(folder, swap) for folder in _control_groups(root, "memory"))]
    return min(bounds, default=math.inf)


def gigabytes(n_bytes: float) -> str:
    """Return a number of bytes for a message."""
    return f"{Decimal(n_bytes) / 10**9:,.1f} GB"


def cores(root: Path = ROOT) -> int:
    """Return how many physical cores this process can keep busy, as far as the system tells.

    Those that it may run on, two logical processors of one core counted once, or as many as its control groups grant
    the time of.
    """
    granted = min(map(_granted_cores, _control_groups(root, "cpu")), default=math.inf)
    return max(1, math.floor(min(len(one_of_each_core(root)), granted)))


def one_of_each_core(root: Path = ROOT) -> list[int]:
    """Return the first logical processor of every physical core that this process may run on."""
    everywhere = range(os.cpu_count() or 1)
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else everywhere  # the latter on macOS
    topology = root / "sys/devices/system/cpu"
    first: dict[str, int] = {}
    for n in sorted(processors):
        first.setdefault(_text(topology / f"cpu{n}/topology/thread_siblings_list").strip() or str(n), n)
    return list(first.values())


def _granted_memory(folder: Path, swap: float) -> float:
    """Return what a control group, of the first or second version, grants in memory and swap."""

    def limit(name: str) -> float:
        text = _text(folder / name).strip()
        return int(text) if text.isdigit() else math.inf

    in_memory = min(limit("memory.max"), limit("memory.limit_in_bytes"))
    return min(in_memory + min(swap, limit("memory.swap.max")), limit("memory.memsw.limit_in_bytes"))


def _granted_cores(folder: Path) -> float:
    """Return how many cores' time a control group, of the first or second version, grants."""
    numbers = _text(folder / "cpu.max").split()
    numbers = numbers or [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    # Without a limit the second version says max, the first -1.
    return int(numbers[0]) / int(numbers[1]) if all(map(str.isdigit, numbers)) else math.inf


def _control_groups(root: Path, controller: str) -> list[Path]:
    """Return the folders of the control groups that this process is in, each with all those around it."""
    folders = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            top = root / "sys/fs/cgroup" / (controller if controllers else "")
            inner = top / path.lstrip("/")
            folders += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(top)]
    return folders


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
