"""Batches of arrays that are there as a whole, taken where they are needed."""

from __future__ import annotations

import numpy as np

import mxnet as mx
from mxnet import nd

from . import queued


class Rows:
    """Rows of an array that are yet to be taken: a batch that is written to its place when that is known.

    Parameters
    ----------
    array : (n, ...)
    rows : (batch,) int32
        Which ones, on the array's device.
    shape : tuple of int, optional
        Of what is taken, if it is known: MXNet takes its time to say.
    """

    def __init__(self, array: nd.NDArray, rows: nd.NDArray, shape: tuple[int, ...] | None = None) -> None:
        self._array, self._rows = array, rows
        self.shape = shape or (len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Rows:
        n_rows = len(range(*part.indices(len(self))))
        return Rows(self._array, self._rows[part], (n_rows, *self.shape[1:]))

    @property
    def dtype(self) -> type[np.generic]:
        return self._array.dtype

    @property
    def context(self) -> mx.Context:
        return self._array.context

    def taken(self) -> nd.NDArray:
        """Return them in an array of their own."""
        return self._array.take(self._rows)

    def copyto(self, place: nd.NDArray) -> None:
        """Write them to an array of their shape."""
        queued.operation("take", self._array, self._rows, out=place)


def taken(array: nd.NDArray | Rows) -> nd.NDArray:
    """Return an array, or rows of one, as an array."""
    return array.taken() if isinstance(array, Rows) else array
