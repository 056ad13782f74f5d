"""Estimates, codes and samples of a model against its own parts."""

import numpy as np
import pytest
from conftest import N_LATENT, N_OUTPUT
from scipy.stats import norm

import gluon_vae
from gluon_vae import arrays, elbo, encode, evaluation, generate, latent_grid, prior_draws, reconstruct

import mxnet as mx
from mxnet import nd


def test_elbo_is_minus_the_mean_loss(make_vae, pixels):
    net = make_vae("static")
    estimate = elbo(net, pixels, seed=4)
    mx.random.seed(4)
    losses = net(nd.array(pixels)).asnumpy()
    np.testing.assert_allclose(estimate.per_image, -losses, rtol=1e-6)
    assert estimate.mean == pytest.approx(-losses.mean(), rel=1e-6)
    assert estimate.standard_error == pytest.approx(losses.std(ddof=1) / np.sqrt(len(pixels)), rel=1e-5)


def test_elbo_samples_z_and_follows_its_seed(make_vae, pixels):
    net = make_vae()
    assert elbo(net, pixels, seed=1).mean == elbo(net, pixels, seed=1).mean
    assert elbo(net, pixels, seed=1).mean != elbo(net, pixels, seed=2).mean


def test_more_samples_approach_the_expectation(make_vae, pixels):
    net = make_vae()
    many = elbo(net, pixels, n_samples=400).per_image
    single = np.array([elbo(net, pixels, seed=s).per_image for s in range(400)])
    error = single.std(axis=0) / 20
    assert (np.abs(many - single.mean(axis=0)) < 5 * np.sqrt(2) * error).all()


def test_elbo_does_not_depend_on_the_batches(make_vae, pixels, monkeypatch):
    net = make_vae()
    net.encoder[-1].weight.set_data(0 * net.encoder[-1].weight.data())
    net.encoder[-1].bias.set_data(nd.array([0.3] * N_LATENT + [-60.0] * N_LATENT))  # no noise to speak of
    whole = elbo(net, pixels).per_image
    monkeypatch.setattr(evaluation, "rows_per_call", lambda net, inputs: 3)
    np.testing.assert_allclose(elbo(net, pixels).per_image, whole, rtol=1e-5)


loss_terms = evaluation.loss_terms


def test_encode_generate_reconstruct(make_vae, pixels, monkeypatch):
    net = make_vae("static")
    net(nd.array(pixels))
    mu = encode(net, pixels)
    np.testing.assert_allclose(mu, net.mu.asnumpy(), rtol=1e-6)
    np.testing.assert_array_equal(generate(net, mu), net.decoder(nd.array(mu)).asnumpy())
    np.testing.assert_array_equal(reconstruct(net, pixels), generate(net, mu))
    monkeypatch.setattr(arrays, "BATCH_SIZE", 2)
    np.testing.assert_allclose(reconstruct(net, pixels), generate(net, mu), rtol=1e-5)


def test_double_precision_models_are_given_doubles(make_vae, pixels):
    net = make_vae()
    net.cast("float64")
    assert encode(net, pixels).dtype == np.float64
    assert np.isfinite(elbo(net, pixels).mean)


def test_prior_draws_are_standard_normal_and_repeatable():
    z = prior_draws(20_000, 2, seed=3)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(z.std(axis=0), 1, atol=4 / np.sqrt(2 * 20_000))
    np.testing.assert_array_equal(prior_draws(20_000, 2, seed=3), z)
    assert (prior_draws(20_000, 2, seed=4) != z).any()


def test_latent_grid_steps_hold_equal_prior_probability():
    z, ticks = latent_grid(20)
    assert z.shape == (400, 2)
    assert ticks[[0, -1]] == pytest.approx([-3, 3])
    shares = np.diff(norm.cdf(ticks))
    np.testing.assert_allclose(shares, (norm.cdf(3) - norm.cdf(-3)) / 19)


def test_latent_grid_reads_like_a_picture():
    z, ticks = latent_grid(3)
    np.testing.assert_allclose(z[0], [ticks[0], ticks[2]], rtol=1e-6)  # top left: small z1, large z2
    np.testing.assert_allclose(z[2], [ticks[2], ticks[2]], rtol=1e-6)
    np.testing.assert_allclose(z[6], [ticks[0], ticks[0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda net: elbo(net, np.zeros((2, N_OUTPUT + 1))), "x"),
        (lambda net: elbo(net, np.full((2, N_OUTPUT), 2.0)), "x"),
        (lambda net: elbo(net, np.zeros((2, N_OUTPUT)), n_samples=0), "n_samples"),
        (lambda net: elbo(net, np.zeros((2, N_OUTPUT)), seed=-1), "seed"),
        (lambda net: encode(net, np.zeros((2, N_OUTPUT), int)), "x"),
        (lambda net: reconstruct(net, np.zeros((0, N_OUTPUT))), "x"),
        (lambda net: generate(net, np.zeros((2, N_LATENT + 1))), "z"),
        (lambda net: generate(net, np.full((2, N_LATENT), np.nan)), "z"),
        (lambda net: prior_draws(0, 2), "n must"),
        (lambda net: prior_draws(2, 0), "n_latent"),
        (lambda net: latent_grid(0), "n must"),
        (lambda net: latent_grid(5, n_sigma=-1), "n_sigma"),
    ],
)
def test_bad_arguments_are_named(make_vae, call, name):
    with pytest.raises(ValueError, match=name):
        call(make_vae())


def test_an_estimate_prints_as_mean_and_error():
    assert str(gluon_vae.evaluation.Estimate(-101.26, 0.449, np.zeros(2))) == "-101.3 ± 0.4"


def test_one_image_has_an_elbo_but_no_standard_error(make_vae, pixels):
    estimate = elbo(make_vae(), pixels[:1])
    assert np.isfinite(estimate.mean)
    assert np.isnan(estimate.standard_error)
