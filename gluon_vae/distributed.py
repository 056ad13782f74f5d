"""Data-parallel training: what several processes share of a run, and what one does instead.

Every worker is given the same batches, takes its rows of each, and makes the same update from the sum of all
gradients, which MXNet's parameter server adds up: there is one model, and the result is that of one process.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

import mxnet as mx
from mxnet import nd
from mxnet.gluon import Block

from . import roles
from .adam import Adam
from .contract import TERMS
from .rows import Rows, taken

LAUNCHED = "GLUON_VAE_LAUNCHED"  # set in the processes of a launcher, whose standard input is its line to them
# The keys under which workers sum the terms of the loss, and whether one of them has decided to stop.
TOTALS, STOPS = "totals", "stops"


class Alone:
    """A run in one process: there is nobody to share it with."""

    leads = True  # evaluates, saves, and shows the bar

    def start(self, weights: dict[str, nd.NDArray]) -> None:
        """Make all workers begin with the same parameters."""

    def share(self, net: Block, batch: Sequence[nd.NDArray | Rows]) -> Sequence[nd.NDArray | Rows]:
        """Return what of a batch is to be computed here; nothing if there are fewer images than workers."""
        return batch

    def add_gradients(self, adam: Adam, took_part: bool) -> None:
        """Replace the gradients of the next step by their sums over all workers."""

    def add_totals(self, totals: dict[str, float]) -> dict[str, float]:
        """Return the sums over all workers of at most as many numbers as a loss has terms."""
        return totals

    def agree(self, stops: bool) -> bool:
        """Tell whether any worker stops."""
        return stops

    def take_over(self, weights: dict[str, nd.NDArray]) -> None:
        """Give all workers the parameters of the one that leads."""


class Worker(Alone):
    """One of several processes that share every batch of a run.

    Parameters
    ----------
    kvstore : mxnet.kv.KVStore
        A 'dist_sync' store.
    """

    def __init__(self, kvstore: mx.kv.KVStore) -> None:
        self._kvstore = kvstore
        self.leads = kvstore.rank == 0

    def start(self, weights: dict[str, nd.NDArray]) -> None:
        """Take the first worker's parameters, and open a place in the store for what is summed."""
        for name, values in weights.items():
            self._kvstore.init(name, values)
            self._kvstore.pull(name, values)
        self._kvstore.init(TOTALS, nd.zeros(len(TERMS)))
        self._kvstore.init(STOPS, nd.zeros(1))

    def share(self, net: Block, batch: Sequence[nd.NDArray | Rows]) -> list[nd.NDArray]:
        """Cut this worker's rows out of a batch and its noise: shares differ by at most one row.

        Every worker draws the noise of the whole batch from the same seed: the numbers are then those
        that a single process would have used.
        """
        whole = list(map(taken, batch))
        n, rank, n_workers = len(whole[0]), self._kvstore.rank, self._kvstore.num_workers
        rows = slice(rank * n // n_workers, (rank + 1) * n // n_workers)
        noise = net.draw_noise(whole[0]) if hasattr(net, "draw_noise") else None
        if rows.start == rows.stop:
            return []
        mine = [array[rows] for array in whole]
        if noise is not None:
            of_rows = noise.reshape((-1, n, noise.shape[1]))[:, rows]
            mine.append(of_rows.reshape((-1, noise.shape[1])))
        return mine

    def add_gradients(self, adam: Adam, took_part: bool) -> None:
        """Replace the gradients of the next step by their sums over all workers; one without rows adds nothing."""
        gradients = adam.gradients()
        if not took_part:
            for gradient in gradients.values():
                gradient[:] = 0
        self._sum(gradients)

    def add_totals(self, totals: dict[str, float]) -> dict[str, float]:
        """Return the sums over all workers of at most as many numbers as a loss has terms."""
        sums = nd.array(list(totals.values()) + [0] * (len(TERMS) - len(totals)))
        self._sum({TOTALS: sums})
        return dict(zip(totals, sums.asnumpy().astype(float)))

    def agree(self, stops: bool) -> bool:
        """Tell whether any worker stops."""
        sums = nd.array([stops])
        self._sum({STOPS: sums})
        return bool(sums.asscalar())

    def take_over(self, weights: dict[str, nd.NDArray]) -> None:
        """Give all workers the parameters of the one that leads."""
        if not self.leads:
            for values in weights.values():
                values[:] = 0
        self._sum(weights)

    def _sum(self, arrays: dict[str, nd.NDArray]) -> None:
        # All pushes before the first pull: the engine then sends one array while another is being summed.
        for name, array in arrays.items():
            self._kvstore.push(name, array)
        for name, array in arrays.items():
            self._kvstore.pull(name, array)


def joined(kvstore: mx.kv.KVStore | None, n_images: int) -> Alone:
    """Return the worker that a store makes of this process, or the form without others.

    ``n_images`` are those of the first batch, of which each worker needs one.
    """
    if kvstore is None:
        return Alone()
    if n_images < kvstore.num_workers:
        raise ValueError(
            f"batch_size and x_train must have at least one image for each of {kvstore.num_workers} workers, "
            f"got {n_images} in a batch"
        )
    return Worker(kvstore)


def is_worker() -> bool:
    """Tell whether this process was started as a worker, by ``launcher.launch`` or by hand."""
    return os.environ.get(roles.ROLE) == "worker"


def connect() -> mx.kv.KVStore:
    """Join the other workers; return the store through which gradients are summed.

    Raises
    ------
    ValueError
        If the environment does not say where the others are; names what is missing.
    """
    roles.check()
    if LAUNCHED in os.environ:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    return mx.kv.create("dist_sync")


def leave(code: int, message: str) -> NoReturn:
    """End a worker at once, since MXNet would have it wait for the others; a launcher passes the message on."""
    if LAUNCHED in os.environ:
        os.write(0, message.encode("utf-8", "surrogateescape"))
    else:
        sys.stderr.write(message)
        sys.stderr.flush()
    os._exit(code)
