"""What a trained model knows: its ELBO, codes, reconstructions and samples, as NumPy arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock
from scipy.special import logsumexp
from scipy.stats import norm
from tqdm import tqdm

from . import checks
from .contract import batches, labels_for, terms, to_device, unchecked

BATCH_SIZE = 1000
DECODED, MAX_DRAWS = 5000, 500
PIXELS = ("mean", "sample")


class Estimate(NamedTuple):
    """A mean over images with its standard error, and the values it is the mean of, in nats."""

    mean: float
    standard_error: float
    per_image: np.ndarray

    @classmethod
    def of(cls, per_image: np.ndarray) -> Estimate:
        """Summarise values of shape (n,); a single one has no standard error (NaN)."""
        n = len(per_image)
        error = per_image.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        return cls(float(per_image.mean()), float(error), per_image)

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.standard_error:.1f}"


def loss_terms(net: HybridBlock, *inputs: nd.NDArray, batch_size: int = BATCH_SIZE) -> dict[str, np.ndarray]:
    """Evaluate the loss and its terms on every image, z sampled once from MXNet's generator.

    Parameters
    ----------
    net : HybridBlock
        A model that keeps the contract.
    inputs : NDArrays
        Checked images, (n, n_output), on the model's device, and labels, (n,), where it takes them.
    batch_size : int
        Images per call.

    Returns
    -------
    dict
        ``loss`` and those of its terms that the model has, (n,) float64, nats per image.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for batch in batches(inputs, batch_size):
        for name, value in terms(net, net(*batch)).items():
            parts.setdefault(name, []).append(value.asnumpy())
    return {name: np.concatenate(values).astype(np.float64) for name, values in parts.items()}


def elbo(net: HybridBlock, x: Any, y: Any = None, *, n_samples: int = 1, seed: int = 0) -> Estimate:
    """Estimate the ELBO of each image with z drawn from the posterior, never z = mu.

    E_q[log p(x|z)] - KL(q(z|x) || p(z)) (Kingma and Welling 2014, equation 7): a lower bound of
    log p(x); higher is better. The KL counts once, whatever weight ``beta`` the training gave it.

    Parameters
    ----------
    net : HybridBlock
        A model whose loss is the negative ELBO.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model, which then gives a bound of log p(x|y).
    n_samples : int
        Evaluations per image that are averaged, each with fresh draws of z.
    seed : int
        Seeds MXNet's global random generator.

    Returns
    -------
    Estimate
        Mean and standard error over the images, and the n values, in nats per image.

    Raises
    ------
    ValueError
        If an argument is not of the form above, or the model has no KL and hence no ELBO.
    """
    inputs = _inputs(net, x, y)
    checks.positive_int("n_samples", n_samples)
    mx.random.seed(checks.non_negative_int("seed", seed))
    surplus = getattr(net, "beta", 1.0) - 1
    draws = []
    with unchecked(net):
        for _ in range(n_samples):
            values = loss_terms(net, *inputs)
            if "kl" not in values:
                raise ValueError(f"net must be a VAE, got {type(net).__name__}, which has no KL and no ELBO")
            draws.append(surplus * values["kl"] - values["loss"])
    return Estimate.of(np.mean(draws, axis=0))


def log_likelihood(
    net: HybridBlock, x: Any, y: Any = None, *, n_samples: int = 1000, seed: int = 0, progress: bool = True
) -> Estimate:
    """Estimate log p(x) of each image by importance sampling from the posterior q(z|x).

    ``log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)`` with K = ``n_samples`` (Burda et al. 2016, arXiv
    1509.00519, equation 8). Its expectation is a lower bound of log p(x) that rises with K: the
    ELBO at K = 1, log p(x) in the limit.

    Parameters
    ----------
    net : HybridBlock
        A VAE.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model: the estimate is then of log p(x|y).
    n_samples : int
        Draws of z per image.
    seed : int
        Seeds MXNet's global random generator.
    progress : bool
        Show a bar over the images.

    Returns
    -------
    Estimate
        Mean and standard error over the images, and the n values, in nats per image.

    Raises
    ------
    ValueError
        If an argument is not of the form above.
    """
    if not hasattr(net, "nll_given"):
        raise ValueError(f"net must be a VAE with nll_given(x, z), got {type(net).__name__}")
    inputs = _inputs(net, x, y)
    n_samples = checks.positive_int("n_samples", n_samples)
    mx.random.seed(checks.non_negative_int("seed", seed))
    # Memory is bounded by decoding at most DECODED codes at a time: a few draws of many images,
    # or many draws of a few.
    chunk = min(n_samples, MAX_DRAWS)
    values = []
    with tqdm(
        total=len(inputs[0]), desc="log p(x)", unit="image", disable=not progress, leave=sys.stderr.isatty()
    ) as bar:
        for batch in batches(inputs, max(1, DECODED // chunk)):
            parts = [
                _log_weights(net, *batch, n_samples=min(chunk, n_samples - k)) for k in range(0, n_samples, chunk)
            ]
            values.append(logsumexp(np.concatenate(parts), axis=0) - np.log(n_samples))
            bar.update(len(batch[0]))
    return Estimate.of(np.concatenate(values))


def _log_weights(net: HybridBlock, x: nd.NDArray, *condition: nd.NDArray, n_samples: int) -> np.ndarray:
    """Draw codes of a batch; return log p(x|z) + log p(z) - log q(z|x), (n_samples, batch) float64."""
    mu, log_var = net.encoder(x, *condition).split(num_outputs=2, axis=1)
    tile = (n_samples, 1)
    eps = nd.random.normal(shape=(n_samples * len(x), net.n_latent), ctx=x.context, dtype=x.dtype)
    z = nd.tile(mu, tile) + nd.tile((0.5 * log_var).exp(), tile) * eps
    # The constants of the two Gaussians cancel.
    ratio = 0.5 * (eps**2 - z**2 + nd.tile(log_var, tile)).sum(axis=1)
    log_weights = ratio - net.nll_given(nd.tile(x, tile), z, *(nd.tile(y, (n_samples,)) for y in condition))
    return log_weights.asnumpy().astype(np.float64).reshape(n_samples, len(x))


def kl_per_dimension(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Average over images the KL of each latent dimension from the prior, (n_latent,) nats.

    Their sum is the mean KL of the loss. A dimension near 0 carries nothing: it has collapsed.
    """
    mu, log_var = _posterior(net, x, y)
    return 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).mean(axis=0)


def active_units(net: HybridBlock, x: Any, y: Any = None, *, threshold: float = 0.01) -> np.ndarray:
    """Tell which latent dimensions follow the image, (n_latent,) bool.

    Those whose posterior mean has a variance over the images above ``threshold`` (Burda et al. 2016,
    section 5.2, who use 0.01).
    """
    checks.positive_number("threshold", threshold)
    mu, _ = _posterior(net, x, y)
    return mu.var(axis=0) > threshold


def _posterior(net: HybridBlock, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    encoded = _in_batches(net.encoder, *_inputs(net, x, y)).astype(np.float64)
    if encoded.shape[1] != 2 * net.n_latent:
        raise ValueError(f"net must be a VAE, got {type(net).__name__}, whose encoder gives no variance")
    mu, log_var = np.split(encoded, 2, axis=1)
    return mu, log_var


def encode(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Map images to posterior means, or to the codes of a plain autoencoder.

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
    """
    return _in_batches(net.encoder, *_inputs(net, x, y))[:, : net.n_latent].copy()


def generate(net: HybridBlock, z: Any, y: Any = None, *, pixels: str = "mean", seed: int = 0) -> np.ndarray:
    """Decode latent codes to images.

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
    seed : int
        Seeds MXNet's global random generator if pixels are drawn.

    Returns
    -------
    (n, n_output)
        Means in [0, 1], or samples.
    """
    inputs = _codes(net, z, y)
    if checks.one_of("pixels", pixels, PIXELS) == "mean":
        return _in_batches(net.decoder, *inputs)
    mx.random.seed(checks.non_negative_int("seed", seed))
    return _in_batches(lambda *batch: net.likelihood.sample(net.decoder.logits(*batch)), *inputs)


def pixel_variance(net: HybridBlock, z: Any, y: Any = None) -> np.ndarray:
    """Variance of each pixel under p(x|z), (n, n_latent) to (n, n_output), in squared units of a pixel."""
    logits = net.decoder.logits
    return _in_batches(lambda *batch: net.likelihood.variance(logits(*batch)), *_codes(net, z, y))


def reconstruct(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Decode the posterior means of images, (n, n_output) to (n, n_output)."""
    return generate(net, encode(net, x, y), y)


def prior_draws(n: int, n_latent: int, seed: int = 0) -> np.ndarray:
    """Draw ``n`` codes from the prior N(0, I), (n, n_latent) float32.

    Kept and handed to ``generate`` again, they make the pictures of two models comparable.
    """
    shape = (checks.positive_int("n", n), checks.positive_int("n_latent", n_latent))
    rng = np.random.default_rng(checks.non_negative_int("seed", seed))
    return rng.standard_normal(shape, dtype=np.float32)


def latent_grid(n: int = 20, n_sigma: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Lay an n x n grid over the 2-D latent plane, each step the same share of the prior.

    The coordinates are ``norm.ppf`` of n equally spaced probabilities between those of -n_sigma and
    n_sigma, so that the nodes lie as densely as the prior's mass.

    Parameters
    ----------
    n : int
        Nodes along each axis.
    n_sigma : float
        Where the outermost nodes lie, in standard deviations of the prior.

    Returns
    -------
    z : (n * n, 2) float32
        The nodes in reading order of a picture: the top row first, so the second coordinate falls.
    ticks : (n,)
        The coordinates along an axis, ascending.
    """
    checks.positive_int("n", n)
    checks.positive_number("n_sigma", n_sigma)
    ticks = norm.ppf(np.linspace(norm.cdf(-n_sigma), norm.cdf(n_sigma), n))
    z1, z2 = np.meshgrid(ticks, ticks[::-1])
    return np.stack([z1.ravel(), z2.ravel()], axis=1).astype(np.float32), ticks


def _inputs(net: HybridBlock, x: Any, y: Any) -> tuple[nd.NDArray, ...]:
    """Return what the model is called on: checked images and, where it takes them, labels."""
    x = to_device(net, checks.images("x", x, net.n_output))
    return (x, *labels_for(net, y, len(x)))


def _codes(net: HybridBlock, z: Any, y: Any) -> tuple[nd.NDArray, ...]:
    """Return what the decoder is called on: checked codes and, where it takes them, labels."""
    z = to_device(net, checks.codes("z", z, net.n_latent))
    if y is not None and np.ndim(y) == 0:
        y = np.full(len(z), y)
    return (z, *labels_for(net, y, len(z)))


def _in_batches(function: Callable[..., nd.NDArray], *inputs: nd.NDArray) -> np.ndarray:
    outputs = [function(*batch) for batch in batches(inputs, BATCH_SIZE)]  # queued, not waited for
    result = np.empty((len(inputs[0]), *outputs[0].shape[1:]), outputs[0].dtype)
    # Queued as well: each part is copied once, as soon as it is computed. The view is made read-only, not the result.
    shared = nd.from_numpy(result.view())
    for output, (rows,) in zip(outputs, batches([shared], BATCH_SIZE)):
        output.copyto(rows)
    shared.wait_to_read()
    return result
