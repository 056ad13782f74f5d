"""What the decoder's logits say of an image: p(x|z)."""

from __future__ import annotations

import math
from types import ModuleType

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks
from .losses import Array, bernoulli_nll, gaussian_nll, sigmoid

LIKELIHOODS = ("bernoulli", "gaussian")
LEARNED = ("learned", "per-pixel")
# The variance that a learned one starts from: about that of all pixels of grey MNIST.
START_VARIANCE = 0.1
# Adam moves every parameter by about the learning rate a step; a single one has no others to help it along.
GAIN = 10


class Bernoulli(HybridBlock):
    """Independent Bernoulli pixels: a logit each.

    Calling it maps logits and images, (batch, n_output) each, to the negative log-likelihood,
    (batch,) nats per image.
    """

    n_maps = 1  # columns of logits per pixel

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
    has no upper bound.

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
        self, n_output: int, variance: float | str, min_std: float = 0.05, prefix: str | None = None
    ) -> None:
        super().__init__(prefix=prefix)
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

    def _raw_on(self, logits: nd.NDArray) -> nd.NDArray | None:
        return self.raw.data(logits.context) if self._kind == "learned" else None

    def _moments(self, F: ModuleType, logits: Array, raw: Array | None) -> tuple[Array, Array | float]:
        """Split logits into the mean and the log-variance."""
        if self._kind not in LEARNED:
            return sigmoid(F, logits), math.log(self._kind)
        if self._kind == "learned":
            raw = GAIN * raw
        else:
            raw = F.slice_axis(logits, axis=1, begin=self._n_output, end=None)
            logits = F.slice_axis(logits, axis=1, begin=0, end=self._n_output)
        # Softplus bends a log-variance smoothly towards its floor, so that its gradient never dies.
        rise = F.Activation(raw + (math.log(START_VARIANCE) - self._log_floor), act_type="softrelu")
        return sigmoid(F, logits), rise + self._log_floor


def make(likelihood: str, n_output: int, variance: float | str | None, min_std: float) -> Bernoulli | Gaussian:
    """Return the likelihood that a model's arguments name, or raise a ``ValueError`` that names a wrong one.

    The block keeps them as ``arguments``.
    """
    checks.one_of("likelihood", likelihood, LIKELIHOODS)
    min_std = checks.positive_number("min_std", min_std)
    if likelihood == "bernoulli":
        if variance is not None:
            raise ValueError(f"variance is of a Gaussian likelihood; with likelihood='bernoulli' got {variance!r}")
        block = Bernoulli()
    else:
        variance = "learned" if variance is None else variance
        if variance not in LEARNED:
            if isinstance(variance, str):
                raise ValueError(f"variance must be a number, 'learned' or 'per-pixel', got {variance!r}")
            variance = checks.positive_number("variance", variance)
        block = Gaussian(n_output, variance, min_std)
    block.arguments = {"likelihood": likelihood, "variance": variance, "min_std": min_std}
    return block
