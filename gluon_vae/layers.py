"""Encoders and decoders; they know nothing of losses."""

from __future__ import annotations

from types import ModuleType

from mxnet.gluon import HybridBlock, nn

from .losses import Array

ACTIVATIONS = ("relu", "sigmoid", "softrelu", "softsign", "tanh")


def mlp(n_input: int, n_hidden: int, n_layers: int, n_output: int, act_type: str) -> nn.HybridSequential:
    """Stack ``n_layers`` dense layers of ``n_hidden`` units and a linear one of ``n_output``.

    Maps (batch, n_input) to (batch, n_output). All sizes are given, so parameters exist as soon as
    they are initialised, without a first call.
    """
    net = nn.HybridSequential()
    for _ in range(n_layers):
        net.add(nn.Dense(n_hidden, activation=act_type, in_units=n_input))
        n_input = n_hidden
    net.add(nn.Dense(n_output, in_units=n_input))
    return net


class BernoulliDecoder(HybridBlock):
    """Pixel probabilities of an image given its latent code.

    Calling it maps z, (batch, n_latent), to probabilities in [0, 1], (batch, n_output). The child
    ``logits`` stops one step earlier, at the log-odds, from which the likelihood is computed.

    Parameters
    ----------
    logits : HybridBlock
        Maps (batch, n_latent) to (batch, n_output) log-odds.
    """

    def __init__(self, logits: HybridBlock, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self.logits = logits

    def hybrid_forward(self, F: ModuleType, z: Array) -> Array:
        return F.sigmoid(self.logits(z))
