"""Training: one ``fit`` for every model that returns a per-sample loss."""

from __future__ import annotations

import os
import time
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
from .contract import beta_of, check_kl_weight, checked, is_initialized, not_finite, settle_shapes, unchecked
from .evaluation import loss_terms
from .feed import Feed, is_iterable
from .generator import moved_on
from .gradient import Gradient
from .means import Means
from .run import Run, Settings, best_epochs, facts

History = dict[str, list[float]]

# Twice the variance of Xavier's rule, since a ReLU passes on half of it (He et al. 2015, arXiv 1502.01852).
INITIALIZER = mx.init.Xavier(magnitude=6)


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
    on_epoch: Callable[[History], object] | None = None,
    **settings: Unpack[Settings],
) -> History:
    """Train a model with Adam and return its learning curves.

    The model's call on a batch returns the per-sample loss, shape (batch,), and leaves ``nll`` and
    ``kl``, or those of them it has, on attributes. Parameters that are not initialised yet are drawn on ``device``
    by ``INITIALIZER``; initialised ones are trained further where they are. One ``seed`` fixes the initial
    parameters, the order of the images and the noise. See chapters 1 and 18.

    Parameters
    ----------
    net : HybridBlock
        A model of this package, or any block that is called as described above.
    x_train, x_test : (n, n_output)
        Floating-point images, pixels in [0, 1]. ``x_test`` is only evaluated on, once an epoch,
        with z sampled. A memory map of single precision (``numpy.load(path, mmap_mode="r")``) stays on its disk where
        the CPU computes. ``x_train`` may also be an iterable of batches, x or (x, y); see the notes.
    y_train, y_test : (n,)
        Their labels, for a conditional model and for no other; -1 where a ``SemiSupervisedVAE`` is not to know.
    device : mxnet.Context, optional
        The first GPU where there is one, else the CPU. Ignored if the model is initialised.
    checkpoint : path, optional
        Where all that the run needs to go on is kept after every epoch; ``gluon_vae.load`` rebuilds
        the model from it.
    resume : bool
        Go on from ``checkpoint`` if the file exists, with the same arguments as the run that wrote
        it; interrupted and resumed equals uninterrupted, bit for bit. Without the file, start. ``n_epochs`` may be
        more than it was, also after the end: from there on the step sizes are those of a run of the new length, so
        that with 'cosine' they rise again, and the result is not that of such a run from its start.
    kvstore : mxnet.kv.KVStore, optional
        A 'dist_sync' store that joins several processes, each of which calls ``fit`` with the same
        arguments. They share every batch among them, so that the result is that of one process but
        for rounding; the first evaluates, saves and shows the bar. A loss that looks at other images
        of its batch (the sparse autoencoder's 'kl') sees those of its process only.
    progress : bool
        Show a bar with epoch, training loss and test ELBO.
    on_epoch : callable, optional
        Called with the history after every epoch, when the checkpoint is written. The run stops if it returns True;
        what else it returns is of no consequence. Where ``resume`` is asked for later, the run goes on.
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
        rate_warmup : int = 0
            Epochs over which the step size rises, in proportion to the steps done, to what it would be without. A
            large first step can switch latent dimensions off for good.
        kl_warmup : int = 0
            Epochs over which the weight of the KL rises from 0 to the model's own ``beta``, in proportion to the
            steps done (Bowman et al. 2016, arXiv 1511.06349). Losses are reported with ``beta`` throughout.
        patience : int, optional
            Stop after so many epochs without a lower test loss. At the end, so stopped or not, the model has the
            parameters of the epoch with the lowest, and so has ``gluon_vae.load(checkpoint)``; ``resume`` goes on
            from the last.
        clip_norm : float, optional
            Shorten the mean gradient of a batch, over all parameters together, to this norm where it is longer.

    Returns
    -------
    dict
        Lists of one entry per epoch: ``epoch``, ``train_loss``, ``train_nll``, ``train_kl`` (means
        over the epoch; those of the terms that the model has), ``test_loss``, ``test_nll``, ``test_kl``
        (after it; absent without ``x_test``), all in nats per image, ``learning_rate`` at its end, ``seconds``, and
        with ``patience`` ``best_epoch``, the one with the lowest test loss so far.

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

    Notes
    -----
    An iterable of batches, such as Gluon's ``DataLoader``, decides how large they are, and is gone through anew in
    every epoch, and once more for its first batch before. A batch is an array, (batch, n_output), or a pair of it and
    labels, which a model that takes none is not given. The step size follows the share of ``len()`` that is done, and
    without a length changes from epoch to epoch only. Runs repeat themselves and are resumed bit for bit if the order
    follows from MXNet's and NumPy's global generators, which are seeded for every epoch (NumPy's is afterwards as it
    was), or from the epoch, from 1, for which ``set_epoch(epoch)`` is called if there is such a method. With a
    ``kvstore`` every process goes through all batches, which have to be the same.

    Gluon's ``lr_mult`` of each parameter is heeded, and has to be the same where a run is resumed.

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
    if run.kl_warmup:
        beta_of(net)
    train: Sequence[Any] | Feed
    if is_iterable(x_train):
        for name, given in (("y_train", y_train is not None), ("batch_size", "batch_size" in settings)):
            if given:
                raise ValueError(f"{name} must not be given where x_train is an iterable, whose batches decide it")
        train = Feed(net, x_train, run.seed)
        if run.rate_warmup and train.n_batches is None:
            raise ValueError("x_train must have a len() with rate_warmup, whose step sizes follow from it")
        first, smallest = train.first, len(train.first[0])
    else:
        train = first = checked(net, x_train, y_train, "_train", missing=True)
        smallest = min(run.batch_size, len(train[0]))
    if x_test is None and (y_test is not None or run.patience is not None):
        name = "patience" if y_test is None else "y_test"
        raise ValueError(f"{name} must come with x_test, got x_test=None")
    test = None if x_test is None else checked(net, x_test, y_test, "_test", missing=True)
    if test is not None and test[0].shape[1] != first[0].shape[1]:
        raise ValueError(f"x_test must have {first[0].shape[1]} columns like x_train, got {test[0].shape[1]}")
    workers = distributed.joined(kvstore, smallest)
    what = facts(net, run, train, test)
    saved = checkpoints.begin(checkpoint, net, what, resume=resume, saves=workers.leads)

    run.seed_epoch(0)
    if not is_initialized(net):
        net.initialize(INITIALIZER, ctx=device or default_device())
    train = train if isinstance(train, Feed) else to_device(net, *train)
    test = to_device(net, *test) if test is not None and workers.leads else None
    settle_shapes(net, *to_device(net, *(array[:1] for array in first)))
    if run.kl_warmup:
        check_kl_weight(net, *to_device(net, *(array[:100] for array in first)))
    adam, gradient = Adam(net), Gradient(net)
    history: History = saved.restore(net, adam) if saved else {}
    best = saved.best or saved.parameters if saved and run.patience is not None else None
    workers.start(adam.weights())

    with unchecked(net), _bar(run, history, progress and workers.leads) as bar:
        stops = run.is_over(history)
        while not stops:
            started, epoch = time.perf_counter(), len(history.get("epoch", [])) + 1
            row, rate = _pass(net, adam, gradient, run, train, epoch, workers)
            if test is not None:
                row |= {f"test_{name}": float(values.mean()) for name, values in loss_terms(net, *test).items()}
            else:
                gradient.keep()  # an evaluation leaves attributes of its own
            if test is not None and run.patience is not None:
                row["best_epoch"] = best_epochs([*history.get("test_loss", []), row["test_loss"]])[-1]
                best = checkpoints.parameters_of(net) if row["best_epoch"] == epoch else best
            row |= {"learning_rate": rate, "seconds": time.perf_counter() - started}
            for key, value in row.items():
                history.setdefault(key, []).append(value)
            if workers.leads:
                if checkpoint is not None:
                    checkpoints.write(checkpoint, checkpoints.Checkpoint.of(net, adam, what, history, best))
                bar.set_postfix_str(_summary(row), refresh=False)
                bar.update()
                answer = None if on_epoch is None else on_epoch(history)
                stops = run.is_over(history) or (isinstance(answer, bool | np.bool_) and bool(answer))
            stops = workers.agree(stops)
    if run.patience is not None:
        if best is not None:  # as it is where the test images were seen
            checkpoints.set_parameters(net, best)
        workers.take_over(adam.weights())
    return history


def _pass(
    net: HybridBlock,
    adam: Adam,
    gradient: Gradient,
    run: Run,
    train: Sequence[nd.NDArray] | Feed,
    epoch: int,
    workers: distributed.Alone,
) -> tuple[dict[str, float], float]:
    """Take the steps of an epoch; return the first part of its row in the history, and the last step size."""
    means, n = Means(f"epoch {epoch}"), 0
    adam.settle()
    gradient.settle()
    for batch, rate, kl_weight in run.batches(train, epoch):
        n_images, inputs = len(batch[0]), workers.share(net, batch)
        if inputs:
            less_kl = (1 - kl_weight) * net.beta if kl_weight < 1 else 0.0
            means.add(*gradient(inputs, less_kl=less_kl))
        workers.add_gradients(adam, bool(inputs))
        if run.clip_norm is not None:
            adam.clip(run.clip_norm, n_images)
        adam.step(rate, n_images)
        n += n_images
    row = {"epoch": epoch} | means.over(n, workers)
    adam.check()
    _check_parameters(net, means.where)
    return row, rate


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
