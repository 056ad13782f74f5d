"""The terms of the negative ELBO: pure functions of ``F``, in nats per image.

``F`` is ``mxnet.nd`` or ``mxnet.sym``, so the same line serves a call and a traced graph.
Every function sums over the last axis; the mean over a batch is taken outside.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arrays import Array

LOG_2PI = math.log(2 * math.pi)


def bernoulli_nll(F: ModuleType, logits: Array, x: Array) -> Array:
    """Negative log-likelihood of pixels under independent Bernoulli distributions.

    ``-sum_i [x_i log p_i + (1 - x_i) log(1 - p_i)]`` with ``p = sigmoid(logits)``, computed as
    ``sum_i softplus(logits_i) - x_i logits_i`` (Kingma and Welling 2014, appendix C.1). Unlike
    ``log(p + 1e-10)`` it is linear where a pixel saturates, so its gradient, ``p - x``, never dies.
    See chapters 1 and 9.

    Parameters
    ----------
    F
        ``mxnet.nd`` or ``mxnet.sym``.
    logits : (batch, n_output)
        Log-odds of each pixel.
    x : (batch, n_output)
        Pixels in [0, 1].

    Returns
    -------
    (batch,)
        Nats per image.
    """
    return _sum_of_pixels(F, F.Activation(logits, act_type="softrelu") - x * logits)


def _sum_of_pixels(F: ModuleType, array: Array) -> Array:
    """Sum over the last axis of (batch, n_output) as a product with ones, which MXNet has a fast kernel for."""
    ones = F.ones_like(F.slice_axis(array, axis=0, begin=0, end=1))
    return F.reshape(F.FullyConnected(array, ones, num_hidden=1, no_bias=True), shape=(-1,))


def gaussian_nll(F: ModuleType, mean: Array, log_var: Array | float, x: Array) -> Array:
    """Negative log-density of pixels under independent Gaussians, all constants included.

    ``1/2 sum_i [(x_i - mean_i)^2 / exp(log_var_i) + log_var_i + log(2 pi)]`` (Kingma and Welling
    2014, appendix C.2). A density may exceed 1, so this may be below 0. See chapter 12.

    Parameters
    ----------
    F
        ``mxnet.nd`` or ``mxnet.sym``.
    mean, x : (batch, n_output)
        Means and pixels.
    log_var : (batch, n_output) or (1, 1) or float
        Logarithm of the variance: of each pixel, or one for all.

    Returns
    -------
    (batch,)
        Nats per image.
    """
    squares = F.square(x - mean)
    if isinstance(log_var, float):
        return 0.5 * _sum_of_pixels(F, math.exp(-log_var) * squares + (log_var + LOG_2PI))
    scaled = F.broadcast_mul(squares, F.exp(-log_var))
    return 0.5 * _sum_of_pixels(F, F.broadcast_add(scaled, log_var + LOG_2PI))


def kl_to_standard_normal(F: ModuleType, mu: Array, log_var: Array) -> Array:
    """KL divergence of N(mu, diag exp(log_var)) from N(0, I).

    ``1/2 sum_j [mu_j^2 + exp(log_var_j) - 1 - log_var_j]`` (Kingma and Welling 2014, appendix B).
    See chapters 1 and 5.

    Parameters
    ----------
    F
        ``mxnet.nd`` or ``mxnet.sym``.
    mu, log_var : (batch, n_latent)
        Mean and logarithm of the variance.

    Returns
    -------
    (batch,)
        Nats per image, at least 0.
    """
    return 0.5 * F.sum(F.square(mu) + F.exp(log_var) - 1 - log_var, axis=1)


def bernoulli_kl(F: ModuleType, rate: float, mean: Array) -> Array:
    """KL divergence of Bernoulli distributions with given means from the rate that they should have.

    ``sum_j [r log(r / m_j) + (1 - r) log((1 - r) / (1 - m_j))]``: the sparsity penalty of a
    sparse autoencoder (Ng 2011, CS294A lecture notes, section 3).

    Parameters
    ----------
    F
        ``mxnet.nd`` or ``mxnet.sym``.
    rate : float
        The target r, in (0, 1).
    mean : (..., n_latent)
        The means m, clipped to [1e-6, 1 - 1e-6].

    Returns
    -------
    (...)
        Nats, at least 0.
    """
    mean = F.clip(mean, 1e-6, 1 - 1e-6)
    entropy = rate * math.log(rate) + (1 - rate) * math.log(1 - rate)
    return F.sum(entropy - rate * F.log(mean) - (1 - rate) * F.log(1 - mean), axis=-1)
