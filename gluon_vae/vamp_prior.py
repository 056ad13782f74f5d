"""A prior made of the encoder's own answers to images, given or trained."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import Array, dtype_of
from .contract import inputs_of
from .latent import posterior, posterior_draws
from .layers import sigmoid
from .losses import LOG_2PI
from .priors import Mixture, maximise_likelihood
from .run import Run

MARGIN = 0.01  # how far inside of [0, 1] the pixels of pseudo-inputs begin


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
    maximise_likelihood(pseudo, codes, run)
    weights = softmax(pseudo.weights.data().asnumpy()[0].astype(np.float64))
    return VampPrior(net, sigmoid(nd, pseudo.logits.data()).asnumpy(), weights)
