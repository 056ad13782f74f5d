"""How well a model explains images: its ELBO, log p(x) and what each latent dimension carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks, streams
from .arrays import batches, rows_per_call, to_device
from .contract import Prior, inputs_of, terms, unchecked
from .generator import seeded
from .latent import encode, posterior

DECODED, MAX_DRAWS = 5000, 500  # codes decoded at once, if they fit in memory, and how many of one image


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


def loss_terms(net: HybridBlock, *inputs: nd.NDArray, batch_size: int | None = None) -> dict[str, np.ndarray]:
    """Evaluate the loss and its terms on every image, z sampled once from MXNet's generator.

    Parameters
    ----------
    net : HybridBlock
        A model that keeps the contract.
    inputs : NDArrays
        Checked images, (n, n_output), on the model's device, and labels, (n,), where it takes them.

    Returns
    -------
    dict
        ``loss`` and those of its terms that the model has, (n,) float64, nats per image.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for batch in batches(inputs, batch_size or rows_per_call(net, inputs)):
        for name, value in terms(net, net(*batch)).items():
            parts.setdefault(name, []).append(value.asnumpy())
    return {name: np.concatenate(values).astype(np.float64) for name, values in parts.items()}


def elbo(
    net: HybridBlock,
    x: Any,
    y: Any = None,
    *,
    n_samples: int = 1,
    seed: int | None = 0,
    prior: Prior | None = None,
) -> Estimate:
    """Estimate the ELBO of each image with z drawn from the posterior, never z = mu.

    E_q[log p(x|z)] - KL(q(z|x) || p(z)) (Kingma and Welling 2014, equation 7): a lower bound of
    log p(x); higher is better. The KL counts once, whatever weight ``beta`` the training gave it.
    See chapters 1, 2, 3, 8 and 9.

    Parameters
    ----------
    net : HybridBlock
        A model whose loss is the negative ELBO.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model, which then gives a bound of log p(x|y); a ``SemiSupervisedVAE`` of
        log p(x, y), or of log p(x) where the label is -1.
    n_samples : int
        Evaluations per image that are averaged, each with fresh draws of z.
    seed : int, optional
        Seeds MXNet's global random generator for the call, which leaves it moved on; None draws from it as it is.
    prior : Prior, optional
        The p(z) of the bound, one of ``priors`` for instance, if it is not N(0, I). Its KL is averaged over the same
        draws: ``log q(z|x) - log p(z)``. Not for a ``SemiSupervisedVAE``, whose label is a latent too.

    Returns
    -------
    Estimate
        Mean and standard error over the images, and the n values, in nats per image.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model has no KL and hence no ELBO.

    Examples
    --------
    >>> net = gluon_vae.VAE(n_hidden=64)
    >>> net.initialize()
    >>> bound = gluon_vae.elbo(net, gluon_vae.load_mnist().x_test)
    >>> bound.per_image.shape, bound.mean < 0
    ((1000,), True)
    """
    inputs = inputs_of(net, x, y, missing=True)
    n_samples = checks.positive_int("n_samples", n_samples)
    if prior is not None:
        check_vae(net, prior)
        if getattr(net, "takes_missing_labels", False):
            raise ValueError(f"prior must be None for a {type(net).__name__}, whose label has a prior as well")
        with seeded(seed):
            return Estimate.of(np.concatenate([w.mean(axis=0) for w in log_weights(net, inputs, n_samples, prior)]))
    draws = []
    batch_size = rows_per_call(net, inputs)
    with unchecked(net), seeded(seed):
        for _ in range(n_samples):
            values = loss_terms(net, *inputs, batch_size=batch_size)
            if "kl" not in values:
                raise ValueError(f"net must be a VAE, got {type(net).__name__}, which has no KL and no ELBO")
            draws.append(-(values["nll"] + values["kl"]))
    return Estimate.of(np.mean(draws, axis=0))


def log_likelihood(
    net: HybridBlock,
    x: Any,
    y: Any = None,
    *,
    n_samples: int = 1000,
    seed: int | None = 0,
    progress: bool = True,
    prior: Prior | None = None,
) -> Estimate:
    """Estimate log p(x) of each image by importance sampling from the posterior q(z|x).

    ``log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)`` with K = ``n_samples`` (Burda et al. 2016, arXiv
    1509.00519, equation 8). Its expectation is a lower bound of log p(x) that rises with K: the
    ELBO at K = 1, log p(x) in the limit. See chapters 2, 6 and 8.

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
    seed : int, optional
        Seeds MXNet's global random generator for the call, which leaves it moved on; None draws from it as it is.
    progress : bool
        Show a bar over the images.
    prior : Prior, optional
        p(z), one of ``priors`` for instance, if it is not N(0, I).

    Returns
    -------
    Estimate
        Mean and standard error over the images, and the n values, in nats per image.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is no VAE.
    """
    inputs = inputs_of(net, x, y)
    check_vae(net, prior)
    n_samples = checks.positive_int("n_samples", n_samples)
    values = []
    bar = streams.bar(shown=progress, total=len(inputs[0]), desc="log p(x)", unit="image")
    with seeded(seed), bar:
        for weights in log_weights(net, inputs, n_samples, prior):
            values.append(logsumexp(weights, axis=0) - np.log(n_samples))
            bar.update(weights.shape[1])
    return Estimate.of(np.concatenate(values))


def check_vae(net: HybridBlock, prior: Prior | None) -> None:
    """Refuse a model that is no VAE, and a prior that is not one of its codes."""
    if not hasattr(net, "nll_given"):
        raise ValueError(f"net must be a VAE with nll_given(x, z), got {type(net).__name__}")
    if prior is not None and (not hasattr(prior, "log_pdf") or getattr(prior, "n_latent", None) != net.n_latent):
        raise ValueError(f"prior must have log_pdf(z), and n_latent = {net.n_latent}, got {checks.shown(prior)}")


def log_weights(
    net: HybridBlock, inputs: Sequence[nd.NDArray], n_samples: int, prior: Prior | None
) -> Iterator[np.ndarray]:
    """Yield log p(x|z) + log p(z) - log q(z|x) at draws of z, (n_samples, batch) float64, a batch at a time."""
    # Memory is bounded by how many codes are decoded at a time: a few draws of many images, or many
    # draws of a few.
    code = nd.zeros((1, net.n_latent), ctx=inputs[0].context, dtype=inputs[0].dtype)
    decoded = rows_per_call(net.decoder.logits, (code, *inputs[1:]), DECODED)
    chunk = min(n_samples, MAX_DRAWS, decoded)
    for batch in batches(inputs, max(1, decoded // chunk)):
        sizes = (min(chunk, n_samples - k) for k in range(0, n_samples, chunk))
        yield np.concatenate([_log_weights_of_batch(net, *batch, n_samples=size, prior=prior) for size in sizes])


def _log_weights_of_batch(
    net: HybridBlock, x: nd.NDArray, *condition: nd.NDArray, n_samples: int, prior: Prior | None
) -> np.ndarray:
    mu, log_var = net.encoder(x, *condition).split(num_outputs=2, axis=1)
    tile = (n_samples, 1)
    eps = nd.random.normal(shape=(n_samples * len(x), net.n_latent), ctx=x.context, dtype=x.dtype)
    z = nd.tile(mu, tile) + nd.tile((0.5 * log_var).exp(), tile) * eps
    # The constants of two Gaussians cancel.
    square = eps**2 - z**2 if prior is None else eps**2
    ratio = 0.5 * (square + nd.tile(log_var, tile)).sum(axis=1)
    log_weights = ratio - net.nll_given(nd.tile(x, tile), z, *(nd.tile(y, (n_samples,)) for y in condition))
    result: np.ndarray = log_weights.asnumpy().astype(np.float64)
    if prior is not None:
        result += prior.log_pdf(z) + 0.5 * net.n_latent * np.log(2 * np.pi)
    return result.reshape(n_samples, len(x))


def kl_per_dimension(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Average over images the KL of each latent dimension from the prior.

    Their sum is the mean KL of the loss. A dimension near 0 carries nothing: it has collapsed. See chapters 9 and 15.

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
    (n_latent,)
        Nats per image.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is no VAE.
    """
    mu, log_var = posterior(net, x, y)
    return 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).mean(axis=0)


def active_units(net: HybridBlock, x: Any, y: Any = None, *, threshold: float = 0.01) -> np.ndarray:
    """Tell which latent dimensions follow the image.

    Those whose posterior mean has a variance over the images above ``threshold`` (Burda et al. 2016,
    section 5.2, who use 0.01). See chapters 9 and 15.

    Parameters
    ----------
    net : HybridBlock
        A VAE.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model.
    threshold : float
        In squared units of the latent.

    Returns
    -------
    (n_latent,) bool

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is no VAE.
    """
    checks.positive_number("threshold", threshold)
    mu, _ = posterior(net, x, y)
    return mu.var(axis=0) > threshold


def reconstruction_nll(net: HybridBlock, x: Any, y: Any = None) -> np.ndarray:
    """Compute -log p(x|z) of each image at the mean of its posterior, or its code: of what ``reconstruct`` draws.

    Lower than the NLL of the ELBO, whose z is drawn: on its own it is no bound of anything.

    Parameters
    ----------
    net : HybridBlock
        A model of this package.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, for a conditional model.

    Returns
    -------
    (n,) float64
        Nats per image.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    images, *labels = inputs_of(net, x, y)
    given = to_device(net, encode(net, x, y)) + tuple(labels)
    parts = []
    for batch, *codes in batches((images, *given), rows_per_call(net.decoder.logits, given)):
        parts.append(net.likelihood(net.decoder.logits(*codes), batch).asnumpy())
    return np.concatenate(parts).astype(np.float64)
