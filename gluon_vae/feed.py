"""Batches that a caller's own object gives, for data that no array holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mxnet import nd
from mxnet.gluon import Block

from . import checks
from .arrays import to_device
from .contract import checked
from .generator import NumpySeeded

END = object()


def is_iterable(x: Any) -> bool:
    """Tell whether something gives batches, and is no array nor what NumPy makes one of."""
    is_array = isinstance(x, nd.NDArray | list | tuple | str | bytes | dict) or hasattr(x, "__array__")
    return not is_array and hasattr(x, "__iter__")


class Feed:
    """An iterable of batches, looked at once and then gone through once an epoch.

    Parameters
    ----------
    net : Block
        Whose training the batches are for.
    source : iterable
        Gives x, or (x, y), again and again. Of a model that takes no labels, y is left out.
    seed : int
        Of the run.

    Attributes
    ----------
    first : tuple of ndarray
        The first batch of the first epoch.
    n_batches : int or None
        How many there are in an epoch, where ``source`` has a length.

    Raises
    ------
    ValueError
        If it can be gone through once only, gives nothing, or a batch is not as ``fit`` describes it. So does
        ``epoch``.
    """

    def __init__(self, net: Block, source: Any, seed: int) -> None:
        if iter(source) is source:
            raise ValueError(
                "x_train must give its batches anew in every epoch, got an iterator, which gives them once: "
                f"{checks.shown(source)}"
            )
        self._net, self._source = net, source
        self._n_columns: int | None = None
        self._n_seen: int | None = None
        self.n_batches = self._length()
        first = next(self._batches(seed, 1), None)
        if first is None:
            raise ValueError(f"x_train must give batches, got none from {checks.shown(source)}")
        self.first = first

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple[list[nd.NDArray], float]]:
        """Yield an epoch's batches, on the model's device, each with the share of the epoch that lies behind.

        Without a length that is 0 for every batch.
        """
        n_batches, n = self._length(), 0
        wanted, why = (self._n_seen, "as before") if n_batches is None else (n_batches, "its len()")
        for batch in self._batches(seed, epoch):
            if n == wanted:
                raise ValueError(f"x_train must give {wanted} batches an epoch, {why}, got more in epoch {epoch}")
            yield list(to_device(self._net, *batch)), n / n_batches if n_batches else 0.0
            n += 1
        if n == 0 or (wanted is not None and n < wanted):
            raise ValueError(f"x_train must give {wanted or ''} batches an epoch, {why}, got {n} in epoch {epoch}")
        self._n_seen = n

    def _batches(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield an epoch's batches, checked. While they are made NumPy's global generator is one of the epoch."""
        if hasattr(self._source, "set_epoch"):
            self._source.set_epoch(epoch)
        seeded, n, batch = NumpySeeded(seed, epoch), 0, None
        with seeded:
            batches = iter(self._source)
        while True:
            with seeded:
                batch = next(batches, END)
            if batch is END:
                return
            n += 1
            yield self._checked(batch, f"_train, batch {n} of epoch {epoch},")

    def _checked(self, batch: Any, part: str) -> tuple[np.ndarray, ...]:
        x, *y = batch if isinstance(batch, list | tuple) and 0 < len(batch) < 3 else (batch,)
        if not isinstance(x, np.ndarray | nd.NDArray):
            raise ValueError(f"x{part} must be an array, or (x, y) of arrays, got {checks.shown(batch)}")
        takes_labels = getattr(self._net, "n_classes", None) is not None
        arrays = checked(self._net, x, *(y if takes_labels else ()), part=part, missing=True)
        self._n_columns = self._n_columns or arrays[0].shape[1]
        if arrays[0].shape[1] != self._n_columns:
            raise ValueError(f"x{part} must have {self._n_columns} columns like the first, got {arrays[0].shape[1]}")
        return arrays

    def _length(self) -> int | None:
        return len(self._source) if hasattr(self._source, "__len__") else None
