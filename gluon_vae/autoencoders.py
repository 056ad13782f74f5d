"""Autoencoders without a latent distribution: plain, sparse and denoising."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mxnet import autograd, nd, sym
from mxnet.gluon import HybridBlock, nn

from . import checks, likelihoods
from .contract import image_batch
from .layers import Decoder, mlp
from .losses import Array, bernoulli_kl

PENALTIES = ("l1", "kl")
CORRUPTIONS = ("gaussian", "masking")
DEFAULT_WEIGHTS = {"l1": 1.0, "kl": 10.0}


class Autoencoder(HybridBlock):
    """An MLP that squeezes an image into a code and restores the image from it.

    Calling it on x, (batch, n_output), returns the per-sample loss, shape (batch,): the negative
    log-likelihood of the image given its code, in nats. There is no distribution over codes,
    hence no ELBO and no prior to draw from.

    Parameters
    ----------
    n_hidden : int
        Units of each hidden layer.
    n_latent : int
        Dimension of the code.
    n_layers : int
        Hidden layers of the encoder, and of the decoder; with 0 the code is the only one.
    n_output : int
        Pixels of an image.
    act_type : {'leaky', 'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}
        Activation of the hidden layers.
    likelihood : {'bernoulli', 'gaussian'}
        What the reconstruction is measured by; a Gaussian is squared error, scaled.
    variance : float or {'learned', 'per-pixel'}, optional
        Of the Gaussian likelihood, as in ``ComposedVAE``.
    min_std : float
        A learned standard deviation stays above this.
    check_input : bool
        Check the pixel values at every call, which waits for the device.

    Attributes
    ----------
    mu : (batch, n_latent)
        The code.
    output : (batch, n_output)
        The reconstruction, in [0, 1].
    nll : (batch,)
        The negative log-likelihood, in nats per image; ``kl`` and ``log_var`` stay None.
    encoder, decoder : HybridBlock
        Map x to the code, and codes to images; ``decoder.logits`` stops before the sigmoid.

    Raises
    ------
    ValueError
        If an argument or a batch is not of the form above.
    """

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 32,
        n_layers: int = 1,
        n_output: int = 784,
        act_type: str = "relu",
        *,
        likelihood: str = "bernoulli",
        variance: float | str | None = None,
        min_std: float = 0.05,
        check_input: bool = True,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        n_layers = checks.non_negative_int("n_layers", n_layers)
        sizes = checks.sizes(n_hidden=n_hidden, n_latent=n_latent, n_output=n_output) | {"n_layers": n_layers}
        self.n_latent, self.n_output = sizes["n_latent"], sizes["n_output"]
        self.check_input = check_input
        self.mu = self.log_var = self.output = self.nll = self.kl = None
        self.likelihood = likelihoods.make(likelihood, self.n_output, variance, min_std)
        self.encoder = mlp(self.n_output, sizes["n_hidden"], n_layers, self.n_latent, act_type)
        n_maps = self.likelihood.n_maps
        decoder = mlp(self.n_latent, sizes["n_hidden"], n_layers, n_maps * self.n_output, act_type)
        self.decoder = Decoder(decoder, self.n_output, n_maps)
        self._arguments: dict[str, Any] = sizes | {"act_type": act_type} | self.likelihood.arguments

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments that make an equal model."""
        return dict(self._arguments)

    def forward(self, x: Array) -> Array:
        """Return the loss of images, (batch, n_output) to (batch,), and keep the other outputs on attributes."""
        if isinstance(x, sym.Symbol):
            return super().forward(x)[0]
        loss, self.mu, self.output, self.nll = super().forward(image_batch(self, x))
        return loss

    def hybrid_forward(self, F: ModuleType, x: Array) -> tuple[Array, ...]:
        code, output, nll = self._autoencode(F, x, x)
        return nll, code, output, F.identity(nll)

    def _autoencode(self, F: ModuleType, x: Array, target: Array) -> tuple[Array, Array, Array]:
        """Encode ``x`` and measure the decoding against ``target``."""
        code = self.encoder(x)
        logits = self.decoder.logits(code)
        return code, self.decoder.mean(F, logits), self.likelihood(logits, target)


class SparseAutoencoder(Autoencoder):
    """An autoencoder whose code is kept sparse by a penalty on its activity.

    The loss is ``nll + weight * penalty`` with one of two penalties:

    - 'l1': the code passes a ReLU; the sum of its activities, of each image.
    - 'kl': the code passes a sigmoid; ``sum_j KL(rate || mean of unit j)``, the mean over the batch,
      each unit a Bernoulli variable that should be on with probability ``rate`` (Ng 2011). Every
      image of a batch carries the same penalty, so here the loss of an image depends on its batch.

    Parameters
    ----------
    penalty : {'l1', 'kl'}
        Which of them.
    weight : float
        Its weight: nats per unit of activity, or of KL.
    rate : float
        The target of 'kl', between 0 and 1.
    others
        As in ``Autoencoder``.

    Attributes
    ----------
    penalty : (batch,)
        The penalty of the most recent call, without its weight.
    """

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
        **options: Any,
    ) -> None:
        self._kind = checks.one_of("penalty", penalty, PENALTIES)
        self._weight = checks.positive_number("weight", DEFAULT_WEIGHTS[penalty] if weight is None else weight)
        self._rate = checks.fraction("rate", rate)
        super().__init__(n_hidden, n_latent, n_layers, n_output, act_type, **options)
        self.encoder.add(nn.Activation("relu" if penalty == "l1" else "sigmoid"))
        self.penalty = None
        self._arguments |= {"penalty": penalty, "weight": self._weight, "rate": self._rate}

    def forward(self, x: Array) -> Array:
        if isinstance(x, sym.Symbol):
            return HybridBlock.forward(self, x)[0]
        loss, self.mu, self.output, self.nll, self.penalty = HybridBlock.forward(self, image_batch(self, x))
        return loss

    def hybrid_forward(self, F: ModuleType, x: Array) -> tuple[Array, ...]:
        code, output, nll = self._autoencode(F, x, x)
        if self._kind == "l1":
            penalty = F.sum(code, axis=1)
        else:
            mean = F.mean(code, axis=0, keepdims=True)
            penalty = F.broadcast_add(F.zeros_like(nll), bernoulli_kl(F, self._rate, mean))
        return nll + self._weight * penalty, code, output, nll, penalty


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder that restores clean images from corrupted ones (Vincent et al. 2010).

    Images are corrupted in training mode (``autograd.record``) only, and the loss is measured
    against the clean ones: the reconstruction has to know what digits look like.

    Parameters
    ----------
    corruption : {'gaussian', 'masking'}
        Add Gaussian noise and clip to [0, 1], or set pixels to 0.
    level : float
        The noise's standard deviation, or the probability of a pixel to be masked; between 0 and 1.
    others
        As in ``Autoencoder``.
    """

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
        **options: Any,
    ) -> None:
        self._corruption = checks.one_of("corruption", corruption, CORRUPTIONS)
        self._level = checks.fraction("level", level)
        super().__init__(n_hidden, n_latent, n_layers, n_output, act_type, **options)
        self._arguments |= {"corruption": corruption, "level": self._level}

    def corrupt(self, x: nd.NDArray) -> nd.NDArray:
        """Return corrupted copies of images, (batch, n_output), with noise from MXNet's generator."""
        like = {"shape": x.shape, "ctx": x.context, "dtype": x.dtype}
        if self._corruption == "masking":
            return x * (nd.random.uniform(**like) >= self._level)
        return nd.clip(x + self._level * nd.random.normal(**like), 0, 1)

    def draw_noise(self, x: nd.NDArray) -> nd.NDArray:
        """Draw what a call on ``x`` in training mode needs: the corrupted images."""
        return self.corrupt(x)

    def forward(self, x: Array, corrupted: Array | None = None) -> Array:
        """Return the loss and keep the other outputs on attributes.

        Parameters
        ----------
        x : (batch, n_output)
            Clean images, pixels in [0, 1].
        corrupted : (batch, n_output), optional
            What the encoder sees; if not given, ``corrupt(x)`` in training mode and x otherwise.
        """
        if isinstance(x, sym.Symbol):
            return HybridBlock.forward(self, x, x if corrupted is None else corrupted)[0]
        x = image_batch(self, x)
        if corrupted is None:
            corrupted = self.corrupt(x) if autograd.is_training() else x
        elif corrupted.shape != x.shape:
            raise ValueError(f"corrupted must have the shape of x, {x.shape}, got {corrupted.shape}")
        loss, self.mu, self.output, self.nll = HybridBlock.forward(self, x, corrupted)
        return loss

    def hybrid_forward(self, F: ModuleType, x: Array, corrupted: Array) -> tuple[Array, ...]:
        code, output, nll = self._autoencode(F, corrupted, x)
        return nll, code, output, F.identity(nll)
