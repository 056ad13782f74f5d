"""Encoders and decoders: what convolutions do to a side, and what keeps a layer learning."""

import pytest
from conftest import N_LATENT, N_OUTPUT

import gluon_vae

from mxnet import autograd, gluon, nd


@pytest.mark.parametrize(("side", "halved"), [(8, [4, 2, 1]), (9, [5, 3, 2]), (11, [6, 3, 2]), (28, [14, 7, 4])])
def test_convolutions_halve_every_side_rounding_up_and_find_back(side, halved):
    net = gluon_vae.ConvVAE((2, 3, 4), N_LATENT, side**2)
    net.initialize()
    h, sides = nd.random.uniform(shape=(1, side**2)), []
    for layer in net.encoder:
        h = layer(h)
        if isinstance(layer, gluon.nn.Conv2D):
            sides.append(h.shape[2])
    assert sides == halved
    assert net.decoder(nd.zeros((1, N_LATENT))).shape == (1, side**2)


def test_a_leaky_layer_never_stops_learning():
    """Where every unit of an ordinary one is off, no gradient comes back."""
    slopes = {}
    for act_type in ("relu", "leaky"):
        net = gluon_vae.VAE(4, N_LATENT, 1, N_OUTPUT, act_type=act_type)
        net.initialize()
        net.encoder[0].bias.set_data(nd.full(4, -100))
        with autograd.record():
            loss = net(nd.random.uniform(shape=(2, N_OUTPUT)))
        loss.backward()
        slopes[act_type] = net.encoder[0].weight.grad().abs().max().asscalar()
    assert slopes["relu"] == 0 < slopes["leaky"]
