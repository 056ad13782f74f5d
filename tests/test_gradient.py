"""A bound graph gives the bits of Gluon's own way, whatever the model, and notices when the model is another."""

import numpy as np
import pytest
from conftest import FAMILY, VAES, assert_equal, every_model, grey_images, inputs, labels, make, noise

from gluon_vae import VAE, ComposedVAE, fit
from gluon_vae.checkpoint import parameters_of
from gluon_vae.contract import terms
from gluon_vae.gradient import MOST_GRAPHS, Gradient
from gluon_vae.rows import Rows

import mxnet as mx
from mxnet import autograd, nd
from mxnet.gluon import nn


def gradients(net):
    return {name: p.grad().asnumpy() for name, p in net.collect_params().items() if p.grad_req != "null"}


def bound_graphs(gradient):
    return len(gradient._bound)


def gluons_way(net, arguments):
    with autograd.record():
        loss = net(*arguments)
    loss.backward()
    return {name: value.asnumpy() for name, value in terms(net, loss).items()}, gradients(net)


@every_model
def test_gradients_and_terms_are_those_of_gluon(kind, options):
    net = make(kind, "static", **options)
    first, second = inputs(net, grey_images()), inputs(net, grey_images()[::-1].copy())
    values, expected = gluons_way(net, second)
    gradient = Gradient(net)
    gradient(first)
    names, read = gradient(second)
    assert bound_graphs(gradient) == 1
    assert_equal(dict(zip(names, read.asnumpy())), values)
    assert_equal(gradients(net), expected)


@pytest.mark.parametrize("kind", sorted(VAES))
def test_a_smaller_weight_of_the_kl_is_differentiated_in_a_graph_of_its_own(kind):
    net = make(kind, "static")
    given, gradient = inputs(net, grey_images()), Gradient(net)
    for less_kl in (0.7, 0, 0.3):
        with autograd.record():
            loss = net(*given)
            objective = loss - less_kl * net.kl
        objective.backward()
        expected = gradients(net)
        names, read = gradient(given, less_kl=less_kl)
        np.testing.assert_array_equal(read[names.index("loss")].asnumpy(), loss.asnumpy())
        for name, values in gradients(net).items():
            tolerance = 1e-6 * np.abs(expected[name]).max()
            np.testing.assert_allclose(values, expected[name], rtol=0, atol=tolerance, err_msg=name)
    assert bound_graphs(gradient) == 2


def as_rows(arrays):
    """Return arrays as rows of larger ones, in which they stand backwards."""
    order = nd.array(np.arange(len(arrays[0]))[::-1].copy(), dtype="int32")
    return [Rows(array[::-1], order) for array in arrays]


@pytest.mark.parametrize("given_as", [list, as_rows], ids=["arrays", "rows"])
@pytest.mark.parametrize("kind", sorted(FAMILY))
def test_noise_is_drawn_as_by_a_call_in_training(kind, given_as):
    net = make(kind, "static")
    batch = [nd.array(grey_images()), *(nd.array(label, dtype="int32") for label in labels(net))]
    mx.random.seed(3)
    values, expected = gluons_way(net, batch)
    _, after = gluons_way(net, batch)
    gradient = Gradient(net)
    mx.random.seed(3)
    names, read = gradient(given_as(batch))
    assert_equal(dict(zip(names, read.asnumpy())), values)
    assert_equal(gradients(net), expected)
    gradient(given_as(batch))
    assert_equal(gradients(net), after)
    assert bound_graphs(gradient) == 1


class OwnNoise(VAE):
    def draw_noise(self, x):
        return nd.full(self.noise_shape(x), 0.5)


class OtherDefault(VAE):
    def default_noise(self, x):
        return nd.full(self.noise_shape(x), 0.5)


class OwnInputs(VAE):
    def call_inputs(self, x, *args):
        x, _ = super().call_inputs(x, *args)
        return [x, nd.full(self.noise_shape(x), 0.5)]


@pytest.mark.parametrize("model", [OwnNoise, OtherDefault, OwnInputs])
def test_a_model_with_noise_of_its_own_draws_it(model):
    net = model(n_hidden=5, n_latent=2, n_output=64)
    net.initialize()
    net.hybridize(static_alloc=True, static_shape=True)
    x = nd.array(grey_images())
    values, expected = gluons_way(net, [x, nd.full((len(x), 2), 0.5)])
    names, read = Gradient(net)(as_rows([x]))
    assert_equal(dict(zip(names, read.asnumpy())), values)
    assert_equal(gradients(net), expected)


@pytest.mark.parametrize("given_as", [list, as_rows], ids=["arrays", "rows"])
@pytest.mark.parametrize("kind", sorted(FAMILY))
def test_what_the_last_batch_gave_is_kept_on_the_model(kind, given_as):
    net, gradient = make(kind, "static"), Gradient(make(kind, "static"))
    batch = [nd.array(grey_images()), *(nd.array(label, dtype="int32") for label in labels(net))]
    mx.random.seed(3)
    with autograd.train_mode():
        net(*batch)
    mx.random.seed(3)
    gradient(given_as(batch))
    assert gradient._net.mu is None
    gradient.keep()
    gradient(given_as([1 - batch[0], *batch[1:]]))  # which writes to the same places
    for name in net.output_names:
        np.testing.assert_array_equal(getattr(gradient._net, name).asnumpy(), getattr(net, name).asnumpy())


class Tinted(VAE):
    """A model with a parameter that its pictures depend on, and its loss does not."""

    def __init__(self):
        super().__init__(n_hidden=5, n_latent=2, n_output=64)
        self.tint = self.params.get("tint", shape=(1, 64), init="ones")

    def hybrid_forward(self, F, x, eps, *, tint, **parameters):
        loss, mu, log_var, output, nll, kl = super().hybrid_forward(F, x, eps, **parameters)
        return loss, mu, log_var, F.broadcast_mul(output, tint), nll, kl


def test_a_parameter_that_the_loss_does_not_depend_on_has_no_gradient():
    net = Tinted()
    net.initialize()
    net.hybridize(static_alloc=True, static_shape=True)
    net.tint.grad()[:] = 7
    gradient = Gradient(net)
    gradient([nd.array(grey_images())])
    assert bound_graphs(gradient) == 1
    assert not gradients(net)[net.tint.name].any()
    gradient.keep()
    assert net.output.shape == grey_images().shape


def test_layers_with_a_state_and_with_noise_of_their_own_are_trained_to_the_same_bits(monkeypatch):
    def trained(bound):
        mx.random.seed(0)
        encoder, decoder = nn.HybridSequential(), nn.HybridSequential()
        encoder.add(nn.HybridLambda(lambda F, x: F.reshape(x, shape=(-1, 1, 8, 8))), nn.Conv2D(4, 3, in_channels=1))
        encoder.add(nn.BatchNorm(in_channels=4), nn.Activation("relu"), nn.Dropout(0.5), nn.Dense(6))
        decoder.add(nn.Dense(9, activation="tanh", in_units=3), nn.Dense(64, in_units=9))
        net = ComposedVAE(encoder, decoder, 3, 64)
        net.hybridize(static_alloc=True, static_shape=True)
        with monkeypatch.context() as patch:
            if not bound:
                patch.setattr("gluon_vae.gradient._state", lambda net: None)
            history = fit(net, grey_images(), n_epochs=3, batch_size=4, progress=False)
        return parameters_of(net), history["train_loss"]

    (parameters, loss), (expected, expected_loss) = trained(True), trained(False)
    assert loss == expected_loss
    assert_equal(parameters, expected)
    assert np.ptp(parameters["encoder.2.running_mean"]) > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "beta", 3.0),
        lambda net: net.encoder.collect_params().setattr("grad_req", "null"),
        lambda net: net.hybridize(active=False),
        lambda net: net.initialize(mx.init.Normal(0.5), force_reinit=True),
        lambda net: net.cast("float64"),
    ],
    ids=["a setting", "what is trained", "not hybridized", "other arrays", "another dtype"],
)
def test_a_model_that_was_changed_between_two_epochs_is_trained_as_it_is_now(change):
    net = make(mode="static")
    gradient = Gradient(net)
    gradient(inputs(net, grey_images()))
    mx.random.seed(5)
    change(net)
    gradient.settle()
    given = inputs(net, grey_images(), dtype=net.encoder[0].weight.dtype)
    _, values = gradient(given)
    found = gradients(net)
    loss, expected = gluons_way(net, given)
    np.testing.assert_array_equal(values[0].asnumpy(), loss["loss"])
    assert_equal(found, expected)


def test_what_did_not_change_is_not_bound_again():
    net = make(mode="static")
    gradient = Gradient(net)
    gradient(inputs(net, grey_images()))
    (graph,) = gradient._bound.values()
    gradient.settle()
    gradient(inputs(net, grey_images()))
    assert list(gradient._bound.values()) == [graph]


def test_no_more_graphs_are_bound_than_a_few():
    net = make(mode="static")
    gradient = Gradient(net)
    for n in range(1, MOST_GRAPHS + 3):
        _, values = gradient([nd.array(grey_images()[:n])])
        assert values.shape == (3, n)
    assert bound_graphs(gradient) == MOST_GRAPHS


@pytest.mark.parametrize("mode", ["imperative", "hybrid"])
def test_a_model_that_is_not_static_is_called(mode):
    gradient = Gradient(make(mode=mode))
    gradient(inputs(gradient._net, grey_images()))
    assert bound_graphs(gradient) == 0
    assert gradient._net.mu is not None


def test_a_model_with_a_hook_is_called():
    net, seen = make(mode="static"), []
    net.register_forward_hook(lambda net, inputs, output: seen.append(output.shape))
    Gradient(net)([nd.array(grey_images()), *noise(net, nd.array(grey_images()))])
    assert seen == [(7,)]


def test_nothing_is_printed_about_graphs(capfd):
    net = make(mode="static")
    Gradient(net)(inputs(net, grey_images()))
    nd.waitall()
    assert capfd.readouterr() == ("", "")
