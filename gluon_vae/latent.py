"""From images to codes and from codes to images, NumPy arrays in and out; and where to take codes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri  # norm.cdf and norm.ppf; scipy.stats takes half a second to import

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import dtype_of, in_batches, to_device
from .contract import check_ready, inputs_of
from .generator import seeded

PIXELS = ("mean", "sample")
MAX_SIGMA = 37


def encode(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Map images to posterior means, or to the codes of a plain autoencoder.

    See chapters 4 and 17.

    Parameters
    ----------
    net : HybridBlock
        A model that keeps the contract.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model.

    Returns
    -------
    (n, n_latent)
        mu, or the code.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """
    inputs = inputs_of(net, x, y)
    return in_batches(net.encoder, *inputs)[:, : net.n_latent].copy()


def posterior(net: HybridBlock, x: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Map images to the mean and the log-variance of the posterior q(z|x).

    Parameters
    ----------
    net : HybridBlock
        A VAE.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model.

    Returns
    -------
    mu, log_var : (n, n_latent) float64

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is no VAE.
    """
    inputs = inputs_of(net, x, y)
    encoded = in_batches(net.encoder, *inputs).astype(np.float64)
    if encoded.shape[1] != 2 * net.n_latent:
        raise ValueError(f"net must be a VAE, got {type(net).__name__}, whose encoder gives no variance")
    mu, log_var = np.split(encoded, 2, axis=1)
    return mu, log_var


def posterior_draws(net: HybridBlock, x: Any, y: Any = None, *, n_samples: int = 1, seed: int = 0) -> np.ndarray:
    """Draw codes of images from their posteriors q(z|x).

    With the images themselves drawn at random, these are draws from the aggregate posterior. See chapter 16.

    Parameters
    ----------
    net : HybridBlock
        A VAE.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model.
    n_samples : int
        Draws for each image.
    seed : int
        The same seed gives the same codes.

    Returns
    -------
    (n_samples * n, n_latent) float32
        A draw for every image, then the next.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is no VAE.
    """
    rng = np.random.default_rng(checks.non_negative_int("seed", seed))
    n_samples = checks.positive_int("n_samples", n_samples)
    mu, log_var = posterior(net, x, y)
    eps = rng.standard_normal((n_samples, *mu.shape))
    return (mu + np.exp(0.5 * log_var) * eps).reshape(-1, mu.shape[1]).astype(np.float32)


def generate(net: HybridBlock, z: Any, y: Any = None, *, pixels: str = "mean", seed: int | None = 0) -> np.ndarray:
    """Decode latent codes to images.

    See chapters 1, 6, 11 and 12.

    Parameters
    ----------
    net : HybridBlock
        A model that keeps the contract.
    z : (n, n_latent)
        Codes: draws from the prior (``prior_draws``), the nodes of ``latent_grid``, any other.
    y : (n,) or int, optional
        The digits to draw, one for each code or one for all, for a conditional model.
    pixels : {'mean', 'sample'}
        The mean of p(x|z), which is what pictures mostly show, or a draw from it, which is what the
        model says an image is: pixels 0 or 1 under a Bernoulli likelihood, noisy ones, not confined
        to [0, 1], under a Gaussian.
    seed : int, optional
        Seeds MXNet's global random generator if pixels are drawn, and leaves it moved on; None draws from it
        as it is.

    Returns
    -------
    (n, n_output)
        Means in [0, 1], or samples.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.

    Examples
    --------
    >>> net = gluon_vae.VAE(n_hidden=64, n_latent=2)
    >>> net.initialize()
    >>> gluon_vae.generate(net, gluon_vae.prior_draws(9, net.n_latent)).shape
    (9, 784)
    """
    inputs = _codes(net, z, y)
    if checks.one_of("pixels", pixels, PIXELS) == "mean":
        return in_batches(net.decoder, *inputs)
    logits = net.decoder.logits
    with seeded(seed):
        return in_batches(lambda *batch: net.likelihood.sample(logits(*batch)), *inputs, cost_of=logits)


def pixel_variance(net: HybridBlock, z: Any, y: Any = None) -> np.ndarray:
    """Compute the variance of each pixel under p(x|z).

    See chapter 12.

    Parameters
    ----------
    net : HybridBlock
        A model of this package.
    z : (n, n_latent)
        Codes.
    y : (n,) or int, optional
        Labels, one for each code or one for all, for a conditional model.

    Returns
    -------
    (n, n_output)
        In squared units of a pixel: p (1 - p) under a Bernoulli likelihood.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """
    inputs, logits = _codes(net, z, y), net.decoder.logits
    return in_batches(lambda *batch: net.likelihood.variance(logits(*batch)), *inputs, cost_of=logits)


def reconstruct(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Encode images and decode their posterior means.

    See chapter 1.

    Parameters
    ----------
    net : HybridBlock
        A model that keeps the contract.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model.

    Returns
    -------
    (n, n_output)
        Pixel means in [0, 1].

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """
    return generate(net, encode(net, x, y), y)


def prior_draws(n: int, n_latent: int, seed: int = 0) -> np.ndarray:
    """Draw codes from the prior N(0, I).

    Kept and handed to ``generate`` again, they make the pictures of two models comparable.
    See chapters 1, 6, 9 and 11.

    Parameters
    ----------
    n : int
        How many.
    n_latent : int
        Dimension of the latent z.
    seed : int
        The same seed gives the same codes.

    Returns
    -------
    (n, n_latent) float32

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """
    shape = (checks.positive_int("n", n), checks.positive_int("n_latent", n_latent))
    rng = np.random.default_rng(checks.non_negative_int("seed", seed))
    return rng.standard_normal(shape, dtype=np.float32)


def latent_grid(n: int = 20, n_sigma: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Lay an n x n grid over the 2-D latent plane, each step the same share of the prior.

    Without ``n_sigma`` the prior is cut into n * n cells of equal probability, and a node is the middle of its cell,
    at ``norm.ppf((i + 1/2) / n)``: every tile of a picture of them stands for as much of the prior as any other. With
    it the coordinates are ``norm.ppf`` of n equally spaced probabilities between those of -n_sigma and n_sigma: the
    outermost nodes show the rim, and take more room than it has probability. See chapter 1.

    Parameters
    ----------
    n : int
        Nodes along each axis.
    n_sigma : float, optional
        Where the outermost nodes lie, in standard deviations of the prior.

    Returns
    -------
    z : (n * n, 2) float32
        The nodes in reading order of a picture: the top row first, so the second coordinate falls.
    ticks : (n,)
        The coordinates along an axis, ascending.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """
    n, n_sigma = checks.positive_int("n", n), checks.optional(checks.positive_number)("n_sigma", n_sigma)
    # One half, and its mirror image: near 1, probabilities are too coarse.
    i = np.arange(n // 2)
    if n_sigma is None:
        lower = ndtri((i + 0.5) / n)
    elif n_sigma <= MAX_SIGMA:
        tail = ndtr(-n_sigma)
        lower = ndtri(tail + (1 - 2 * tail) * i / max(1, n - 1))
    else:
        raise ValueError(
            f"n_sigma must be at most {MAX_SIGMA}, beyond which a float64 has no probability, got {n_sigma}"
        )
    ticks = np.concatenate([lower, np.zeros(n % 2), -lower[::-1]])
    z1, z2 = np.meshgrid(ticks, ticks[::-1])
    return np.stack([z1.ravel(), z2.ravel()], axis=1).astype(np.float32), ticks


def _codes(net: HybridBlock, z: Any, y: Any) -> tuple[nd.NDArray, ...]:
    """Return what the decoder is called on: checked codes and, where it takes them, labels."""
    check_ready(net)
    z = checks.codes("z", z, net.n_latent, dtype_of(net))
    if y is not None and np.ndim(y) == 0:
        y = np.full(len(z), y)
    y = checks.labels("y", y, len(z), getattr(net, "n_classes", None))
    return to_device(net, *(array for array in (z, y) if array is not None))
