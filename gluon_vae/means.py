"""The learning curves' numbers: means over an epoch that the device computes and nobody waits for."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from mxnet import nd

from . import distributed

# Steps that the device has before it when the host wakes up, and that the host then makes ready in one go: one after
# each takes more than twice as long, with another thread's data in the caches. Without a limit the batches of a whole
# epoch may be made, and held in memory, before the first one is used.
LOOKAHEAD = 8


class Means:
    """The means of the loss and its terms over an epoch, read from the device some steps behind.

    Parameters
    ----------
    where : str
        The epoch, for the message of an error; the step is added.
    """

    def __init__(self, where: str) -> None:
        self._epoch, self._step = where, 0
        self._totals: dict[str, float] = {}
        self._running: deque[tuple[Sequence[str], nd.NDArray]] = deque()

    @property
    def where(self) -> str:
        """The last step that was read."""
        return f"{self._epoch}, step {self._step}"

    def add(self, names: Sequence[str], values: nd.NDArray) -> None:
        """Take the terms of a step, (n_terms, batch); if many are under way, wait for a part of them and read it."""
        self._running.append((names, values))
        if len(self._running) == 2 * LOOKAHEAD:
            self._running[LOOKAHEAD - 1][1].wait_to_read()
            for _ in range(LOOKAHEAD):
                self._read_oldest()

    def over(self, n: int, workers: distributed.Alone) -> dict[str, float]:
        """Wait for all steps; return the means over ``n`` images, as ``train_loss`` and so on."""
        while self._running:
            self._read_oldest()
        return {f"train_{name}": total / n for name, total in workers.add_totals(self._totals).items()}

    def _read_oldest(self) -> None:
        self._step += 1
        names, values = self._running.popleft()
        for name, total in zip(names, values.asnumpy().sum(axis=1, dtype=np.float64).tolist()):
            self._totals[name] = self._totals.get(name, 0.0) + total
        if not math.isfinite(self._totals["loss"]):
            raise FloatingPointError(f"the loss stopped being finite in {self.where}")
