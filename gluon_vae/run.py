"""What a training run is: the numbers that, with the images, decide every bit of its result."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, TypedDict

import numpy as np

import mxnet as mx
from mxnet import nd
from mxnet.gluon import Block

from . import checks
from .adam import trained_parameters
from .arrays import batches
from .feed import Feed
from .rows import Rows, taken

SCHEDULES = ("cosine", "constant")
FINAL_FRACTION = 0.02  # of the learning rate, where the cosine ends
LATER = ("rate_warmup", "kl_warmup", "patience", "clip_norm")  # that the first checkpoints do not know


class Settings(TypedDict, total=False):
    """The settings of a ``Run``, for a checker of types."""

    n_epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    seed: int
    binarize: bool
    rate_warmup: int
    kl_warmup: int
    patience: int | None
    clip_norm: float | None


class Step(NamedTuple):
    """A batch, x or x and y, the step size, and what the KL's own weight is multiplied by."""

    batch: list[nd.NDArray | Rows]
    rate: float
    kl_weight: float


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
    kl_warmup: int = 0
    patience: int | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        accepted = {
            "n_epochs": checks.positive_int,
            "batch_size": checks.positive_int,
            "learning_rate": checks.positive_number,
            "schedule": checks.choice(SCHEDULES),
            "seed": checks.non_negative_int,
            "binarize": checks.flag,
            "rate_warmup": checks.non_negative_int,
            "kl_warmup": checks.non_negative_int,
            "patience": checks.optional(checks.positive_int),
            "clip_norm": checks.optional(checks.positive_number),
        }
        for field in fields(self):
            object.__setattr__(self, field.name, accepted[field.name](field.name, getattr(self, field.name)))

    def rate(self, done: float) -> float:
        """Return the step size where a share ``done`` of the run, 0 to 1, lies behind."""
        rate = self.learning_rate
        if self.rate_warmup:
            rate *= min(1.0, done * self.n_epochs / self.rate_warmup)
        if self.schedule == "cosine":
            rate *= FINAL_FRACTION + (1 - FINAL_FRACTION) * (1 + math.cos(math.pi * done)) / 2
        return rate

    def kl_weight(self, epochs_done: float) -> float:
        """Return what the KL's own weight is multiplied by in a step after so many epochs."""
        return min(1.0, epochs_done / self.kl_warmup) if self.kl_warmup else 1.0

    def is_over(self, history: Mapping[str, Sequence[float]]) -> bool:
        """Tell whether a history has all epochs, or as many without a lower test loss as ``patience`` allows."""
        done = len(history.get("epoch", ()))
        if self.patience is not None and done and done - history["best_epoch"][-1] >= self.patience:
            return True
        return done >= self.n_epochs

    def seed_epoch(self, epoch: int) -> None:
        """Seed MXNet so that an epoch's noise depends on nothing but the seed and the epoch."""
        mx.random.seed(int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]) >> 1)

    def batches(self, data: Sequence[nd.NDArray] | Feed, epoch: int) -> Iterator[Step]:
        """Give an epoch's batches, those of arrays in an order of its own; binarize them if asked to."""
        self.seed_epoch(epoch)
        for batch, done in data.epoch(self.seed, epoch) if isinstance(data, Feed) else self._cut(data, epoch):
            if self.binarize:
                x = taken(batch[0])
                batch[0] = nd.random.uniform(shape=x.shape, ctx=x.context, dtype=x.dtype) < x
            epochs_done = epoch - 1 + done
            yield Step(batch, self.rate(epochs_done / self.n_epochs), self.kl_weight(epochs_done))

    def _cut(self, data: Sequence[nd.NDArray], epoch: int) -> Iterator[tuple[list[Rows], float]]:
        """Cut shuffled arrays into batches, each with the share of the epoch that lies behind."""
        n = len(data[0])
        order = np.random.default_rng([self.seed, epoch]).permutation(n)
        order = nd.from_numpy(order.astype(np.int32)).as_in_context(data[0].context)
        done = 0
        for batch in batches([Rows(array, order) for array in data], self.batch_size):
            yield batch, done / n
            done += len(batch[0])


def best_epochs(test_losses: Sequence[float]) -> list[int]:
    """Return after each epoch, counted from 1, which one has had the lowest test loss so far."""
    best, epochs = 0, []
    for i, loss in enumerate(test_losses):
        best = i if loss < test_losses[best] else best
        epochs.append(best + 1)
    return epochs


def facts(
    net: Block, run: Run, train: Sequence[np.ndarray] | Feed, test: Sequence[np.ndarray] | None
) -> dict[str, Any]:
    """Return all that decides a run, in what JSON can hold: model, settings, and checksums of the data.

    What was not asked for has no entry where runs of before could not ask for it. Of batches that are given, the
    first one and their number stand for all.
    """
    facts = {"model": type(net).__name__, "config": getattr(net, "config", None)} | asdict(run)
    facts = {name: value for name, value in facts.items() if name not in LATER or value}
    rates = {name: float(p.lr_mult) for name, p in trained_parameters(net).items() if p.lr_mult != 1}
    facts |= {"lr_mult": rates} if rates else {}
    if isinstance(train, Feed):
        facts |= {"number of batches": train.n_batches}
    parts = ("first batch", train.first) if isinstance(train, Feed) else ("training", train)
    for part, data in (parts, ("test", test or ())):
        for what, array in zip(("images", "labels"), data):
            facts[f"{part} {what}"] = zlib.crc32(np.ascontiguousarray(array))
    return facts
