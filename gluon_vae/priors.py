"""Priors of the codes other than N(0, I), for a VAE that stays as it is: what they are, and mixtures of Gaussians."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from mxnet import autograd
from mxnet.gluon import HybridBlock

from . import checks
from .adam import Adam
from .arrays import to_device
from .generator import moved_on
from .latent import prior_draws
from .losses import LOG_2PI
from .rows import taken
from .run import Run

CHUNK = 200_000  # numbers that a density of a mixture keeps at once: they should fit into the processor's cache


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
    """A mixture of Gaussians: ``p(z) = sum_k w_k N(z; m_k, L_k L_k^T)``. See chapter 16.

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
        if self.factors.ndim == 3:
            self._inverses = np.linalg.inv(self.factors)
        else:
            # The exponent is linear in z and its squares: one product of matrices for all components.
            precision = 1 / self.factors**2
            self._constants -= 0.5 * (precision * self.means**2).sum(axis=1)
            self._slopes = np.concatenate([precision * self.means, -0.5 * precision], axis=1).T

    def log_pdf(self, z: Any) -> np.ndarray:
        """Return the log-density at codes (n, n_latent): (n,) float64, in nats."""
        z = checks.codes("z", z, self.n_latent).astype(np.float64)
        size = max(1, CHUNK // len(self.weights))
        return np.concatenate([_log_sum(self._joint(z[i : i + size])) for i in range(0, len(z), size)])

    def _joint(self, z: np.ndarray) -> np.ndarray:
        """Return log w_k N(z; ...), (n, k)."""
        if self.factors.ndim == 2:
            joint: np.ndarray = np.concatenate([z, z**2], axis=1) @ self._slopes
        else:
            noise = ((z - mean) @ inverse.T for mean, inverse in zip(self.means, self._inverses))
            joint = -0.5 * np.stack([(eps**2).sum(axis=1) for eps in noise], axis=1)
        joint += self._constants
        return joint

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32; the same seed gives the same ones."""
        rng = np.random.default_rng(checks.non_negative_int("seed", seed))
        k = rng.choice(len(self.weights), size=checks.positive_int("n", n), p=self.weights / self.weights.sum())
        eps = rng.standard_normal((n, self.n_latent))
        turned = self.factors[k] * eps if self.factors.ndim == 2 else np.einsum("nij,nj->ni", self.factors[k], eps)
        return (self.means[k] + turned).astype(np.float32)


def _log_sum(joint: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum of each row's exponentials, (n,), in place: a fraction of SciPy's time."""
    highest = joint.max(axis=1)
    joint -= highest[:, None]
    return np.log(np.exp(joint, out=joint).sum(axis=1)) + highest


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
        raise ValueError(f"codes must be at least {max(2, n_components)} with {n_components=}, got {len(codes)}")
    seed = checks.non_negative_int("seed", seed)
    with warnings.catch_warnings():
        # A hundred steps make a good prior, whether or not the last ones still gained something.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = GaussianMixture(n_components, random_state=seed).fit(codes)
    return Mixture(fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))


@moved_on()
def maximise_likelihood(block: HybridBlock, codes: np.ndarray, run: Run) -> None:
    """Train an initialised block, whose call on codes returns -log p(z), (batch,), on codes, (n, n_latent)."""
    data = to_device(block, codes)
    adam = Adam(block)
    for epoch in range(1, run.n_epochs + 1):
        adam.settle()
        for (batch,), rate, _ in run.batches(data, epoch):
            with autograd.record():
                loss = block(taken(batch))
            loss.backward()
            adam.step(rate, len(batch))
        adam.check()
        if not math.isfinite(float(loss.sum().asscalar())):
            raise FloatingPointError(f"the loss stopped being finite in epoch {epoch}")
