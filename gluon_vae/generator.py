"""Global random generators: used from a known seed, and left such that a script's own draws go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import mxnet as mx
from mxnet import nd

from . import checks


@contextmanager
def moved_on() -> Iterator[None]:
    """Leave the generator, which is seeded inside, in a state that follows from the one before.

    MXNet can neither save nor restore its state. So the generator is asked for one number before, and is seeded by
    that number after: what a script draws next follows from its own seed, and from how often it came by here.
    """
    onward = int(nd.random.randint(0, 2**31 - 1, shape=(1,), ctx=mx.cpu()).asscalar())
    try:
        yield
    finally:
        mx.random.seed(onward)


class NumpySeeded:
    """NumPy's global generator from a seed, in the blocks of this context one after another; elsewhere as it was."""

    def __init__(self, *seeds: int) -> None:
        self._state = np.random.RandomState(np.random.SeedSequence(seeds).generate_state(4)).get_state()

    def __enter__(self) -> None:
        self._others = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._state)  # noqa: NPY002

    def __exit__(self, *error: object) -> None:
        self._state = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._others)  # noqa: NPY002


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed the generator for a while, and leave it moved on; None uses it as it is."""
    if seed is None:
        yield
        return
    seed = checks.non_negative_int("seed", seed)
    if seed >= 2**32:  # of which MXNet would take the last 32 bits
        seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    with moved_on():
        mx.random.seed(seed)
        yield
