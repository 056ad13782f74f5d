"""The variational auto-encoders with networks of their own: MLPs, MLPs told the label, convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import checks, likelihoods
from .composed import ComposedVAE
from .layers import Conditioned, conv_decoder, conv_encoder, mlp


class VAE(ComposedVAE):
    """A Gaussian VAE with MLP encoder and decoder.

    See ``ComposedVAE`` for what a call does, for the attributes, and for the keyword arguments.

    Parameters
    ----------
    n_hidden : int
        Units of each hidden layer.
    n_latent : int
        Dimension of the latent z.
    n_layers : int
        Hidden layers of the encoder, and of the decoder.
    n_output : int
        Pixels of an image.
    batch_size : int, optional
        Accepted for code written against the published tutorial; any batch size works.
    act_type : {'leaky', 'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}
        Activation of the hidden layers.
    likelihood, variance, min_std, n_samples, beta, check_input
        As in ``ComposedVAE``.

    Raises
    ------
    ValueError
        If an argument or a batch is not of the form above.
    """

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 2,
        n_layers: int = 1,
        n_output: int = 784,
        batch_size: int | None = None,
        act_type: str = "relu",
        *,
        likelihood: str = "bernoulli",
        variance: float | str | None = None,
        min_std: float = 0.05,
        **options: Any,
    ) -> None:
        if batch_size is not None:
            checks.positive_int("batch_size", batch_size)
        sizes = checks.sizes(n_hidden=n_hidden, n_latent=n_latent, n_layers=n_layers, n_output=n_output)
        n_hidden, n_latent, n_layers, n_output = sizes.values()
        p_x = likelihoods.make(likelihood, n_output, variance, min_std)
        encoder = mlp(n_output, n_hidden, n_layers, 2 * n_latent, act_type)
        decoder = mlp(n_latent, n_hidden, n_layers, p_x.n_maps * n_output, act_type)
        super().__init__(encoder, decoder, n_latent, n_output, likelihood=p_x, **options)
        self._arguments = sizes | {"act_type": act_type}


class ConditionalVAE(ComposedVAE):
    """A VAE with MLPs that are told the label: ask for a digit, and get that digit (Sohn et al. 2015).

    The one-hot label is appended to what the encoder and the decoder see. Called as ``net(x, y)``,
    ``net.encoder(x, y)`` and ``net.decoder(z, y)``; see ``ComposedVAE`` for the rest.

    Parameters
    ----------
    n_hidden, n_latent, n_layers, n_output, act_type, likelihood, variance, min_std
        As in ``VAE``.
    n_classes : int
        Labels are integers from 0 to ``n_classes - 1``.
    n_samples, beta, check_input
        As in ``ComposedVAE``.

    Raises
    ------
    ValueError
        If an argument or a batch is not of the form above.
    """

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 2,
        n_layers: int = 1,
        n_output: int = 784,
        n_classes: int = 10,
        act_type: str = "relu",
        *,
        likelihood: str = "bernoulli",
        variance: float | str | None = None,
        min_std: float = 0.05,
        **options: Any,
    ) -> None:
        sizes = checks.sizes(
            n_hidden=n_hidden, n_latent=n_latent, n_layers=n_layers, n_output=n_output, n_classes=n_classes
        )
        n_hidden, n_latent, n_layers, n_output, n_classes = sizes.values()
        p_x = likelihoods.make(likelihood, n_output, variance, min_std)
        encoder = mlp(n_output + n_classes, n_hidden, n_layers, 2 * n_latent, act_type)
        decoder = mlp(n_latent + n_classes, n_hidden, n_layers, p_x.n_maps * n_output, act_type)
        super().__init__(
            Conditioned(encoder, n_classes),
            Conditioned(decoder, n_classes),
            n_latent,
            n_output,
            n_classes=n_classes,
            likelihood=p_x,
            **options,
        )
        self._arguments = sizes | {"act_type": act_type}


class ConvVAE(ComposedVAE):
    """A VAE whose encoder and decoder are convolutional; images are flat outside of them.

    Every level has kernel 4 and stride 2 and halves the picture: 28 pixels to 14, 7 and 4. See
    ``ComposedVAE`` for what a call does, for the attributes, and for the other keyword arguments.

    Parameters
    ----------
    channels : sequence of int
        Channels of each level of the encoder; the decoder mirrors them.
    n_latent : int
        Dimension of the latent z.
    n_output : int
        Pixels of an image: a square, its side at least 2 ** len(channels).
    act_type : {'leaky', 'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}
        Activation of the hidden layers; 'leaky' is a ReLU with slope 0.1 below 0. Channels that an
        ordinary one leaves at 0 for every image learn no more.
    likelihood, variance, min_std
        As in ``VAE``.
    n_samples, beta, check_input
        As in ``ComposedVAE``.

    Raises
    ------
    ValueError
        If an argument or a batch is not of the form above.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64),
        n_latent: int = 100,
        n_output: int = 784,
        act_type: str = "leaky",
        *,
        likelihood: str = "bernoulli",
        variance: float | str | None = None,
        min_std: float = 0.05,
        **options: Any,
    ) -> None:
        sizes = checks.sizes(n_latent=n_latent, n_output=n_output)
        n_latent, n_output = sizes.values()
        if isinstance(channels, str) or not isinstance(channels, Sequence) or not channels:
            raise ValueError(f"channels must be a sequence of positive integers, got {channels!r}")
        channels = [checks.positive_int("channels", n) for n in channels]
        side = math.isqrt(n_output)
        if side * side != n_output or side < 2 ** len(channels):
            raise ValueError(
                f"n_output must be the square of a side of at least {2 ** len(channels)} pixels, "
                f"which {len(channels)} levels halve; got {n_output}"
            )
        p_x = likelihoods.make(likelihood, n_output, variance, min_std)
        encoder = conv_encoder(side, channels, 2 * n_latent, act_type)
        decoder = conv_decoder(n_latent, side, channels, p_x.n_maps, act_type)
        super().__init__(encoder, decoder, n_latent, n_output, likelihood=p_x, **options)
        self._arguments = sizes | {"channels": channels, "act_type": act_type}
