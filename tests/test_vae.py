"""The VAEs against an oracle in NumPy, their noise, and code that was written for the published tutorial."""

import numpy as np
import pytest
from conftest import MODES, N_LATENT, N_OUTPUT, inputs, make
from scipy.special import expit, log_expit

import gluon_vae
from gluon_vae.layers import Conditioned

import mxnet as mx
from mxnet import autograd, gluon, nd


def numpy_mlp(network, h, label):
    """Send a vector through the layers in float64; the one-hot label is appended where the network is told it."""
    if isinstance(network, Conditioned):
        network, h = network.network, np.concatenate([h, np.arange(10) == label])
    layers = list(network)
    for layer in layers:
        h = layer.weight.data().asnumpy().astype(float) @ h + layer.bias.data().asnumpy()
        if layer is not layers[-1]:
            h = np.maximum(h, 0)
    return h


def oracle(net, x, y, eps):
    """Loss and reconstruction written out, one image and one draw at a time."""
    losses, outputs = [], []
    for i, (image, label) in enumerate(zip(x.astype(float), y)):
        mu, log_var = np.split(numpy_mlp(net.encoder, image, label), 2)
        kl = sum((m**2 + np.exp(s) - 1 - s) / 2 for m, s in zip(mu, log_var))
        nll, output = [], []
        for noise in eps[i :: len(x)]:
            logits = numpy_mlp(net.decoder.logits, mu + np.exp(log_var / 2) * noise, label)
            nll.append(-(image * log_expit(logits) + (1 - image) * log_expit(-logits)).sum())
            output.append(expit(logits))
        losses.append(np.mean(nll) + net.beta * kl)
        outputs.append(np.mean(output, axis=0))
    return np.array(losses), np.array(outputs)


@pytest.mark.parametrize("kind", ["vae", "conditional"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_loss_is_the_negative_elbo(kind, mode, n_samples, beta, x):
    net = make(kind, mode, n_samples=n_samples, beta=beta)
    _, *y, eps = given = inputs(net, x)
    loss = net(*given).asnumpy()
    expected, output = oracle(net, x, y[0].asnumpy() if y else x, eps.asnumpy())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(net.output.asnumpy(), output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((net.nll + beta * net.kl).asnumpy(), loss, rtol=1e-6)


def test_more_draws_leave_the_mean_and_shrink_the_spread(x):
    def losses(n_samples):
        net = make("vae", "static", n_samples=n_samples)
        mx.random.seed(3)
        return np.array([net(nd.array(x[:1])).asscalar() for _ in range(400)])

    one, many = losses(1), losses(16)
    assert abs(one.mean() - many.mean()) < 4 * np.hypot(one.std(), many.std()) / 20
    assert many.std() == pytest.approx(one.std() / 4, rel=0.25)


def test_noise_differs_between_calls_and_follows_the_seed(x):
    net = make("vae", "static")
    mx.random.seed(5)
    first, second = net(nd.array(x)).asnumpy(), net(nd.array(x)).asnumpy()
    mx.random.seed(5)
    assert (first != second).any()
    np.testing.assert_array_equal(net(nd.array(x)).asnumpy(), first)


def test_training_on_two_contexts_equals_training_on_one(x):
    def train(contexts):
        net = make("vae", "static")
        net.collect_params().reset_ctx(contexts)
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
        batch = [array[:6] for array in inputs(net, x)]
        for _ in range(3):
            xs, noise = (gluon.utils.split_and_load(array, contexts) for array in batch)
            with autograd.record():
                losses = [net(x, eps) for x, eps in zip(xs, noise)]
            autograd.backward(losses)
            trainer.step(6)
        return {name: p.data(contexts[0]).asnumpy() for name, p in net._collect_params_with_prefix().items()}

    one, two = train([mx.cpu(0)]), train([mx.cpu(0), mx.cpu(1)])
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-6)


def test_code_for_the_published_tutorial_runs(x):
    """Constructor with a batch size, Xavier, hybridize, Trainer, attributes after the call."""
    batch_size = 4
    net = gluon_vae.VAE(n_hidden=8, n_latent=2, n_layers=2, n_output=N_OUTPUT, batch_size=batch_size)
    net.collect_params().initialize(mx.init.Xavier(), ctx=mx.cpu())
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.001})
    losses = []
    for batch in mx.io.NDArrayIter(data=x, label=np.arange(7), batch_size=batch_size):
        data = batch.data[0].as_in_context(mx.cpu())
        with autograd.record():
            loss = net(data)
        loss.backward()
        trainer.step(data.shape[0])
        losses.append(nd.mean(loss).asscalar())
    assert np.isfinite(losses).all()
    assert net.mu.asnumpy().shape == (batch_size, 2)
    assert net.output.asnumpy().shape == (batch_size, N_OUTPUT)
    assert net.decoder(nd.zeros((5, 2))).shape == (5, N_OUTPUT)
    positional = gluon_vae.VAE(8, 2, 2, N_OUTPUT, batch_size, "tanh")
    assert positional.n_output == N_OUTPUT


def test_the_mlp_constructor_is_a_special_case_of_composition(x):
    net = make()
    again = gluon_vae.ComposedVAE(net.encoder, net.decoder.logits, N_LATENT, N_OUTPUT)
    np.testing.assert_array_equal(again(*inputs(net, x)).asnumpy(), net(*inputs(net, x)).asnumpy())


def test_the_published_convolutional_configuration():
    net = gluon_vae.ConvVAE()
    net.initialize()
    with autograd.record():
        loss = net(nd.random.uniform(shape=(2, 784)))
    loss.backward()  # a transposed convolution to one channel would fail here
    weights = [p.shape for name, p in net.collect_params().items() if name.endswith("weight") and len(p.shape) == 4]
    assert weights == [(16, 1, 4, 4), (32, 16, 4, 4), (64, 32, 4, 4), (64, 32, 4, 4), (32, 16, 4, 4), (16, 2, 4, 4)]
    assert net.mu.shape == (2, 100)
