"""What training and evaluation ask of a model: the family keeps it, and a model from elsewhere that does is taken."""

import numpy as np
import pytest
from conftest import N_LATENT, N_OUTPUT, every_model, labels, make, refused

import gluon_vae
from gluon_vae import encode, fit, generate, reconstruct
from gluon_vae.contract import Contract, is_initialized, not_finite

import mxnet as mx
from mxnet import gluon, nd


class Squares(gluon.HybridBlock):
    """What the contract asks for and nothing more: a linear autoencoder with squares for its loss."""

    n_latent, n_output = N_LATENT, N_OUTPUT
    mu = output = nll = None

    def __init__(self):
        super().__init__()
        self.encoder = gluon.nn.Dense(N_LATENT, in_units=N_OUTPUT)
        self.decoder = gluon.nn.Dense(N_OUTPUT, in_units=N_LATENT, activation="sigmoid")

    def forward(self, x):
        self.mu = self.encoder(x)
        self.output = self.decoder(self.mu)
        self.nll = ((x - self.output) ** 2).sum(axis=1)
        return self.nll


@every_model
def test_every_model_of_the_family_keeps_the_contract(kind, options, x):
    net = make(kind, **options)
    assert isinstance(net, Contract)
    net(x, *labels(net))
    assert isinstance(net, Contract)


@pytest.mark.parametrize("name", ["n_latent", "n_output", "encoder", "decoder", "mu", "output", "nll"])
def test_a_model_that_lacks_a_part_does_not_keep_it(name):
    net = Squares()
    assert isinstance(net, Contract)
    owner = Squares if name in vars(Squares) else net
    value = getattr(owner, name)
    delattr(owner, name)
    try:
        assert not isinstance(net, Contract)
    finally:
        setattr(owner, name, value)
    assert not isinstance(gluon.nn.Dense(2), Contract)


def test_a_model_from_elsewhere_that_keeps_it_is_trained_and_used(x, tmp_path):
    net, path = Squares(), tmp_path / "checkpoint"
    history = fit(net, x, x[:3], n_epochs=30, batch_size=4, learning_rate=0.02, checkpoint=path, progress=False)
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert history["train_nll"] == history["train_loss"]
    assert history["test_nll"][-1] == pytest.approx(net(nd.array(x[:3])).mean().asscalar(), rel=1e-6)
    assert not any("kl" in key for key in history)

    loss = net(nd.array(x)).asnumpy()
    np.testing.assert_allclose(encode(net, x), net.mu.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(generate(net, encode(net, x)), net.output.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(reconstruct(net, x), net.output.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(np.square(reconstruct(net, x) - x).sum(axis=1), loss, rtol=1e-5)
    for refusing in (gluon_vae.elbo, gluon_vae.log_likelihood, gluon_vae.kl_per_dimension):
        with refused("net must be a VAE", "Squares"):
            refusing(net, x)
    for function in (encode, reconstruct):
        with refused("x must", "64", "(7, 63)"):
            function(net, x[:, 1:])

    with refused("Squares", "build it"):
        gluon_vae.load(path)
    np.testing.assert_array_equal(gluon_vae.load(path, Squares())(nd.array(x)).asnumpy(), loss)
    again = Squares()
    resumed = fit(
        again, x, x[:3], n_epochs=30, batch_size=4, learning_rate=0.02, checkpoint=path, resume=True, progress=False
    )
    assert resumed == history
    np.testing.assert_array_equal(again(nd.array(x)).asnumpy(), loss)


def test_is_initialized_knows_deferred_parameters():
    net = gluon.nn.Dense(2)
    assert not is_initialized(net)
    net.initialize()
    assert is_initialized(net)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_that_is_not_finite_is_found(value, dtype):
    net = Squares()
    net.initialize()
    net.cast(dtype)
    assert not_finite(net) is None
    net.decoder.bias.data()[3] = value
    assert not_finite(net) == "decoder.bias"
    net.encoder.weight.data()[1, 2] = value
    assert not_finite(net) == "encoder.weight"


def test_numbers_whose_squares_overflow_are_finite():
    net = Squares()
    net.initialize()
    net.decoder.weight.data()[:] = 1e30
    assert not_finite(net) is None


def test_parameters_of_two_dtypes_and_integers_are_looked_at():
    net = Squares()
    net.initialize()
    net.decoder.cast("float64")
    net.labels = net.params.get("labels", shape=(3,), dtype="int32", grad_req="null", init="zeros")
    net.labels.initialize()
    assert not_finite(net) is None
    net.decoder.bias.data()[0] = np.nan
    assert not_finite(net) == "decoder.bias"


def test_a_scalar_that_is_not_finite_is_found():
    with mx.util.np_shape(True):
        net = Squares()
        net.scale = net.params.get("scale", shape=(), init=mx.init.Constant(3))
        net.initialize()
        assert not_finite(net) is None
        net.scale.set_data(nd.full((), np.nan))
        assert not_finite(net) == "scale"
