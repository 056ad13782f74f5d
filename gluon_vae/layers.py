"""Encoders and decoders; they know nothing of losses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any

from mxnet.gluon import HybridBlock, nn

from . import checks
from .arrays import Array

ACTIVATIONS = ("leaky", "relu", "sigmoid", "softrelu", "softsign", "tanh")
LEAK = 0.1  # the slope of 'leaky' below 0


def sigmoid(F: ModuleType, logits: Array) -> Array:
    """Map log-odds to probabilities. MXNet computes it many times faster by this name than by its own."""
    return F.Activation(logits, act_type="sigmoid")


def mlp(n_input: int, n_hidden: int, n_layers: int, n_output: int, act_type: str) -> nn.HybridSequential:
    """Stack ``n_layers`` dense layers of ``n_hidden`` units and a linear one of ``n_output``.

    Maps (batch, n_input) to (batch, n_output). All sizes are given, so parameters exist as soon as
    they are initialised, without a first call. See chapter 1.
    """
    checks.one_of("act_type", act_type, ACTIVATIONS)
    net = nn.HybridSequential()
    for _ in range(n_layers):
        _add(net, act_type, nn.Dense, n_hidden, in_units=n_input)
        n_input = n_hidden
    net.add(nn.Dense(n_output, in_units=n_input))
    return net


def conv_encoder(
    image_shape: tuple[int, int, int], channels: Sequence[int], n_output: int, act_type: str
) -> nn.HybridSequential:
    """Stack convolutions with kernel 4 and stride 2, each of which halves the picture, and a linear layer.

    Maps flat images, (batch, channels * height * width) of ``image_shape``, to (batch, n_output). Odd sides are
    rounded up when they are halved. See chapter 14.
    """
    checks.one_of("act_type", act_type, ACTIVATIONS)
    n_input, *sides = image_shape
    *sizes, last = _halved(sides, len(channels))
    net = nn.HybridSequential()
    net.add(nn.HybridLambda(lambda F, x: F.reshape(x, shape=(-1, *image_shape))))
    for n_channels, larger in zip(channels, sizes):
        _add(net, act_type, nn.Conv2D, n_channels, 4, strides=2, padding=_padding(larger), in_channels=n_input)
        n_input = n_channels
    net.add(nn.Dense(n_output, in_units=n_input * last[0] * last[1]))
    return net


def conv_decoder(
    n_latent: int, image_shape: tuple[int, int, int], channels: Sequence[int], n_maps: int, act_type: str
) -> nn.HybridSequential:
    """Mirror ``conv_encoder``: a dense layer, then transposed convolutions, each of which doubles the picture.

    Maps (batch, n_latent) to (batch, n_maps * channels * height * width), one flat map after the other.
    See chapter 14.
    """
    n_maps, sides = n_maps * image_shape[0], image_shape[1:]
    first, *sizes = reversed(_halved(sides, len(channels)))
    # MXNet 1.9.1 cannot differentiate a transposed convolution to a single channel (oneDNN finds no
    # primitive for its layout): a second one is computed and left out.
    widths = [*reversed(channels), max(2, n_maps)]
    net = nn.HybridSequential()
    _add(net, act_type, nn.Dense, widths[0] * first[0] * first[1], in_units=n_latent)
    net.add(nn.HybridLambda(lambda F, x: F.reshape(x, shape=(-1, widths[0], *first))))
    for (n_input, n_channels), larger in zip(pairwise(widths), sizes):
        activation = None if larger == sizes[-1] else act_type  # the last one ends in logits
        padding = {"padding": _padding(larger), "output_padding": tuple(side % 2 for side in larger)}
        _add(net, activation, nn.Conv2DTranspose, n_channels, 4, strides=2, in_channels=n_input, **padding)
    net.add(nn.HybridLambda(lambda F, x: F.flatten(F.slice_axis(x, axis=1, begin=0, end=n_maps))))
    return net


def _add(
    net: nn.HybridSequential, act_type: str | None, layer: type[HybridBlock], *arguments: int, **options: Any
) -> None:
    """Add a layer with its activation; a layer of Gluon brings every one but the leaky ReLU."""
    leaky = act_type == "leaky"
    net.add(layer(*arguments, activation=None if leaky else act_type, **options))
    if leaky:
        net.add(nn.LeakyReLU(LEAK))


def _halved(sides: Sequence[int], n_levels: int) -> list[tuple[int, ...]]:
    """Return the height and width of a picture, and what is left of them after every halving."""
    sizes = [tuple(sides)]
    for _ in range(n_levels):
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes


def _padding(sides: Sequence[int]) -> tuple[int, ...]:
    """Return the padding with which kernel 4 and stride 2 halve sides, rounding up."""
    return tuple(1 + side % 2 for side in sides)


class Decoder(HybridBlock):
    """The mean of an image's pixels given its latent code.

    Calling it maps z, (batch, n_latent), to images in [0, 1], (batch, n_output). The child ``logits``
    stops one step earlier, at the log-odds of the means; where the likelihood has a variance per
    pixel, as many columns for those follow. See chapter 1.

    Parameters
    ----------
    logits : HybridBlock
        Maps (batch, n_latent), and a label where the model takes one, to logits.
    n_output : int
        Pixels of an image: the columns that are log-odds.
    n_maps : int, optional
        Columns of logits per pixel, where known: with one, none need to be cut off.
    """

    def __init__(
        self, logits: HybridBlock, n_output: int, n_maps: int | None = None, prefix: str | None = None
    ) -> None:
        super().__init__(prefix=prefix)
        self.logits = logits
        self._n_output, self._n_maps = n_output, n_maps

    def hybrid_forward(self, F: ModuleType, z: Array, *condition: Array) -> Array:
        return self.mean(F, self.logits(z, *condition))

    def mean(self, F: ModuleType, logits: Array) -> Array:
        """Map logits, with or without columns for variances, to images."""
        if self._n_maps != 1:
            logits = F.slice_axis(logits, axis=1, begin=0, end=self._n_output)
        return sigmoid(F, logits)


class Conditioned(HybridBlock):
    """A network that is told a label: it sees its input with the one-hot label appended.

    See chapter 13.

    Parameters
    ----------
    network : HybridBlock
        Maps (batch, width + n_classes) to anything.
    n_classes : int
        Labels are integers from 0 to ``n_classes - 1``.
    """

    def __init__(self, network: HybridBlock, n_classes: int, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self.network = network
        self._n_classes, self._dtype = n_classes, "float32"

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        self._dtype = dtype

    def hybrid_forward(self, F: ModuleType, x: Array, y: Array) -> Array:
        label = F.one_hot(y, depth=self._n_classes, dtype=self._dtype)
        return self.network(F.concat(x, label, dim=1))
