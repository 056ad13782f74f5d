"""What a training run is: the numbers that, with the images, decide every bit of its result."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypedDict

import numpy as np

import mxnet as mx
from mxnet import nd
from mxnet.gluon import Block

from . import checks
from .arrays import batches

SCHEDULES = ("cosine", "constant")
FINAL_FRACTION = 0.02  # of the learning rate, where the cosine ends


class Settings(TypedDict, total=False):
    """The settings of a ``Run``, for a checker of types."""

    n_epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    seed: int
    binarize: bool
    rate_warmup: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """The settings of a run. ``fit`` takes and explains them; equal ones on equal images give equal bits.

    Raises
    ------
    ValueError
        If a setting is not as ``fit`` describes it; the message names it.
    """

    n_epochs: int = 20
    batch_size: int = 100
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    seed: int = 0
    binarize: bool = False
    rate_warmup: int = 0

    def __post_init__(self) -> None:
        accepted = {
            "n_epochs": checks.positive_int,
            "batch_size": checks.positive_int,
            "learning_rate": checks.positive_number,
            "schedule": checks.choice(SCHEDULES),
            "seed": checks.non_negative_int,
            "binarize": checks.flag,
            "rate_warmup": checks.non_negative_int,
        }
        for field in fields(self):
            object.__setattr__(self, field.name, accepted[field.name](field.name, getattr(self, field.name)))

    def rate(self, done: float) -> float:
        """Return the step size where a share ``done`` of the run, 0 to 1, lies behind."""
        rate = self.learning_rate * (min(1.0, done * self.n_epochs / self.rate_warmup) if self.rate_warmup else 1.0)
        if self.schedule == "constant":
            return rate
        return rate * (FINAL_FRACTION + (1 - FINAL_FRACTION) * (1 + math.cos(math.pi * done)) / 2)

    def seed_epoch(self, epoch: int) -> None:
        """Seed MXNet so that an epoch's noise depends on nothing but the seed and the epoch."""
        mx.random.seed(int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]) >> 1)

    def batches(self, data: Sequence[nd.NDArray], epoch: int) -> Iterator[tuple[list[nd.NDArray], float]]:
        """Cut an epoch's batches, in an order of its own, each with its step size; binarize them if asked to."""
        self.seed_epoch(epoch)
        n = len(data[0])
        order = np.random.default_rng([self.seed, epoch]).permutation(n)
        order = nd.from_numpy(order.astype(np.int32)).as_in_context(data[0].context)
        done = 0
        for (rows,) in batches([order], self.batch_size):
            batch = [array.take(rows) for array in data]
            if self.binarize:
                x = batch[0]
                batch[0] = nd.random.uniform(shape=x.shape, ctx=x.context, dtype=x.dtype) < x
            yield batch, self.rate((epoch - 1 + done / n) / self.n_epochs)
            done += len(rows)


def facts(net: Block, run: Run, train: Sequence[np.ndarray], test: Sequence[np.ndarray] | None) -> dict[str, Any]:
    """Return all that decides a run, in what JSON can hold: model, settings, and checksums of the data."""
    facts = {"model": type(net).__name__, "config": getattr(net, "config", None)} | asdict(run)
    for part, data in (("training", train), ("test", test or ())):
        for what, array in zip(("images", "labels"), data):
            facts[f"{part} {what}"] = zlib.crc32(np.ascontiguousarray(array))
    return facts
