"""The variational auto-encoder (Kingma and Welling 2014, arXiv 1312.6114), and what its networks can be."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import ClassVar, Unpack

from mxnet import nd
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import Array
from .docstrings import filled
from .layers import ACTIVATIONS, Conditioned, conv_decoder, conv_encoder, mlp
from .losses import kl_to_standard_normal
from .model import Model, Network, Options, Setting, fixed_size
from .shapes import ImageShape, shape_of


@filled
class ComposedVAE(Model):
    """A Gaussian VAE made of any encoder and decoder.

    Calling it on x, (batch, n_output), returns the per-sample loss, shape (batch,), in nats per
    image: the negative ELBO

        -log p(x|z) + beta KL(q(z|x) || N(0, I)),   z = mu + exp(log_var / 2) * eps,   eps ~ N(0, I)

    with beta = 1 unless another weight is asked for (Higgins et al. 2017).
    See chapters 1, 2, 7, 9, 11 and 14.

    Parameters
    ----------
    {networks}
    {likelihood}
    {elbo}
    {block}

    Attributes
    ----------
    {posterior}
    {given_blocks}
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.
    """

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array | None, *label: Array) -> tuple[Array, ...]:
        mu, log_var = F.split(self.encoder(x, *label), num_outputs=2, axis=1)
        kl = kl_to_standard_normal(F, mu, log_var)
        mean, std = self._tile(F, mu), self._tile(F, F.exp(0.5 * log_var))
        z = mean + std * (F.random.normal_like(mean) if eps is None else eps)
        logits = self.decoder.logits(z, *(self._tile(F, y, axes=1) for y in label))
        nll = self._mean(F, self.likelihood(logits, self._tile(F, x)))
        output = self._mean(F, self.decoder.mean(F, logits))
        return nll + self.beta * kl, mu, log_var, output, nll, kl

    output_names: ClassVar[tuple[str, ...]] = ("mu", "log_var", "output", "nll", "kl")
    noise_name = "eps"
    code_columns = 2
    n_samples = Setting(checks.positive_int)
    beta = Setting(checks.positive_number)

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        n_latent: int,
        n_output: int = 784,
        *,
        n_classes: int | None = None,
        n_samples: int = 1,
        beta: float = 1.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(encoder, decoder, n_latent, n_output, n_classes=n_classes, **options)
        self.n_samples, self.beta = n_samples, beta

    def noise_shape(self, x: nd.NDArray) -> tuple[int, ...]:
        """Return the shape of eps, (n_samples * batch, n_latent): all images of the first draw, then of the next."""
        return self.n_samples * x.shape[0], self.n_latent

    def draw_noise(self, x: nd.NDArray) -> nd.NDArray:
        """Draw the eps that a call on ``x`` needs, from N(0, I)."""
        return nd.random.normal(shape=self.noise_shape(x), ctx=x.context, dtype=x.dtype)

    def nll_given(self, x: nd.NDArray, z: nd.NDArray, *label: nd.NDArray) -> nd.NDArray:
        """Negative log-likelihood of images given their codes, -log p(x|z), (batch,) nats per image."""
        return self.likelihood(self.decoder.logits(z, *label), x)

    def _tile(self, F: ModuleType, array: Array, axes: int = 2) -> Array:
        """Repeat a batch once per draw of z."""
        return array if self.n_samples == 1 else F.tile(array, reps=(self.n_samples, 1)[:axes])

    def _mean(self, F: ModuleType, array: Array) -> Array:
        """Average over the draws of z."""
        if self.n_samples == 1:
            return array
        return F.mean(F.reshape(array, shape=(-4, self.n_samples, -1, -2)), axis=0)


class VAEOptions(Options, total=False):
    """The keyword arguments that every VAE takes."""

    n_samples: int
    beta: float


class LabelledOptions(VAEOptions, total=False):
    """Those that ``ConditionalVAE`` hands on."""

    n_classes: int | None


@filled
class VAE(ComposedVAE):
    """A Gaussian VAE with MLP encoder and decoder.

    Calling it on x, (batch, n_output), returns the per-sample loss, (batch,): the negative ELBO in nats per
    image, ``-log p(x|z) + beta KL(q(z|x) || N(0, I))`` with z drawn from q(z|x) (Kingma and Welling 2014).
    See chapter 1.

    Parameters
    ----------
    {mlp}
    batch_size : int, optional
        Accepted for code written against the published tutorial; any batch size works.
    {act_type}
    {likelihood}
    {elbo}
    {block}

    Attributes
    ----------
    {posterior}
    {blocks}
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.

    Examples
    --------
    >>> net = gluon_vae.VAE(n_hidden=64, n_latent=2)
    >>> net.initialize()
    >>> loss = net(gluon_vae.load_mnist().x_test[:5])
    >>> loss.shape, net.mu.shape, net.output.shape
    ((5,), (5, 2), (5, 784))
    """

    n_hidden, n_layers = fixed_size(), fixed_size()
    act_type = Setting(checks.choice(ACTIVATIONS), fixed=True)

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 2,
        n_layers: int = 1,
        n_output: int = 784,
        batch_size: int | None = None,
        act_type: str = "relu",
        **options: Unpack[LabelledOptions],
    ) -> None:
        checks.optional(checks.positive_int)("batch_size", batch_size)
        self.n_hidden, self.n_layers, self.act_type = n_hidden, n_layers, act_type
        super().__init__(
            lambda: self._mlp(self.n_output, 2 * self.n_latent),
            lambda n_columns: self._mlp(self.n_latent, n_columns),
            n_latent,
            n_output,
            **options,
        )

    def _mlp(self, n_input: int, n_columns: int) -> HybridBlock:
        return mlp(n_input, self.n_hidden, self.n_layers, n_columns, self.act_type)


@filled
class ConditionalVAE(VAE):
    """A VAE with MLPs that are told the label: ask for a digit, and get that digit (Sohn et al. 2015).

    The one-hot label is appended to what the encoder and the decoder see. Called as ``net(x, y)``, it returns
    the negative ELBO of p(x|y), (batch,), in nats per image; ``net.encoder(x, y)`` and ``net.decoder(z, y)``
    work alone. See chapter 13.

    Parameters
    ----------
    {mlp}
    n_classes : int
        Labels are integers from 0 to ``n_classes - 1``.
    {act_type}
    {likelihood}
    {elbo}
    {block}

    Attributes
    ----------
    {posterior}
    encoder, decoder : HybridBlock
        Map (x, y) to mu and log_var, (batch, 2 * n_latent), and (z, y) to images, (batch, n_output).
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.
    """

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 2,
        n_layers: int = 1,
        n_output: int = 784,
        n_classes: int = 10,
        act_type: str = "relu",
        **options: Unpack[VAEOptions],
    ) -> None:
        n_classes = checks.positive_int("n_classes", n_classes)
        super().__init__(n_hidden, n_latent, n_layers, n_output, act_type=act_type, n_classes=n_classes, **options)

    def _mlp(self, n_input: int, n_columns: int) -> HybridBlock:
        assert self.n_classes is not None
        return Conditioned(super()._mlp(n_input + self.n_classes, n_columns), self.n_classes)


@filled
class ConvVAE(ComposedVAE):
    """A VAE whose encoder and decoder are convolutional; images are flat outside of them.

    Every level has kernel 4 and stride 2 and halves both sides of the picture, rounding up: 28 pixels to 14, 7 and 4.
    They are at least 2 ** len(channels). Calling it on x, (batch, n_output), returns the negative ELBO, (batch,), in
    nats per image. See chapters 14 and 18.

    Parameters
    ----------
    channels : sequence of int
        Channels of each level of the encoder; the decoder mirrors them.
    n_latent : int
        Dimension of the latent z.
    n_output : int
        Pixels of an image: a grey square, unless ``image_shape`` says otherwise.
    act_type : {'leaky', 'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}
        Activation of the hidden layers; 'leaky' is a ReLU with slope 0.1 below 0. Channels that an
        ordinary one leaves at 0 for every image learn no more.
    {likelihood}
    {elbo}
    {block}

    Attributes
    ----------
    {posterior}
    {blocks}
    {config}

    Raises
    ------
    ValueError
        If an argument or a batch is not as described; the message names it.
    """

    channels = Setting(checks.positive_ints, fixed=True)
    act_type = Setting(checks.choice(ACTIVATIONS), fixed=True)

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64),
        n_latent: int = 100,
        n_output: int = 784,
        act_type: str = "leaky",
        **options: Unpack[VAEOptions],
    ) -> None:
        self.channels, self.act_type = channels, act_type
        super().__init__(
            lambda: conv_encoder(self._picture(), self.channels, 2 * self.n_latent, self.act_type),
            lambda n_columns: conv_decoder(
                self.n_latent, self._picture(), self.channels, n_columns // self.n_output, self.act_type
            ),
            n_latent,
            n_output,
            **options,
        )

    def _picture(self) -> ImageShape:
        """Return the shape of an image, whose sides are large enough to be halved at every level."""
        shape, n_levels = shape_of("n_output", self.n_output, self.image_shape), len(self.channels)
        if min(shape[1:]) < 2**n_levels:
            given = f"n_output={self.n_output}" if self.image_shape is None else f"image_shape={shape}"
            raise ValueError(
                f"the sides of a picture must be at least {2**n_levels} pixels, which {n_levels} levels halve; got "
                f"{given}"
            )
        return shape
