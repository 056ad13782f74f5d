"""Training: one ``fit`` for every model that returns a per-sample loss."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
from tqdm import tqdm

import mxnet as mx
from mxnet import nd
from mxnet.gluon import Block, HybridBlock

from . import checkpoint as checkpoints
from . import checks, distributed, streams
from .adam import Adam, trained_parameters
from .arrays import to_device
from .contract import checked, is_initialized, not_finite, settle_shapes, unchecked
from .evaluation import loss_terms
from .generator import moved_on
from .run import Run, Settings, facts
from .gradient import Gradient

History = dict[str, list[float]]

# Twice the variance of Xavier's rule, since a ReLU passes on half of it (He et al. 2015, arXiv 1502.01852).
INITIALIZER = mx.init.Xavier(magnitude=6)
# Steps the host may run ahead of the device: enough to keep the device busy; without a limit the
# batches of a whole epoch are cut, and held in memory, before the first one is used.
LOOKAHEAD = 8


def default_device() -> mx.Context:
    """Return the first GPU where MXNet has one, else the CPU."""
    return mx.gpu() if mx.context.num_gpus() else mx.cpu()


@moved_on()
def fit(
    net: HybridBlock,
    x_train: Any,
    x_test: Any = None,
    *,
    y_train: Any = None,
    y_test: Any = None,
    device: mx.Context | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    kvstore: mx.kv.KVStore | None = None,
    progress: bool = True,
    on_epoch: Callable[[History], None] | None = None,
    **settings: Unpack[Settings],
) -> History:
    """Train a model with Adam and return its learning curves.

    The model's call on a batch returns the per-sample loss, shape (batch,), and leaves ``nll`` and
    ``kl``, or those of them it has, on attributes. Parameters that are not initialised yet are drawn on ``device``
    by ``INITIALIZER``; initialised ones are trained further where they are. One ``seed`` fixes the initial
    parameters, the order of the images and the noise. See chapter 1.

    Parameters
    ----------
    net : HybridBlock
        A model of this package, or any block that is called as described above.
    x_train, x_test : (n, n_output)
        Floating-point images, pixels in [0, 1]. ``x_test`` is only evaluated on, once an epoch,
        with z sampled.
    y_train, y_test : (n,)
        Their labels, for a conditional model and for no other; -1 where a ``SemiSupervisedVAE`` is not to know.
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
    **settings
        Of the run, which decide its every bit, given the images:

        n_epochs : int = 20
            Passes over the training images.
        batch_size : int = 100
            The last batch of an epoch may be smaller; it is used too.
        learning_rate : float = 0.003
            Adam's step size at the start.
        schedule : {'cosine', 'constant'}
            Decay the step size along a cosine to 2 % at the last step, or keep it.
        seed : int = 0
            Seeds MXNet's global random generator at the start of each epoch; ``fit`` leaves it moved on.
        binarize : bool = False
            Draw every pixel of a training batch from a Bernoulli distribution with its grey value as
            probability, anew at every step. ``x_test`` stays as it is given: binarize it once.

    Returns
    -------
    dict
        Lists of one entry per epoch: ``epoch``, ``train_loss``, ``train_nll``, ``train_kl`` (means
        over the epoch; those of the terms that the model has), ``test_loss``, ``test_nll``, ``test_kl``
        (after it; absent without ``x_test``), all in nats per image, ``learning_rate`` at its end, and ``seconds``.

    Raises
    ------
    ValueError
        If an argument is not as described, or the checkpoint is damaged, or of another model or run; the
        message names it, and the model is then as it was.
    TypeError
        If a setting is unknown.
    OSError
        If the checkpoint cannot be read, or not be written where it is to be.
    FloatingPointError
        If the loss or a parameter stops being finite; the checkpoint of the epoch before is kept.

    Examples
    --------
    >>> net, data = gluon_vae.VAE(n_hidden=64), gluon_vae.load_mnist()
    >>> history = gluon_vae.fit(net, data.x_train, n_epochs=2, progress=False)
    >>> history["train_loss"][1] < history["train_loss"][0]
    True
    """
    checks.of_type("net", net, Block)
    checks.of_type("device", device, mx.Context, type(None))
    if on_epoch is not None and not callable(on_epoch):
        raise ValueError(f"on_epoch must be callable, got {checks.shown(on_epoch)}")
    resume, progress = checks.flag("resume", resume), checks.flag("progress", progress)
    run = Run(**settings)
    trained_parameters(net)
    train = checked(net, x_train, y_train, "_train", missing=True)
    if x_test is None and y_test is not None:
        raise ValueError("y_test must come with x_test, got x_test=None")
    test = None if x_test is None else checked(net, x_test, y_test, "_test", missing=True)
    if test is not None and test[0].shape[1] != train[0].shape[1]:
        raise ValueError(f"x_test must have {train[0].shape[1]} columns like x_train, got {test[0].shape[1]}")
    workers = distributed.joined(kvstore, run.batch_size, len(train[0]))
    what = facts(net, run, train, test)
    saved = checkpoints.begin(checkpoint, net, what, resume=resume, saves=workers.leads)

    run.seed_epoch(0)
    if not is_initialized(net):
        net.initialize(INITIALIZER, ctx=device or default_device())
    train = to_device(net, *train)
    test = to_device(net, *test) if test is not None and workers.leads else None
    settle_shapes(net, *(array[:1] for array in train))
    adam, gradient = Adam(net), Gradient(net)
    history: History = saved.restore(net, adam) if saved else {}
    workers.start(adam.weights())

    with unchecked(net), _bar(run, history, progress and workers.leads) as bar:
        for epoch in range(len(history.get("epoch", [])) + 1, run.n_epochs + 1):
            started = time.perf_counter()
            means = Means(f"epoch {epoch}")
            adam.settle()
            gradient.settle()
            for batch, rate in run.batches(train, epoch):
                inputs = workers.share(net, batch)
                if inputs:
                    means.add(*gradient(*inputs))
                workers.add_gradients(adam.gradients(), bool(inputs))
                adam.step(rate, len(batch[0]))
            row = {"epoch": epoch} | means.over(len(train[0]), workers)
            adam.check()
            gradient.keep()
            _check_parameters(net, means.where)
            if test is not None:
                row |= {f"test_{name}": float(values.mean()) for name, values in loss_terms(net, *test).items()}
            row |= {"learning_rate": rate, "seconds": time.perf_counter() - started}
            for key, value in row.items():
                history.setdefault(key, []).append(value)
            if workers.leads:
                if checkpoint is not None:
                    checkpoints.write(checkpoint, checkpoints.Checkpoint.of(net, adam, what, history))
                bar.set_postfix_str(_summary(row), refresh=False)
                bar.update()
                if on_epoch is not None:
                    on_epoch(history)
    return history


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
        """Take the terms of a step, (n_terms, batch); wait for those of a step before, if many are under way."""
        self._running.append((names, values))
        if len(self._running) > LOOKAHEAD:
            self._read_oldest()

    def over(self, n: int, workers: distributed.Alone) -> dict[str, float]:
        """Wait for all steps; return the means over ``n`` images, as ``train_loss`` and so on."""
        while self._running:
            self._read_oldest()
        return {f"train_{name}": total / n for name, total in workers.add_totals(self._totals).items()}

    def _read_oldest(self) -> None:
        self._step += 1
        names, values = self._running.popleft()
        for name, value in zip(names, values.asnumpy()):
            self._totals[name] = self._totals.get(name, 0.0) + float(value.sum(dtype=np.float64))
        if not math.isfinite(self._totals["loss"]):
            raise FloatingPointError(f"the loss stopped being finite in {self.where}")


def _check_parameters(net: HybridBlock, where: str) -> None:
    # A ReLU maps NaN to 0 on the CPU, so that a ruined parameter need not show in the loss.
    spoiled = not_finite(net)
    if spoiled:
        raise FloatingPointError(f"{spoiled} stopped being finite by {where}")


def _bar(run: Run, history: History, shown: bool) -> tqdm:
    done = len(history.get("epoch", []))
    return streams.bar(shown=shown, total=run.n_epochs, initial=done, desc="training", unit="epoch")


def _summary(row: dict[str, float]) -> str:
    summary = f"loss {row['train_loss']:.1f}"
    if "test_kl" in row:
        return summary + f", test ELBO {-row['test_loss']:.1f}"
    return summary + f", test loss {row['test_loss']:.1f}" if "test_loss" in row else summary
