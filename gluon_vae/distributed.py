"""Data-parallel training over processes: MXNet's parameter server, started here and ended with the run.

A scheduler brings the processes together, a server sums the workers' gradients, and the workers
train; all of them find each other by the environment variables that MXNet reads. Every worker
makes the same update, so there is one model, and the result is that of a single process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import mxnet as mx
from mxnet import nd
from mxnet.gluon import Block

from .contract import TERMS

ROLE = "DMLC_ROLE"
LAUNCHED = "GLUON_VAE_LAUNCHED"
# MXNet serves from inside its own import when the role says so, so this is all that a server runs.
# Its input ends when the launcher does, however that ends.
SERVE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
import gluon_vae
"""
TOTALS = "totals"  # the key under which workers sum the terms of the loss
GRACE = 5  # seconds for scheduler and server to end by themselves after the last worker


def is_worker() -> bool:
    """Tell whether this process was started as a worker, here or by hand on one of several machines."""
    return os.environ.get(ROLE) == "worker"


def connect() -> mx.kv.KVStore:
    """Join the other workers; return the store through which gradients are summed."""
    if LAUNCHED in os.environ:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    return mx.kv.create("dist_sync")


def open_store(kvstore: mx.kv.KVStore, weights: dict[str, nd.NDArray]) -> None:
    """Give every worker the first one's parameters, and the store a place for what is summed."""
    for name, values in weights.items():
        kvstore.init(name, values)
        kvstore.pull(name, values)
    kvstore.init(TOTALS, nd.zeros(len(TERMS)))


def share(kvstore: mx.kv.KVStore, n: int) -> slice:
    """Return this worker's rows of a batch of ``n``: shares differ by at most one, and may be empty."""
    rank, n_workers = kvstore.rank, kvstore.num_workers
    return slice(rank * n // n_workers, (rank + 1) * n // n_workers)


def share_of_batch(kvstore: mx.kv.KVStore, net: Block, x: nd.NDArray, *labels: nd.NDArray) -> list[nd.NDArray]:
    """Cut this worker's rows out of a batch, its labels and its noise; return nothing if it has none.

    Every worker draws the noise of the whole batch from the same seed: the numbers are then those
    that a single process would have used.
    """
    rows = share(kvstore, len(x))
    if rows.start == rows.stop:
        return []
    inputs = [array[rows] for array in (x, *labels)]
    if hasattr(net, "draw_noise"):
        noise = net.draw_noise(x)
        of_rows = noise.reshape((-1, len(x), noise.shape[1]))[:, rows]
        inputs.append(of_rows.reshape((-1, noise.shape[1])))
    return inputs


def sum_over_workers(kvstore: mx.kv.KVStore, arrays: dict[str, nd.NDArray]) -> None:
    """Replace arrays by their sums over all workers; every worker has to call this the same number of times."""
    # All pushes before the first pull: the engine then sends one array while another is being summed.
    for name, array in arrays.items():
        kvstore.push(name, array)
    for name, array in arrays.items():
        kvstore.pull(name, array)


def sum_totals(kvstore: mx.kv.KVStore, totals: dict[str, float]) -> dict[str, float]:
    """Return the sums over all workers of at most as many numbers as a loss has terms."""
    sums = nd.array(list(totals.values()) + [0] * (len(TERMS) - len(totals)))
    sum_over_workers(kvstore, {TOTALS: sums})
    return dict(zip(totals, sums.asnumpy().astype(float)))


def launch(command: Sequence[str], n_workers: int) -> None:
    """Run a command in ``n_workers`` processes of this machine, with a scheduler and a server.

    Whatever ends it, no process is left: all are killed when one of them fails or when this one is
    interrupted, and end by themselves if this one is killed.

    Parameters
    ----------
    command : sequence of str
        What a worker runs; it finds the others with ``connect``.
    n_workers : int
        How many. The machine's cores are divided among them unless OMP_NUM_THREADS is set.

    Raises
    ------
    ChildProcessError
        If a process ends with an error; names it and its exit code.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = str(max(1, (os.cpu_count() or 1) // n_workers))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    environment |= {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(n_workers),
        "DMLC_NUM_SERVER": "1",
        LAUNCHED: "1",
    }
    roles = [("scheduler", "scheduler"), ("server", "server")]
    roles += [("worker", f"worker {i + 1} of {n_workers}") for i in range(n_workers)]
    processes: dict[str, subprocess.Popen] = {}
    # A polite end is an end too: without this, SIGTERM would skip the cleaning up.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for role, name in roles:
            processes[name] = subprocess.Popen(
                command if role == "worker" else [sys.executable, "-c", SERVE],
                env=environment | {ROLE: role},
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends the others
            )
        workers = [process for name, process in processes.items() if name.startswith("worker")]
        while any(worker.poll() is None for worker in workers):
            _raise_for_failed(processes)
            time.sleep(0.05)
        _raise_for_failed(processes)
        deadline = time.monotonic() + GRACE
        while any(p.poll() is None for p in processes.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
            process.stdin.close()
        signal.signal(signal.SIGTERM, before)


def _raise_for_failed(processes: dict[str, subprocess.Popen]) -> None:
    for name, process in processes.items():
        if process.poll():
            how = (
                f"was killed by signal {-process.returncode}"
                if process.returncode < 0
                else (f"ended with exit code {process.returncode}")
            )
            raise ChildProcessError(f"the {name} {how}; all other processes of the run were ended")
