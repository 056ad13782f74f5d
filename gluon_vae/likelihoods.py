"""What the decoder's logits say of an image: p(x|z)."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import Array
from .layers import sigmoid
from .losses import bernoulli_nll, gaussian_nll

LIKELIHOODS = ("bernoulli", "gaussian")
LEARNED = ("learned", "per-pixel")
MIN_STD = 0.05  # of pixels whose variance is learned
# The variance that a learned one starts from: about that of all pixels of grey MNIST.
START_VARIANCE = 0.1
# Adam moves every parameter by about the learning rate a step; a single one has no others to help it along.
GAIN = 10


class Bernoulli(HybridBlock):
    """Independent Bernoulli pixels: a logit each.

    Calling it maps logits and images, (batch, n_output) each, to the negative log-likelihood,
    (batch,) nats per image. See chapter 12.
    """

    n_maps = 1  # columns of logits per pixel
    config = {"likelihood": "bernoulli"}  # noqa: RUF012

    def hybrid_forward(self, F: ModuleType, logits: Array, x: Array) -> Array:
        return bernoulli_nll(F, logits, x)

    def variance(self, logits: nd.NDArray) -> nd.NDArray:
        """Return p (1 - p), (batch, n_output)."""
        p = sigmoid(nd, logits)
        return p * (1 - p)

    def sample(self, logits: nd.NDArray) -> nd.NDArray:
        """Draw images, pixels 0 or 1."""
        return nd.random.uniform(shape=logits.shape, ctx=logits.context, dtype=logits.dtype) < sigmoid(nd, logits)


class Gaussian(HybridBlock):
    """Independent Gaussian pixels with mean sigmoid(logits).

    Calling it maps logits and images to the negative log-density, (batch,) nats per image, with all
    constants. A learned variance stays above ``min_std ** 2``: where pixels never vary, the density
    has no upper bound. See chapters 2 and 12.

    Parameters
    ----------
    n_output : int
        Pixels of an image.
    variance : float or {'learned', 'per-pixel'}
        The variance of every pixel: as given; one parameter, learned; or a network output for each
        pixel, for which ``n_output`` more columns of logits follow.
    min_std : float
        The least standard deviation that is learned, in units of pixel values.
    """

    def __init__(
        self, n_output: int, variance: float | str, min_std: float = MIN_STD, prefix: str | None = None
    ) -> None:
        super().__init__(prefix=prefix)
        self.config = {"likelihood": "gaussian", "variance": variance, "min_std": min_std}
        self._n_output, self._kind = n_output, variance
        self._log_floor = 2 * math.log(min_std)
        self.n_maps = 2 if variance == "per-pixel" else 1
        if variance == "learned":
            with self.name_scope():
                self.raw = self.params.get("raw", shape=(1, 1), init="zeros")

    def hybrid_forward(self, F: ModuleType, logits: Array, x: Array, raw: Array | None = None) -> Array:
        mean, log_var = self._moments(F, logits, raw)
        return gaussian_nll(F, mean, log_var, x)

    def variance(self, logits: nd.NDArray) -> nd.NDArray:
        """Return the variance of each pixel, (batch, n_output)."""
        mean, log_var = self._moments(nd, logits, self._raw_on(logits))
        if isinstance(log_var, float):
            return nd.full(mean.shape, math.exp(log_var), ctx=mean.context, dtype=mean.dtype)
        return nd.broadcast_like(nd.exp(log_var), mean)

    def sample(self, logits: nd.NDArray) -> nd.NDArray:
        """Draw images, noise included: pixels are not confined to [0, 1]."""
        mean, _ = self._moments(nd, logits, self._raw_on(logits))
        noise = nd.random.normal(shape=mean.shape, ctx=mean.context, dtype=mean.dtype)
        return mean + nd.sqrt(self.variance(logits)) * noise

    def _raw_on(self, logits: nd.NDArray) -> Any:
        return self.raw.data(logits.context) if self._kind == "learned" else None

    def _moments(self, F: ModuleType, logits: Array, raw: Array) -> tuple[Array, Array | float]:
        """Split logits into the mean and the log-variance."""
        if not isinstance(self._kind, str):
            return sigmoid(F, logits), math.log(self._kind)
        if self._kind == "learned":
            raw = GAIN * raw
        else:
            raw = F.slice_axis(logits, axis=1, begin=self._n_output, end=None)
            logits = F.slice_axis(logits, axis=1, begin=0, end=self._n_output)
        # Softplus bends a log-variance smoothly towards its floor, so that its gradient never dies.
        rise = F.Activation(raw + (math.log(START_VARIANCE) - self._log_floor), act_type="softrelu")
        return sigmoid(F, logits), rise + self._log_floor


def make(
    likelihood: str | HybridBlock, n_output: int, variance: float | str | None = None, min_std: float | None = None
) -> HybridBlock:
    """Return the likelihood that a model's arguments describe, or raise a ``ValueError`` that names a wrong one.

    A block is returned as it is. One made here keeps the arguments as ``config``.
    """
    if isinstance(likelihood, HybridBlock):
        for name, value in (("variance", variance), ("min_std", min_std)):
            if value is not None:
                raise ValueError(
                    f"{name} is of a likelihood given by name; got {checks.shown(value)} with a {likelihood.name}"
                )
        return likelihood
    if not isinstance(likelihood, str):
        raise ValueError(f"likelihood must be a name or a HybridBlock, got {type(likelihood).__name__}")
    checks.one_of("likelihood", likelihood, LIKELIHOODS)
    min_std = MIN_STD if min_std is None else checks.positive_number("min_std", min_std)
    if likelihood == "bernoulli":
        if variance is not None:
            raise ValueError(
                f"variance is of a Gaussian likelihood; with likelihood='bernoulli' got {checks.shown(variance)}"
            )
        return Bernoulli(prefix="likelihood_")
    variance = "learned" if variance is None else variance
    if not isinstance(variance, str):
        variance = checks.positive_number("variance", variance)
    elif variance not in LEARNED:
        raise ValueError(f"variance must be a number, 'learned' or 'per-pixel', got {checks.shown(variance)}")
    return Gaussian(n_output, variance, min_std, prefix="likelihood_")
