"""A VAE whose label is a second latent, known for some images only."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, Unpack

import numpy as np

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import Array, in_batches, to_device, to_numpy
from .contract import check_ready
from .docstrings import filled
from .layers import mlp
from .model import Setting
from .vae import ConditionalVAE, VAEOptions


@filled
class SemiSupervisedVAE(ConditionalVAE):
    """A VAE that learns from images with and without labels: the model M2 of Kingma et al. (2014, arXiv 1406.5298).

    An image is drawn from p(x|y, z) with a label y, each as probable as any other, and z ~ N(0, I). The posterior is
    q(y|x) q(z|x, y): a classifier beside the encoder. Called as ``net(x, y)``, with -1 for a label that is not known,
    it returns the loss, (batch,), in nats per image. Of an image with a label that is the negative ELBO of p(x, y),
    and the classifier's own negative log-likelihood with its weight,

        L(x, y) - label_weight log q(y|x),   L(x, y) = -log p(x|y, z) + beta KL(q(z|x, y) || N(0, I)) + log n_classes;

    of one without, the negative ELBO of p(x), in which every label is weighed by its probability,

        sum_y q(y|x) [L(x, y) + log q(y|x)].

    ``net.encoder(x, y)``, ``net.decoder(z, y)`` and all that is done with them ask for a label, as those of a
    ``ConditionalVAE`` do; ``label_probabilities(net, x)`` guesses it. See chapter 17.

    Parameters
    ----------
    {mlp}
    n_classes : int
        Labels are integers from 0 to ``n_classes - 1``, or -1. A step costs as many passes through encoder and
        decoder.
    {act_type}
    label_weight : float
        Weight of the classifier's term, alpha in the paper, for each image with a label.
    {likelihood}
    {elbo}
    {block}

    Attributes
    ----------
    {posterior}
        They, and those above, are averaged over the labels by their probabilities where the label is not known; the
        KL includes that of q(y|x) from the uniform prior.
    penalty : (batch,)
        -log q(y|x) of images with a label, 0 of others, without its weight.
    encoder, decoder : HybridBlock
        Map (x, y) to mu and log_var, (batch, 2 * n_latent), and (z, y) to images, (batch, n_output).
    classifier : HybridBlock
        Maps x to the logits of q(y|x), (batch, n_classes).
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.

    Examples
    --------
    >>> net, data = gluon_vae.SemiSupervisedVAE(n_hidden=64), gluon_vae.load_mnist()
    >>> y = data.y_train.copy()
    >>> y[200:] = -1
    >>> history = gluon_vae.fit(net, data.x_train, y_train=y, n_epochs=1, progress=False)
    >>> gluon_vae.label_probabilities(net, data.x_test).shape
    (1000, 10)
    """

    output_names = ("mu", "log_var", "output", "nll", "kl", "penalty")
    takes_missing_labels = True
    label_weight = Setting(checks.positive_number)

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 2,
        n_layers: int = 1,
        n_output: int = 784,
        n_classes: int = 10,
        act_type: str = "relu",
        label_weight: float = 1.0,
        **options: Unpack[VAEOptions],
    ) -> None:
        self.label_weight, self._dtype = label_weight, "float32"
        super().__init__(n_hidden, n_latent, n_layers, n_output, n_classes, act_type, **options)
        with self.name_scope(), HybridBlock(prefix="classifier_").name_scope():
            self.classifier = mlp(self.n_output, self.n_hidden, self.n_layers, n_classes, self.act_type)

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        self._dtype = dtype

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array | None, y: Array) -> tuple[Array, ...]:
        assert self.n_classes is not None
        known = F.one_hot(y, depth=self.n_classes, dtype=self._dtype)  # a row of zeros for -1
        log_q = F.log_softmax(self.classifier(x), axis=1)
        is_missing = 1 - F.sum(known, axis=1, keepdims=True)
        weight = known + F.broadcast_mul(is_missing, F.exp(log_q))
        # All images with the first label, then all with the next.
        every = F.broadcast_add(F.zeros_like(known), F.reshape(F.arange(self.n_classes, dtype=self._dtype), (1, -1)))
        tiled = F.tile(x, reps=(self.n_classes, 1)), eps, F.reshape(F.transpose(every), shape=(-1,))
        _, *values = super().hybrid_forward(F, *tiled)

        def expected(value: Array) -> Array:
            """Average what each label gives, (n_classes * batch, columns), by the weights of the labels."""
            value = F.reshape(value, shape=(-4, self.n_classes, -1, -2))
            return F.sum(F.broadcast_mul(value, F.expand_dims(F.transpose(weight), axis=2)), axis=0)

        mu, log_var, output = (expected(value) for value in values[:3])
        nll, kl = (F.reshape(expected(F.reshape(value, shape=(-1, 1))), shape=(-1,)) for value in values[3:])
        kl = kl + math.log(self.n_classes) + F.sum(F.broadcast_mul(is_missing, F.exp(log_q) * log_q), axis=1)
        penalty = -F.sum(known * log_q, axis=1)
        return nll + self.beta * kl + self.label_weight * penalty, mu, log_var, output, nll, kl, penalty

    def noise_shape(self, x: nd.NDArray) -> tuple[int, ...]:
        """Return the shape of eps: as many rows as in a ``ConditionalVAE`` for the first label, then for the next."""
        assert self.n_classes is not None
        return self.n_samples * self.n_classes * x.shape[0], self.n_latent


def label_probabilities(net: SemiSupervisedVAE, x: Any) -> np.ndarray:
    """Compute q(y|x), how probable each label is by the classifier. See chapter 17.

    Parameters
    ----------
    net : SemiSupervisedVAE
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].

    Returns
    -------
    (n, n_classes)
        Rows that sum to 1.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model has no classifier.
    """
    check_ready(net)
    if not hasattr(net, "classifier"):
        raise ValueError(f"net must have a classifier like SemiSupervisedVAE, got {type(net).__name__}")
    (images,) = to_device(net, to_numpy(checks.images("x", x, net.n_output)))
    return in_batches(lambda batch: nd.softmax(net.classifier(batch)), images, cost_of=net.classifier)
