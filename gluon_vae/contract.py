"""What training and evaluation ask of a model and of a prior, and what can be done with any model that keeps it."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mxnet import autograd, nd
from mxnet.gluon import Block, HybridBlock

from . import checks
from .arrays import all_parameters, is_finite, to_device, to_numpy

TERMS = ("loss", "nll", "kl", "penalty")


@runtime_checkable
class Contract(Protocol):
    """What every model of the family is, and what a model of your own has to be to join it.

    ``fit`` alone needs less: any block whose call on images, (batch, n_output), returns the per-sample loss,
    (batch,), can be trained. A model with ``n_classes``, which is then a number, is given labels, (batch,), after x
    and after z; with ``takes_missing_labels`` those after x may be -1. One that draws random numbers in a call takes
    them as the last argument too, and has ``draw_noise(x)``, which draws them, one row for each image or several
    draws after each other; so several processes can share a batch and its noise.

    Attributes
    ----------
    n_latent, n_output : int
        Widths of codes and of images.
    encoder : HybridBlock
        (batch, n_output) to (batch, n_latent) or more columns, the posterior mean, or the code, first.
    decoder : HybridBlock
        (batch, n_latent) to images, (batch, n_output), in data space.
    mu : (batch, n_latent)
        Posterior mean, or code, of the most recent call; None before the first.
    output : (batch, n_output)
        Its reconstruction.
    nll : (batch,)
        A term of its loss, as are ``kl`` and ``penalty`` where a model has them: nats per image.
    """

    n_latent: int
    n_output: int
    encoder: HybridBlock
    decoder: HybridBlock
    mu: nd.NDArray | None
    output: nd.NDArray | None
    nll: nd.NDArray | None

    def __call__(self, x: nd.NDArray, *args: nd.NDArray) -> nd.NDArray:
        """Return the per-sample loss, (batch,), in nats."""
        ...


@runtime_checkable
class Prior(Protocol):
    """A distribution of codes with an exact density, which ``elbo`` and ``log_likelihood`` take for p(z).

    Attributes
    ----------
    n_latent : int
        Dimension of the codes.
    """

    n_latent: int

    def log_pdf(self, z: Any) -> np.ndarray:
        """Return the log-density at codes (n, n_latent): (n,) float64, in nats."""
        ...

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32; the same seed gives the same ones."""
        ...


def terms(net: Block, loss: nd.NDArray) -> dict[str, nd.NDArray]:
    """Return the loss of the most recent call with the terms that the model split it into, (batch,) each."""
    named = {"loss": loss} | {name: getattr(net, name, None) for name in TERMS[1:]}
    return {name: value for name, value in named.items() if value is not None}


def is_initialized(net: Block) -> bool:
    """Tell whether every parameter has values, or will have at the first call."""
    try:
        for parameter in all_parameters(net):
            parameter.list_ctx()
    except RuntimeError:
        return False
    return True


def settle_shapes(net: Block, *inputs: nd.NDArray) -> None:
    """Have layers that find out their sizes at the first call find them now, by a call on one image."""
    if any(parameter.shape is None or 0 in parameter.shape for parameter in net.collect_params().values()):
        with autograd.pause():
            net(*inputs)


def checked(net: Block, x: Any, y: Any = None, part: str = "", *, missing: bool = False) -> tuple[np.ndarray, ...]:
    """Return what the model is called on as NumPy arrays: (x,), or (x, y) where it takes labels.

    ``part`` follows the names of the arguments in messages: '_train' for ``x_train`` and ``y_train``. With
    ``missing=True``, for a call of the model itself, labels may be missing if the model can do without.
    """
    x = checks.images(f"x{part}", x, getattr(net, "n_output", None))
    missing = missing and getattr(net, "takes_missing_labels", False)
    y = checks.labels(f"y{part}", y, len(x), getattr(net, "n_classes", None), missing=missing)
    return tuple(to_numpy(array) for array in (x, y) if array is not None)


def check_ready(net: Any) -> None:
    """Refuse what is no block, has no values yet, or has some that are not finite, which a ReLU would hide."""
    _asked_if_ready(net)()


def not_finite(net: Block) -> str | None:
    """Return the name of the first parameter with a value that is not finite; None if there is none."""
    return _asked_for_not_finite(net)()


def inputs_of(net: Block, x: Any, y: Any = None, *, missing: bool = False) -> tuple[nd.NDArray, ...]:
    """Return what the model is called on, checked and on its device: (x,), or (x, y) where it takes labels."""
    check = _asked_if_ready(net)
    arrays = checked(net, x, y, missing=missing)
    check()
    return to_device(net, *arrays)


def _asked_if_ready(net: Any) -> Callable[[], None]:
    """Begin ``check_ready``; return what ends it. MXNet looks at the parameters while NumPy looks at the images."""
    if not isinstance(net, Block):
        raise ValueError(f"net must be a Gluon block, got {type(net).__name__}")
    if not is_initialized(net):
        raise ValueError("net must have parameters: train it, load them, or call net.initialize()")
    answer = _asked_for_not_finite(net)

    def check() -> None:
        spoiled = answer()
        if spoiled:
            raise ValueError(f"net must have finite parameters, got NaN or infinity in {spoiled}")

    return check


def _asked_for_not_finite(net: Block) -> Callable[[], str | None]:
    """Begin ``not_finite``; return what ends it."""
    values: dict[str, nd.NDArray] = {}
    alike: dict[Any, list[nd.NDArray]] = {}
    for name, parameter in net._collect_params_with_prefix().items():
        if np.dtype(parameter.dtype).kind == "f" and parameter._data is not None:
            values[name] = array = parameter.list_data()[0]
            with_axes = array if array.shape else array.reshape((1,))  # the operator takes none without
            alike.setdefault((parameter.dtype, parameter.list_ctx()[0]), []).append(with_axes)
    squares = [nd.multi_sum_sq(*arrays, num_arrays=len(arrays)) for arrays in alike.values()]

    def answer() -> str | None:
        if all(np.isfinite(sums.asnumpy()).all() for sums in squares):
            return None
        # Squares of numbers that are finite may not be: each is looked at.
        return next((name for name, array in values.items() if not is_finite(array)), None)

    return answer


def check_kl_weight(net: Block, *inputs: nd.NDArray) -> None:
    """Refuse a model whose loss on images is not ``beta`` times its ``kl``, and what does not depend on ``beta``.

    It is called with two values of ``beta`` and the same noise, between which the losses have to differ by that.
    """
    beta = beta_of(net)

    def called(beta: float) -> dict[str, np.ndarray]:
        net.beta = beta
        loss = net(*inputs, *(() if noise is None else (noise,)))
        return {name: value.asnumpy().astype(np.float64) for name, value in terms(net, loss).items()}

    with autograd.pause():
        noise = net.draw_noise(inputs[0]) if hasattr(net, "draw_noise") else None
        try:
            one, other = called(beta), called(1000 * beta)  # where a small KL shows beside a loss of hundreds
        finally:
            net.beta = beta
    rounding = 1e-5 * (np.abs(one["loss"]) + np.abs(other["loss"]))
    if "kl" not in one or (np.abs(other["loss"] - one["loss"] - 999 * beta * one["kl"]) > rounding).any():
        raise ValueError(f"kl_warmup must be 0 for this {type(net).__name__}: its loss is not linear in beta * kl")


def beta_of(net: Block) -> float:
    """Return the weight of the KL in a model's loss, or refuse to warm up what there is none of."""
    beta = getattr(net, "beta", None)
    if not isinstance(beta, numbers.Real):
        raise ValueError(f"kl_warmup must be 0 for a {type(net).__name__}, which has no KL with a weight beta")
    return float(beta)


@contextmanager
def unchecked(net: Block) -> Iterator[None]:
    """Switch a model's check of values off where the data has been checked once."""
    before = getattr(net, "check_input", False)
    net.check_input = False
    try:
        yield
    finally:
        net.check_input = before
