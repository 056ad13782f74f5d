"""Autoencoders without a latent distribution: plain, sparse and denoising."""

from __future__ import annotations

from types import ModuleType
from typing import Unpack

from mxnet import autograd, nd
from mxnet.gluon import nn

from . import checks
from .arrays import Array
from .docstrings import filled
from .layers import ACTIVATIONS, mlp
from .losses import bernoulli_kl
from .model import Model, Options, Setting, fixed_size

PENALTIES = ("l1", "kl")
CORRUPTIONS = ("gaussian", "masking")
DEFAULT_WEIGHTS = {"l1": 1.0, "kl": 10.0}


@filled
class Autoencoder(Model):
    """An MLP that squeezes an image into a code and restores the image from it.

    Calling it on x, (batch, n_output), returns the per-sample loss, shape (batch,): the negative
    log-likelihood of the image given its code, in nats. There is no distribution over codes,
    hence no ELBO and no prior to draw from. See chapter 10.

    Parameters
    ----------
    {autoencoder}
    {act_type}
    {likelihood}
    {block}

    Attributes
    ----------
    {code}
    {blocks_of_codes}
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.
    """

    n_hidden = fixed_size()
    n_layers = Setting(checks.non_negative_int, fixed=True)
    act_type = Setting(checks.choice(ACTIVATIONS), fixed=True)

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 32,
        n_layers: int = 1,
        n_output: int = 784,
        act_type: str = "relu",
        **options: Unpack[Options],
    ) -> None:
        self.n_hidden, self.n_layers, self.act_type = n_hidden, n_layers, act_type
        super().__init__(
            lambda: mlp(self.n_output, self.n_hidden, self.n_layers, self.n_latent, self.act_type),
            lambda n_columns: mlp(self.n_latent, self.n_hidden, self.n_layers, n_columns, self.act_type),
            n_latent,
            n_output,
            **options,
        )

    def hybrid_forward(self, F: ModuleType, x: Array, seen: Array | None = None) -> tuple[Array, ...]:
        code = self.encoder(x if seen is None else seen)
        logits = self.decoder.logits(code)
        nll = self.likelihood(logits, x)
        return nll, code, self.decoder.mean(F, logits), F.identity(nll)


@filled
class SparseAutoencoder(Autoencoder):
    """An autoencoder whose code is kept sparse by a penalty on its activity.

    The loss is ``nll + weight * penalty``, (batch,) nats, with one of two penalties:

    - 'l1': the code passes a ReLU; the sum of its activities, of each image.
    - 'kl': the code passes a sigmoid; ``sum_j KL(rate || mean of unit j)``, the mean over the batch,
      each unit a Bernoulli variable that should be on with probability ``rate`` (Ng 2011). Every
      image of a batch carries the same penalty, so here the loss of an image depends on its batch.

    See chapter 10.

    Parameters
    ----------
    {autoencoder}
    {act_type}
    penalty : {'l1', 'kl'}
        Which of them.
    weight : float, optional
        Its weight: nats per unit of activity (1 unless given), or of KL (10).
    rate : float
        The target of 'kl', between 0 and 1.
    {likelihood}
    {block}

    Attributes
    ----------
    {code}
    penalty : (batch,)
        The penalty, without its weight.
    {blocks_of_codes}
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.
    """

    output_names = ("mu", "output", "nll", "penalty")
    kind = Setting(checks.choice(PENALTIES), argument="penalty", fixed=True)
    weight = Setting(checks.positive_number)
    rate = Setting(checks.fraction)

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 128,
        n_layers: int = 1,
        n_output: int = 784,
        act_type: str = "relu",
        *,
        penalty: str = "l1",
        weight: float | None = None,
        rate: float = 0.05,
        **options: Unpack[Options],
    ) -> None:
        self.kind, self.rate = penalty, rate
        self.weight = DEFAULT_WEIGHTS[penalty] if weight is None else weight
        super().__init__(n_hidden, n_latent, n_layers, n_output, act_type, **options)
        self.encoder.add(nn.Activation("relu" if penalty == "l1" else "sigmoid"))

    def hybrid_forward(self, F: ModuleType, x: Array, seen: Array | None = None) -> tuple[Array, ...]:
        nll, code, output, _ = super().hybrid_forward(F, x)
        if self.kind == "l1":
            penalty = F.sum(code, axis=1)
        else:
            mean = F.mean(code, axis=0, keepdims=True)
            penalty = F.broadcast_add(F.zeros_like(nll), bernoulli_kl(F, self.rate, mean))
        return nll + self.weight * penalty, code, output, nll, penalty


@filled
class DenoisingAutoencoder(Autoencoder):
    """An autoencoder that restores clean images from corrupted ones (Vincent et al. 2010).

    Images are corrupted in training mode (``autograd.record``) only, and the loss, (batch,) nats, is measured
    against the clean ones: the reconstruction has to know what digits look like. ``net(x, corrupted)`` gives the
    encoder images that were corrupted elsewhere. See chapter 10.

    Parameters
    ----------
    {autoencoder}
    {act_type}
    corruption : {'gaussian', 'masking'}
        Add Gaussian noise and clip to [0, 1], or set pixels to 0.
    level : float
        The noise's standard deviation, or the probability of a pixel to be masked; between 0 and 1.
    {likelihood}
    {block}

    Attributes
    ----------
    {code}
    {blocks_of_codes}
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.
    """

    noise_name = "corrupted"
    corruption = Setting(checks.choice(CORRUPTIONS))
    level = Setting(checks.fraction)

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 32,
        n_layers: int = 1,
        n_output: int = 784,
        act_type: str = "relu",
        *,
        corruption: str = "masking",
        level: float = 0.5,
        **options: Unpack[Options],
    ) -> None:
        self.corruption, self.level = corruption, level
        super().__init__(n_hidden, n_latent, n_layers, n_output, act_type, **options)

    def corrupt(self, x: nd.NDArray) -> nd.NDArray:
        """Return corrupted copies of images, (batch, n_output), with noise from MXNet's generator."""
        like = {"shape": x.shape, "ctx": x.context, "dtype": x.dtype}
        if self.corruption == "masking":
            return x * (nd.random.uniform(**like) >= self.level)
        return nd.clip(x + self.level * nd.random.normal(**like), 0, 1)

    def draw_noise(self, x: nd.NDArray) -> nd.NDArray:
        """Draw what a call on ``x`` in training mode needs: the corrupted images."""
        return self.corrupt(x)

    def default_noise(self, x: nd.NDArray) -> nd.NDArray:
        """Return what the encoder sees if nothing is given: ``corrupt(x)`` in training mode, x otherwise."""
        return self.corrupt(x) if autograd.is_training() else x
