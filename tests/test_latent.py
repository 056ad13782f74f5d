"""From images to codes and back, and where codes are taken from."""

import numpy as np
import pytest
from conftest import N_OUTPUT, N, every_model, labels, make
from scipy.stats import chisquare, norm

from gluon_vae import arrays, encode, generate, latent_grid, pixel_variance, prior_draws, reconstruct

from mxnet import nd


@every_model
def test_images_become_codes_and_codes_images(kind, options, x, monkeypatch):
    net = make(kind, "static", **options)
    y = labels(net)
    net(nd.array(x), *y)
    mu = encode(net, x, *y)
    np.testing.assert_allclose(mu, net.mu.asnumpy(), rtol=1e-6, atol=1e-6)
    images = generate(net, mu, *y)
    np.testing.assert_array_equal(images, net.decoder(nd.array(mu), *map(nd.array, y)).asnumpy())
    np.testing.assert_array_equal(reconstruct(net, x, *y), images)
    if net.log_var is None:
        np.testing.assert_allclose(images, net.output.asnumpy(), rtol=1e-5)
    monkeypatch.setattr(arrays, "BATCH_SIZE", 2)
    np.testing.assert_allclose(reconstruct(net, x, *y), generate(net, mu, *y), rtol=1e-5)
    np.testing.assert_allclose(generate(net, mu, *y), images, rtol=1e-5)


@every_model
def test_drawn_pixels_have_the_mean_and_the_variance_that_are_claimed(kind, options):
    net, n = make(kind, **options), 1000
    z, y = prior_draws(N, net.n_latent), labels(net)
    mean, claimed = generate(net, z, *y), pixel_variance(net, z, *y)
    np.testing.assert_array_equal(mean, generate(net, z, *y))
    often = [np.concatenate([array] * n) for array in (z, *y)]
    samples = generate(net, *often, pixels="sample", seed=3)
    np.testing.assert_array_equal(samples, generate(net, *often, pixels="sample", seed=3))
    assert (samples != generate(net, *often, pixels="sample", seed=4)).any()
    drawn = samples.reshape(n, N, N_OUTPUT)
    assert claimed.shape == mean.shape == drawn.shape[1:]
    error = (drawn.mean(axis=0) - mean) / np.sqrt(claimed / n)
    assert np.abs(error).max() < 5
    assert np.square(error).mean() == pytest.approx(1, abs=0.2)
    assert np.abs(drawn.var(axis=0) - claimed).max() < 0.25 * claimed.max()


def test_prior_draws_are_standard_normal_and_repeatable():
    z = prior_draws(20_000, 2, seed=3)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(z.std(axis=0), 1, atol=4 / np.sqrt(2 * 20_000))
    np.testing.assert_array_equal(prior_draws(20_000, 2, seed=3), z)
    assert (prior_draws(20_000, 2, seed=4) != z).any()


def test_latent_grid_nodes_are_the_middles_of_cells_of_equal_prior_probability():
    z, ticks = latent_grid(20)
    assert z.shape == (400, 2)
    edges = norm.ppf(np.linspace(0, 1, 21))
    assert (np.searchsorted(edges, ticks) == np.arange(1, 21)).all()  # one to a cell
    below, above = norm.cdf(ticks) - norm.cdf(edges[:-1]), norm.cdf(edges[1:]) - norm.cdf(ticks)
    np.testing.assert_allclose(below, above)
    draws = norm.cdf(prior_draws(200_000, 2))
    counts, *_ = np.histogram2d(*draws.T, bins=norm.cdf(edges))
    assert chisquare(counts.ravel()).pvalue > 0.001


def test_latent_grid_reaches_as_far_as_asked_in_steps_of_equal_prior_probability():
    z, ticks = latent_grid(20, n_sigma=3)
    assert z.shape == (400, 2)
    assert ticks[[0, -1]] == pytest.approx([-3, 3])
    shares = np.diff(norm.cdf(ticks))
    np.testing.assert_allclose(shares, (norm.cdf(3) - norm.cdf(-3)) / 19)


def test_latent_grid_reads_like_a_picture():
    z, ticks = latent_grid(3)
    np.testing.assert_allclose(z[0], [ticks[0], ticks[2]], rtol=1e-6)  # top left: small z1, large z2
    np.testing.assert_allclose(z[2], [ticks[2], ticks[2]], rtol=1e-6)
    np.testing.assert_allclose(z[6], [ticks[0], ticks[0]], rtol=1e-6)
