"""Training: one ``fit`` for every model that returns a per-sample loss."""

from __future__ import annotations

import math
import os
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import mxnet as mx
from mxnet import autograd, nd
from mxnet.gluon import HybridBlock

from . import checkpoint as checkpoints
from . import checks, distributed
from .adam import Adam
from .contract import batches, checked_labels, is_initialized, labels_for, terms, to_device, unchecked
from .evaluation import loss_terms

History = dict[str, list[float]]

SCHEDULES = ("cosine", "constant")
# Twice the variance of Xavier's rule, since a ReLU passes on half of it (He et al. 2015, arXiv 1502.01852).
INITIALIZER = mx.init.Xavier(magnitude=6)
FINAL_FRACTION = 0.02  # of the learning rate, where the cosine ends
# Steps the host may run ahead of the device: enough to keep the device busy; without a limit the
# batches of a whole epoch are cut, and held in memory, before the first one is used.
LOOKAHEAD = 8


def default_device() -> mx.Context:
    """Return the first GPU where MXNet has one, else the CPU."""
    return mx.gpu() if mx.context.num_gpus() else mx.cpu()


def fit(
    net: HybridBlock,
    x_train: Any,
    x_test: Any = None,
    *,
    y_train: Any = None,
    y_test: Any = None,
    binarize: bool = False,
    n_epochs: int = 20,
    batch_size: int = 100,
    learning_rate: float = 3e-3,
    schedule: str = "cosine",
    seed: int = 0,
    device: mx.Context | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    kvstore: mx.kv.KVStore | None = None,
    progress: bool = True,
    on_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train a model with Adam and return its learning curves.

    The model's call on a batch returns the per-sample loss, shape (batch,), and leaves ``nll`` and
    ``kl``, or those of them it has, on attributes. Parameters that are not initialised yet are drawn on ``device``
    by ``INITIALIZER``; initialised ones are trained further where they are. One ``seed`` fixes the initial
    parameters, the order of the images and the noise.

    Parameters
    ----------
    net : HybridBlock
        A model of this package, or any block that keeps the contract above.
    x_train, x_test : (n, n_output)
        Floating-point images, pixels in [0, 1]. ``x_test`` is only evaluated on, once an epoch,
        with z sampled.
    y_train, y_test : (n,)
        Their labels, for a conditional model and for no other.
    binarize : bool
        Draw every pixel of a training batch from a Bernoulli distribution with its grey value as
        probability, anew at every step. ``x_test`` stays as it is given: binarize it once.
    n_epochs, batch_size : int
        The last batch of an epoch may be smaller; it is used too.
    learning_rate : float
        Adam's step size at the start.
    schedule : {'cosine', 'constant'}
        Decay the step size along a cosine to 2 % at the last step, or keep it.
    seed : int
        Seeds MXNet's global random generator at the start of each epoch.
    device : mxnet.Context, optional
        The first GPU where there is one, else the CPU. Ignored if the model is initialised.
    checkpoint : path, optional
        Where all that the run needs to go on is kept after every epoch; ``gluon_vae.load`` rebuilds
        the model from it.
    resume : bool
        Go on from ``checkpoint`` if the file exists, with the same arguments as the run that wrote
        it; interrupted and resumed equals uninterrupted, bit for bit. Without the file, start.
    kvstore : mxnet.kv.KVStore, optional
        A 'dist_sync' store that joins several processes, each of which calls ``fit`` with the same
        arguments. They share every batch among them, so that the result is that of one process but
        for rounding; the first evaluates, saves and shows the bar. A loss that looks at other images
        of its batch (the sparse autoencoder's 'kl') sees those of its process only.
    progress : bool
        Show a bar with epoch, training loss and test ELBO.
    on_epoch : callable, optional
        Called with the history after every epoch.

    Returns
    -------
    dict
        Lists of one entry per epoch: ``epoch``, ``train_loss``, ``train_nll``, ``train_kl`` (means
        over the epoch; those of the terms that the model has), ``test_loss``, ``test_nll``, ``test_kl``
        (after it; absent without ``x_test``), all in nats per image, ``learning_rate`` at its end, and ``seconds``.

    Raises
    ------
    ValueError
        If an argument is not of the form above, or the checkpoint is damaged, or of another model or
        run; the model is then as it was.
    FloatingPointError
        If the loss or a parameter stops being finite; the checkpoint of the epoch before is kept.
    """
    n_output = getattr(net, "n_output", None)
    x_train = checks.images("x_train", x_train, n_output)
    y_train = checked_labels(net, y_train, len(x_train), "y_train")
    if x_test is not None:
        x_test = checks.images("x_test", x_test, x_train.shape[1])
        y_test = checked_labels(net, y_test, len(x_test), "y_test")
    n_epochs = checks.positive_int("n_epochs", n_epochs)
    batch_size = checks.positive_int("batch_size", batch_size)
    learning_rate = checks.positive_number("learning_rate", learning_rate)
    schedule = checks.one_of("schedule", schedule, SCHEDULES)
    seed = checks.non_negative_int("seed", seed)
    if kvstore is not None and min(batch_size, len(x_train)) < kvstore.num_workers:
        raise ValueError(
            f"batch_size and x_train must have at least one image for each of {kvstore.num_workers} workers, "
            f"got batch_size={batch_size} and {len(x_train)} images"
        )
    leads = kvstore is None or kvstore.rank == 0
    if resume and checkpoint is None:
        raise ValueError("resume needs the path of a checkpoint, got checkpoint=None")

    run = {
        "n_epochs": n_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "seed": seed,
        "binarize": bool(binarize),
        "training images": zlib.crc32(np.ascontiguousarray(x_train)),
    }
    if y_train is not None:
        run["training labels"] = zlib.crc32(y_train)
    saved = _read_same_run(checkpoint, run) if resume and Path(checkpoint).exists() else None
    _seed_epoch(seed, 0)
    if not is_initialized(net):
        net.initialize(INITIALIZER, ctx=device or default_device())
    adam, history = Adam(net), {}
    if saved is not None:
        checkpoints.set_parameters(net, saved.parameters, str(checkpoint))
        adam.restore(saved.moments, saved.meta["n_steps"])
        history = saved.meta["history"]
    if kvstore is not None:
        distributed.open_store(kvstore, adam.weights())
    train = (to_device(net, x_train), *labels_for(net, y_train, len(x_train), "y_train"))
    test = None
    if x_test is not None and leads:
        test = (to_device(net, x_test), *labels_for(net, y_test, len(x_test), "y_test"))

    def decayed(done: float) -> float:
        if schedule == "constant":
            return learning_rate
        return learning_rate * (FINAL_FRACTION + (1 - FINAL_FRACTION) * (1 + math.cos(math.pi * done)) / 2)

    finished = len(history.get("epoch", []))
    # The finished bar stays in a terminal; in a notebook it would be output that differs at every run.
    leave = sys.stderr.isatty()
    bar = tqdm(
        total=n_epochs, initial=finished, desc="training", unit="epoch", disable=not (progress and leads), leave=leave
    )
    with unchecked(net), bar:
        for epoch in range(finished + 1, n_epochs + 1):
            started = time.perf_counter()
            _seed_epoch(seed, epoch)
            order = np.random.default_rng([seed, epoch]).permutation(len(train[0]))
            rates = [decayed((epoch - 1 + i / len(order)) / n_epochs) for i in range(0, len(order), batch_size)]
            means = _train_epoch(net, adam, train, order, batch_size, rates, epoch, binarize, kvstore)
            row = {"epoch": epoch} | {f"train_{name}": mean for name, mean in means.items()}
            if test is not None:
                row |= {f"test_{name}": float(v.mean()) for name, v in loss_terms(net, *test).items()}
            row |= {"learning_rate": rates[-1], "seconds": time.perf_counter() - started}
            for key, value in row.items():
                history.setdefault(key, []).append(value)
            if checkpoint is not None and leads:
                meta = {"model": type(net).__name__, "config": getattr(net, "config", None), "run": run}
                meta |= {"n_steps": adam.n_steps, "history": history}
                checkpoints.write(
                    checkpoint, checkpoints.Checkpoint(checkpoints.parameters_of(net), adam.moments(), meta)
                )
            bar.set_postfix_str(_summary(row), refresh=False)
            bar.update()
            if on_epoch is not None and leads:
                on_epoch(history)
    return history


def _read_same_run(path: str | os.PathLike[str], run: dict[str, Any]) -> checkpoints.Checkpoint:
    saved = checkpoints.read(path)
    for name, value in run.items():
        before = saved.meta["run"].get(name)
        if before != value:
            raise ValueError(f"{path} cannot be resumed: its run had {name} = {before}, this one has {value}")
    return saved


def _seed_epoch(seed: int, epoch: int) -> None:
    """Seed MXNet so that an epoch's noise depends on nothing but the seed and the epoch."""
    mx.random.seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]) >> 1)


def _train_epoch(
    net: HybridBlock,
    adam: Adam,
    train: Sequence[nd.NDArray],
    order: np.ndarray,
    batch_size: int,
    rates: Sequence[float],
    epoch: int,
    binarize: bool,
    kvstore: mx.kv.KVStore | None,
) -> dict[str, float]:
    """Take one step per batch of ``order``; return the means of the loss and its terms."""
    adam.settle()
    order = nd.array(order, ctx=train[0].context, dtype=np.int32)
    totals: dict[str, float] = {}
    running: deque[dict[str, nd.NDArray]] = deque()
    step = 0

    def read_oldest() -> None:
        nonlocal step
        step += 1
        for name, value in running.popleft().items():
            totals[name] = totals.get(name, 0.0) + float(value.asnumpy().sum(dtype=np.float64))
        if not math.isfinite(totals["loss"]):
            raise FloatingPointError(f"the loss stopped being finite in epoch {epoch}, step {step}")

    for (rows,), rate in zip(batches([order], batch_size), rates):
        inputs = [array.take(rows) for array in train]
        if binarize:
            x = inputs[0]
            inputs[0] = nd.random.uniform(shape=x.shape, ctx=x.context, dtype=x.dtype) < x
        if kvstore is not None:
            inputs = distributed.share_of_batch(kvstore, net, *inputs)
        if inputs:
            with autograd.record():
                loss = net(*inputs)
            loss.backward()
            running.append(terms(net, loss))
        else:  # a last batch with fewer images than workers
            for gradient in adam.gradients().values():
                gradient[:] = 0
        if kvstore is not None:
            distributed.sum_over_workers(kvstore, adam.gradients())
        adam.step(rate, len(rows))
        if len(running) > LOOKAHEAD:
            read_oldest()
    while running:
        read_oldest()
    if kvstore is not None:
        totals = distributed.sum_totals(kvstore, totals)
    # A ReLU maps NaN to 0 on the CPU, so that a ruined parameter need not show in the loss.
    for name, parameter in net._collect_params_with_prefix().items():
        if not np.isfinite(parameter.data().asnumpy()).all():
            raise FloatingPointError(f"{name} stopped being finite in epoch {epoch}, by step {step}")
    return {name: total / len(order) for name, total in totals.items()}


def _summary(row: dict[str, float]) -> str:
    summary = f"loss {row['train_loss']:.1f}"
    if "test_kl" in row:
        return summary + f", test ELBO {-row['test_loss']:.1f}"
    return summary + f", test loss {row['test_loss']:.1f}" if "test_loss" in row else summary
