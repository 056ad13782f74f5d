"""How MXNet shares its work among threads: one default of its own is changed, and two ways to wrong numbers refused.

libgomp lets threads spin between two parallel regions only while one thread of the process starts such regions.
As soon as a second one does, every region ends in calls of the kernel, for good, and two threads become slower
than one. MXNet computes on a thread of its own, but copies arrays of 200,000 numbers and more on the caller's, in
parallel: ``nd.array`` of MNIST is enough. ``MXNET_CPU_PARALLEL_SIZE`` is the size from which it does so.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from itertools import pairwise

from .machine import cores

THREADS = "OMP_NUM_THREADS"
PARALLEL_SIZE = "MXNET_CPU_PARALLEL_SIZE"
NEVER = "2000000000"


def choose(arguments: Sequence[str]) -> None:
    """Set how many threads the command line computes with, unless the environment or the launcher does.

    In batches of a hundred rows dense layers gain a fifth from a second thread that spins, nothing from one that
    sleeps, and lose tenfold where the machine has other work: at the end of each of some forty regions in a step one
    thread spins and waits for the other, which waits for a core. Convolutions gain from every core, and threads that
    sleep lose little there; so does what a trained model is asked for, a thousand rows at a time.

    Parameters
    ----------
    arguments : sequence of str
        The command line's.
    """
    names = {argument.partition("=")[0] for argument in arguments}
    if THREADS in os.environ or "--workers" in names:
        return
    is_conv = "--model=conv" in arguments or ("--model", "conv") in pairwise(arguments)
    os.environ[THREADS] = str(cores() if is_conv or "--from" in names else 1)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def prepare() -> None:
    """Have MXNet copy on one thread, unless the environment says from which size not; before MXNet is loaded.

    Raises
    ------
    ImportError
        If OMP_NUM_THREADS is not a number, by which MXNet would end the process.
    """
    os.environ.setdefault(PARALLEL_SIZE, NEVER)
    threads = os.environ.get(THREADS, "1").strip()
    if not re.fullmatch(r"[1-9]\d{0,3}", threads):
        raise ImportError(f"MXNet needs OMP_NUM_THREADS to be one positive number or unset, got {threads!r}")


def team(library: object) -> tuple[int, int, int] | None:
    """Return where OpenMP's functions are by which code of another compiler runs on the threads that MXNet has.

    Parameters
    ----------
    library : ctypes.CDLL
        MXNet's library, through which that of OpenMP is found.

    Returns
    -------
    (int, int, int), optional
        The addresses of ``GOMP_parallel``, which has every thread of the calling thread's team call a function, and
        of the two that tell such a thread its number and the size of the team. None from another OpenMP than libgomp.
    """
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    try:
        parallel, thread, n_threads = (ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names)
    except AttributeError:
        return None
    return parallel or 0, thread or 0, n_threads or 0


def check(library: object) -> None:
    """Refuse settings under which a parallel region gets fewer threads than it asks for.

    oneDNN divides a product among the threads that it asked for, and what it gave to one that never came is left
    out: of 100 x 784 by 784 x 400 numbers, half are wrong, without a word.

    Parameters
    ----------
    library : ctypes.CDLL
        MXNet's library, through which that of OpenMP is found.

    Raises
    ------
    ImportError
        If there is such a setting; names the variable that made it.
    """
    try:
        threads, dynamic, limit, levels = (
            getattr(library, f"omp_get_{name}")()
            for name in ("max_threads", "dynamic", "thread_limit", "max_active_levels")
        )
    except AttributeError:  # another OpenMP, with other ways
        return
    for wrong, name, value in (
        (dynamic, "OMP_DYNAMIC", "true"),
        (limit < threads, "OMP_THREAD_LIMIT", limit),
        (levels < 1, "OMP_MAX_ACTIVE_LEVELS", levels),
    ):
        if threads > 1 and wrong:
            raise ImportError(
                f"{name}={value} makes MXNet leave out a part of its products where OMP_NUM_THREADS is above 1, "
                f"{threads} here: unset {name}, or set OMP_NUM_THREADS=1"
            )
