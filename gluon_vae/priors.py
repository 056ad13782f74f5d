"""Priors of the codes other than N(0, I), fitted to the codes of images by a VAE that stays as it is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from mxnet import autograd, nd
from mxnet.gluon import HybridBlock, nn

from . import checks
from .adam import Adam
from .arrays import Array, dtype_of, in_batches, to_device
from .contract import inputs_of
from .generator import moved_on
from .latent import posterior, posterior_draws, prior_draws
from .layers import mlp, sigmoid
from .run import Run
from .training import INITIALIZER

LOG_2PI = math.log(2 * math.pi)
CHUNK = 200_000  # numbers that a density of a mixture keeps at once: they should fit into the processor's cache
STRETCH = 2.0  # a coupling layer widens or narrows a coordinate by up to e to the power of this
MARGIN = 0.01  # how far inside of [0, 1] the pixels of pseudo-inputs begin


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


class StandardNormal:
    """N(0, I), which a VAE is trained with.

    Parameters
    ----------
    n_latent : int
        Dimension of the codes.

    Raises
    ------
    ValueError
        If it is no positive integer.
    """

    def __init__(self, n_latent: int) -> None:
        self.n_latent = checks.positive_int("n_latent", n_latent)

    def log_pdf(self, z: Any) -> np.ndarray:
        """Return the log-density at codes (n, n_latent): (n,) float64, in nats."""
        z = checks.codes("z", z, self.n_latent).astype(np.float64)
        return -0.5 * ((z**2).sum(axis=1) + self.n_latent * LOG_2PI)

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32: those of ``prior_draws``."""
        return prior_draws(n, self.n_latent, seed)


class Mixture:
    """A mixture of Gaussians: ``p(z) = sum_k w_k N(z; m_k, L_k L_k^T)``.

    Parameters
    ----------
    weights : (k,)
        Positive, with the sum 1.
    means : (k, n_latent)
        Of the components.
    factors : (k, n_latent) or (k, n_latent, n_latent)
        Their standard deviations, or lower Cholesky factors of their covariances.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, factors: ArrayLike) -> None:
        self.means = checks.finite_array("means", means)
        if self.means.ndim != 2:
            raise ValueError(f"means must have shape (k, n_latent), got {self.means.shape}")
        k, self.n_latent = self.means.shape
        self.weights = checks.finite_array("weights", weights, (k,))
        if self.weights.min() <= 0 or abs(self.weights.sum() - 1) > 1e-6:
            raise ValueError(f"weights must be positive with the sum 1, got {checks.shown(weights)}")
        self.factors = checks.finite_array("factors", factors)
        d = self.n_latent
        if self.factors.shape not in ((k, d), (k, d, d)):
            raise ValueError(f"factors must have shape {(k, d)} or {(k, d, d)}, got {self.factors.shape}")
        diagonal = self.factors if self.factors.ndim == 2 else np.diagonal(self.factors, axis1=1, axis2=2)
        if diagonal.min() <= 0 or (self.factors.ndim == 3 and np.triu(self.factors, 1).any()):
            raise ValueError("factors must be positive standard deviations, or lower triangular with such a diagonal")
        self._constants = np.log(self.weights) - np.log(diagonal).sum(axis=1) - 0.5 * d * LOG_2PI
        self._inverses = 1 / self.factors if self.factors.ndim == 2 else np.linalg.inv(self.factors)

    def log_pdf(self, z: Any) -> np.ndarray:
        """Return the log-density at codes (n, n_latent): (n,) float64, in nats."""
        z = checks.codes("z", z, self.n_latent).astype(np.float64)
        size = max(1, CHUNK // len(self.weights))
        return np.concatenate([logsumexp(self._joint(z[i : i + size]), axis=1) for i in range(0, len(z), size)])

    def _joint(self, z: np.ndarray) -> np.ndarray:
        """Return log w_k N(z; ...), (n, k)."""
        if self.factors.ndim == 3:
            noise = ((z - mean) @ inverse.T for mean, inverse in zip(self.means, self._inverses))
            squares = np.stack([(eps**2).sum(axis=1) for eps in noise], axis=1)
        else:
            precision = self._inverses**2
            ends = (precision * self.means**2).sum(axis=1)
            squares = z**2 @ precision.T - 2 * z @ (precision * self.means).T + ends
        return self._constants - 0.5 * squares

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32; the same seed gives the same ones."""
        rng = np.random.default_rng(checks.non_negative_int("seed", seed))
        k = rng.choice(len(self.weights), size=checks.positive_int("n", n), p=self.weights / self.weights.sum())
        eps = rng.standard_normal((n, self.n_latent))
        turned = self.factors[k] * eps if self.factors.ndim == 2 else np.einsum("nij,nj->ni", self.factors[k], eps)
        return (self.means[k] + turned).astype(np.float32)


def fit_mixture(codes: Any, n_components: int = 1, *, seed: int = 0) -> Mixture:
    """Fit a mixture of Gaussians with full covariances to codes, by the EM algorithm.

    With one component it is the Gaussian of their mean and covariance. See chapter 16.

    Parameters
    ----------
    codes : (n, n_latent)
        Draws from the encoder's posteriors (``posterior_draws``): those of means would miss their widths.
    n_components : int
        Gaussians, at most n.
    seed : int
        Of the start.

    Returns
    -------
    Mixture

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """
    codes = checks.codes("codes", codes).astype(np.float64)
    n_components = checks.positive_int("n_components", n_components)
    if n_components > len(codes) or len(codes) < 2:
        raise ValueError(f"codes must be at least {max(2, n_components)} for {n_components}, got {len(codes)}")
    seed = checks.non_negative_int("seed", seed)
    with warnings.catch_warnings():
        # A hundred steps make a good prior, whether or not the last ones still gained something.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = GaussianMixture(n_components, random_state=seed).fit(codes)
    return Mixture(fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))


class VampPrior(Mixture):
    """The encoder's answers to some images, mixed: ``p(z) = sum_k w_k q(z|u_k)`` (Tomczak and Welling 2018).

    With all training images for u it is the aggregate posterior, the average of all q(z|x) (arXiv 1705.07120).
    See chapter 16.

    Parameters
    ----------
    net : HybridBlock
        A VAE without labels.
    images : (k, n_output)
        The pseudo-inputs u, pixels in [0, 1].
    weights : (k,), optional
        Positive, with the sum 1; equal ones if not given.

    Attributes
    ----------
    images : (k, n_output)
        As given.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """

    def __init__(self, net: HybridBlock, images: Any, weights: ArrayLike | None = None) -> None:
        mu, log_var = posterior(net, images)
        super().__init__(np.full(len(mu), 1 / len(mu)) if weights is None else weights, mu, np.exp(0.5 * log_var))
        self.images = images


class _Pseudo(HybridBlock):
    """Pseudo-inputs and weights to train; calling it on codes gives -log p(z), (batch,), under their VampPrior."""

    def __init__(self, net: HybridBlock, images: np.ndarray) -> None:
        super().__init__()
        self.n_latent = net.n_latent
        # In a function, since the parameters of a child would be trained.
        self.encode: Callable[[Array], Array] = lambda images: net.encoder(images)
        with self.name_scope():
            self.logits = self.params.get("logits", shape=images.shape, dtype=dtype_of(net))
            self.weights = self.params.get("weights", shape=(1, len(images)), init="zeros", dtype=dtype_of(net))

    def hybrid_forward(self, F: ModuleType, z: Array, logits: Array, weights: Array) -> Array:
        mu, log_var = F.split(self.encode(sigmoid(F, logits)), num_outputs=2, axis=1)
        precision = F.exp(-log_var)
        ends = F.sum(precision * F.square(mu) + log_var, axis=1)
        squares = F.dot(F.square(z), precision, transpose_b=True) - 2 * F.dot(z, precision * mu, transpose_b=True)
        joint = F.log_softmax(weights) - 0.5 * F.expand_dims(ends, 0)
        joint = F.broadcast_add(joint, -0.5 * squares)
        highest = F.max(joint, axis=1, keepdims=True)
        log_sum = F.log(F.sum(F.exp(F.broadcast_sub(joint, highest)), axis=1)) + F.reshape(highest, shape=(-1,))
        return 0.5 * self.n_latent * LOG_2PI - log_sum


def fit_vamp_prior(
    net: HybridBlock,
    x: Any,
    n_components: int = 100,
    *,
    n_draws: int = 2,
    n_epochs: int = 20,
    batch_size: int = 200,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> VampPrior:
    """Train pseudo-inputs and their weights for the likelihood of the codes of images, the VAE untouched.

    They begin as some of the images. In the paper they are trained together with the VAE. See chapter 16.

    Parameters
    ----------
    net : HybridBlock
        A VAE without labels.
    x : (n, n_output)
        Images whose codes the prior is to explain, pixels in [0, 1].
    n_components : int
        Pseudo-inputs, at most n.
    n_draws : int
        Codes drawn from q(z|x) for each image.
    n_epochs, batch_size, learning_rate, seed
        Of the training, as ``fit`` has them.

    Returns
    -------
    VampPrior

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    FloatingPointError
        If the loss stops being finite.
    """
    run = Run(n_epochs=n_epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    codes = posterior_draws(net, x, n_samples=checks.positive_int("n_draws", n_draws), seed=run.seed)
    n_components = checks.positive_int("n_components", n_components)
    (images,) = inputs_of(net, x)
    if n_components > len(images):
        raise ValueError(f"n_components must be at most the number of images, {len(images)}, got {n_components}")
    start = images.asnumpy()[np.random.default_rng(seed).choice(len(images), n_components, replace=False)]
    start = start.clip(MARGIN, 1 - MARGIN)
    pseudo = _Pseudo(net, start)
    pseudo.initialize(ctx=images.context)
    pseudo.logits.set_data(nd.array(np.log(start / (1 - start)), dtype=start.dtype))
    _train(pseudo, codes, run)
    weights = softmax(pseudo.weights.data().asnumpy()[0].astype(np.float64))
    return VampPrior(net, sigmoid(nd, pseudo.logits.data()).asnumpy(), weights)


class Coupling(HybridBlock):
    """One layer of a flow: some coordinates stay, and say by how much each of the others is moved and stretched.

    Calling it on z, (batch, n_latent), returns ``u = z * exp(s) + t`` and the logarithm of the Jacobian's
    determinant, (batch,), which is the sum of s; s and t are 0 for coordinates that stay, and depend on these
    alone (Dinh et al. 2017, arXiv 1605.08803, equations 4 to 9).

    Parameters
    ----------
    stays : (n_latent,)
        1 for coordinates that stay, 0 for the others.
    n_hidden : int
        Units of the two hidden layers of the network that s and t come from.
    """

    def __init__(self, stays: np.ndarray, n_hidden: int, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        d = len(stays)
        with self.name_scope():
            self.network = mlp(d, n_hidden, 2, 2 * d, "tanh")
            self.stays = self.params.get_constant("stays", nd.array(stays[None]))

    def hybrid_forward(self, F: ModuleType, z: Array, stays: Array) -> tuple[Array, Array]:
        s, t = self._change(F, z, stays)
        return z * F.exp(s) + t, F.sum(s, axis=1)

    def inverse(self, u: nd.NDArray) -> nd.NDArray:
        """Return the z, (batch, n_latent), that the layer maps to u."""
        s, t = self._change(nd, u, self.stays.data(u.context))
        return (u - t) * nd.exp(-s)

    def _change(self, F: ModuleType, z: Array, stays: Array) -> tuple[Array, Array]:
        s, t = F.split(self.network(F.broadcast_mul(z, stays)), num_outputs=2, axis=1)
        moves = 1 - stays
        return F.broadcast_mul(STRETCH * F.tanh(s), moves), F.broadcast_mul(t, moves)


class Flow(HybridBlock):
    """A normalizing flow, RealNVP: coupling layers from codes to N(0, I), with an exact density.

    Calling it on z, (batch, n_latent), returns ``-log p(z)``, (batch,), in nats. It begins as the Gaussian with the
    given mean and covariance (Dinh et al. 2017, arXiv 1605.08803). See chapter 16.

    Parameters
    ----------
    mean : (n_latent,)
        Of the Gaussian.
    covariance : (n_latent, n_latent)
        Symmetric positive definite.
    n_layers : int
        Coupling layers.
    n_hidden : int
        Units of the hidden layers of each.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    """

    def __init__(
        self,
        mean: ArrayLike,
        covariance: ArrayLike,
        n_layers: int = 8,
        n_hidden: int = 64,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        mean = checks.finite_array("mean", mean)
        if mean.ndim != 1:
            raise ValueError(f"mean must be a vector of shape (n_latent,), got shape {mean.shape}")
        d = self.n_latent = len(mean)
        covariance = checks.finite_array("covariance", covariance, (d, d))
        n_layers, n_hidden = checks.positive_int("n_layers", n_layers), checks.positive_int("n_hidden", n_hidden)
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            raise ValueError("covariance must be positive definite") from None
        self._mean, self._factor = mean, factor
        with self.name_scope():
            self.center = self.params.get_constant("center", nd.array(mean[None]))
            self.whitening = self.params.get_constant("whitening", nd.array(np.linalg.inv(factor).T))
            self.layers = nn.HybridSequential()
            for _, stays in zip(range(n_layers), halves(d)):
                self.layers.add(Coupling(stays, n_hidden))

    def hybrid_forward(self, F: ModuleType, z: Array, center: Array, whitening: Array) -> Array:
        u = F.dot(F.broadcast_sub(z, center), whitening)
        log_det = -float(np.log(np.diag(self._factor)).sum())
        for layer in self.layers:
            u, change = layer(u)
            log_det = log_det + change
        return 0.5 * F.sum(F.square(u), axis=1) + 0.5 * self.n_latent * LOG_2PI - log_det

    @moved_on()
    def begin(self, run: Run) -> None:
        """Initialise the parameters, such that the flow is the Gaussian that it was given."""
        run.seed_epoch(0)
        self.initialize(INITIALIZER)
        for layer in self.layers:
            layer.network[-1].weight.set_data(nd.zeros_like(layer.network[-1].weight.data()))

    def log_pdf(self, z: Any) -> np.ndarray:
        """Return the log-density at codes (n, n_latent): (n,) float64, in nats."""
        z = checks.codes("z", z, self.n_latent, dtype_of(self))
        return -in_batches(self, *to_device(self, z)).astype(np.float64)

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32; the same seed gives the same ones."""
        (noise,) = to_device(self, prior_draws(n, self.n_latent, seed))
        whitened = in_batches(self._inverse, noise, cost_of=self)
        return (self._mean + whitened @ self._factor.T).astype(np.float32)

    def _inverse(self, u: nd.NDArray) -> nd.NDArray:
        for layer in reversed(list(self.layers)):
            u = layer.inverse(u)
        return u


def halves(n_latent: int) -> Iterator[np.ndarray]:
    """Yield without end which coordinates stay, (n_latent,): one half, the other half, then halves cut elsewhere.

    By the binary digits of their numbers, so that any two coordinates are told apart by some cut.
    """
    numbers, digits = np.arange(n_latent), max(1, (n_latent - 1).bit_length())
    for i in count():
        yield ((numbers >> (i // 2 % digits)) + i) % 2


def fit_flow(
    codes: Any,
    *,
    n_layers: int = 8,
    n_hidden: int = 64,
    n_epochs: int = 20,
    batch_size: int = 200,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> Flow:
    """Train a flow for the likelihood of codes, beginning as the Gaussian of their mean and covariance.

    See chapter 16.

    Parameters
    ----------
    codes : (n, n_latent)
        Draws from the encoder's posteriors (``posterior_draws``).
    n_layers, n_hidden : int
        Of the ``Flow``.
    n_epochs, batch_size, learning_rate, seed
        Of the training, as ``fit`` has them.

    Returns
    -------
    Flow

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.
    FloatingPointError
        If the loss stops being finite.
    """
    run = Run(n_epochs=n_epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    codes = checks.codes("codes", codes, dtype=np.float32)
    if len(codes) <= codes.shape[1]:
        raise ValueError(f"codes must be more than their {codes.shape[1]} dimensions, got {len(codes)}")
    covariance = np.cov(codes.astype(np.float64).T).reshape(codes.shape[1], -1)
    flow = Flow(codes.mean(axis=0, dtype=np.float64), covariance, n_layers, n_hidden)
    flow.begin(run)
    flow.hybridize(static_alloc=True, static_shape=True)
    _train(flow, codes, run)
    return flow


@moved_on()
def _train(block: HybridBlock, codes: np.ndarray, run: Run) -> None:
    """Minimise the mean of what an initialised block returns for codes."""
    data = to_device(block, codes)
    adam = Adam(block)
    for epoch in range(1, run.n_epochs + 1):
        adam.settle()
        for (batch,), rate in run.batches(data, epoch):
            with autograd.record():
                loss = block(batch)
            loss.backward()
            adam.step(rate, len(batch))
        adam.check()
        if not math.isfinite(float(loss.sum().asscalar())):
            raise FloatingPointError(f"the loss stopped being finite in epoch {epoch}")
