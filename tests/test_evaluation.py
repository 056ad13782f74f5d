"""The ELBO, what each latent dimension carries, and which models have them."""

import numpy as np
import pytest
from conftest import N_LATENT, VAES, every_model, labels, make, refused

import gluon_vae
from gluon_vae import active_units, elbo, evaluation, kl_per_dimension, log_likelihood

import mxnet as mx
from mxnet import nd


@every_model
def test_every_vae_has_an_elbo_below_its_log_likelihood_and_nothing_else_has_one(kind, options, x):
    net = make(kind, "static", **options)
    if kind in VAES:
        bound = elbo(net, x, *labels(net), n_samples=100)
        likelihood = log_likelihood(net, x, *labels(net), n_samples=2000, progress=False)
        assert bound.mean < likelihood.mean
    else:
        for function in (elbo, log_likelihood, kl_per_dimension):
            with refused("net must be a VAE", type(net).__name__):
                function(net, x)


@every_model
def test_dimensions_share_the_kl(kind, options, x):
    net = make(kind, "static", **options)
    net(nd.array(x), *labels(net))
    if kind in VAES:
        shares = kl_per_dimension(net, x, *labels(net))
        assert shares.shape == (N_LATENT,)
        of_label = np.log(net.n_classes) if kind == "semi-supervised" else 0  # told, against the uniform prior
        assert shares.sum() + of_label == pytest.approx(net.kl.mean().asscalar(), rel=1e-5)


def test_elbo_is_minus_the_mean_loss(x):
    net = make("vae", "static")
    estimate = elbo(net, x, seed=4)
    mx.random.seed(4)
    losses = net(nd.array(x)).asnumpy()
    np.testing.assert_allclose(estimate.per_image, -losses, rtol=1e-6)
    assert estimate.mean == pytest.approx(-losses.mean(), rel=1e-6)
    assert estimate.standard_error == pytest.approx(losses.std(ddof=1) / np.sqrt(len(x)), rel=1e-5)


def test_elbo_samples_z_and_follows_its_seed(x):
    net = make()
    assert elbo(net, x, seed=1).mean == elbo(net, x, seed=1).mean
    assert elbo(net, x, seed=1).mean != elbo(net, x, seed=2).mean


def test_more_samples_approach_the_expectation(x):
    net = make()
    many = elbo(net, x, n_samples=400).per_image
    single = np.array([elbo(net, x, seed=s).per_image for s in range(400)])
    error = single.std(axis=0) / 20
    assert (np.abs(many - single.mean(axis=0)) < 5 * np.sqrt(2) * error).all()


def test_elbo_does_not_depend_on_the_batches(x, monkeypatch):
    net = make()
    net.encoder[-1].weight.set_data(0 * net.encoder[-1].weight.data())
    net.encoder[-1].bias.set_data(nd.array([0.3] * N_LATENT + [-60.0] * N_LATENT))  # no noise to speak of
    whole = elbo(net, x).per_image
    monkeypatch.setattr(evaluation, "rows_per_call", lambda net, inputs: 3)
    np.testing.assert_allclose(elbo(net, x).per_image, whole, rtol=1e-5)


def test_double_precision_models_are_given_doubles(x):
    net = make()
    net.cast("float64")
    assert gluon_vae.encode(net, x).dtype == np.float64
    assert np.isfinite(elbo(net, x).mean)


def test_an_estimate_prints_as_mean_and_error():
    assert str(evaluation.Estimate(-101.26, 0.449, np.zeros(2))) == "-101.3 ± 0.4"


def test_one_image_has_an_elbo_but_no_standard_error(x):
    estimate = elbo(make(), x[:1])
    assert np.isfinite(estimate.mean)
    assert np.isnan(estimate.standard_error)


def test_a_dimension_that_ignores_the_image_is_not_active(x):
    net = make()
    last = net.encoder[-1]
    weight, bias = 20 * last.weight.data(), last.bias.data()
    weight[1], weight[net.n_latent + 1], bias[1], bias[net.n_latent + 1] = 0, 0, 0, 0
    last.weight.set_data(weight)
    last.bias.set_data(bias)
    assert active_units(net, x).tolist() == [True, False, True]
    assert kl_per_dimension(net, x)[1] == 0
    assert not active_units(net, x, threshold=1e6).any()
