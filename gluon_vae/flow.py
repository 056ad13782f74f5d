"""A normalizing flow as a prior: an invertible network between codes and N(0, I), with an exact density."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

from . import checks
from .arrays import Array, dtype_of, in_batches, to_device
from .generator import moved_on
from .latent import prior_draws
from .layers import mlp
from .losses import LOG_2PI
from .priors import maximise_likelihood
from .run import Run
from .training import INITIALIZER

STRETCH = 2.0  # a coupling layer widens or narrows a coordinate by up to e to the power of this


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
    exact, d = codes.astype(np.float64), codes.shape[1]
    if len(codes) <= d or np.linalg.matrix_rank(exact - exact.mean(axis=0)) < d:
        raise ValueError(f"codes must be more than {d}, and vary in all {d} dimensions, got {checks.shown(codes)}")
    flow = Flow(exact.mean(axis=0), np.cov(exact.T).reshape(d, d), n_layers, n_hidden)
    flow.begin(run)
    flow.hybridize(static_alloc=True, static_shape=True)
    maximise_likelihood(flow, codes, run)
    return flow
