"""experiments/likelihoods.py where the answers are known: sums of probabilities, gradients, simulated pixels."""

import likelihoods
import numpy as np
import pytest
from scipy.special import log_ndtr
from scipy.stats import norm

from mxnet import autograd, nd

LEVELS = np.arange(256) / 255


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_log_cdf_and_its_gradient_are_those_of_scipy_far_into_the_tail():
    t = np.concatenate([np.linspace(-60, 9, 3001), np.linspace(-3.1, -2.9, 1001)]).astype(np.float32)
    x = nd.array(t)
    x.attach_grad()
    with autograd.record():
        y = likelihoods.log_cdf(nd, x)
    y.backward()
    exact = log_ndtr(t.astype(float))
    np.testing.assert_allclose(y.asnumpy(), exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), np.exp(norm.logpdf(t.astype(float)) - exact), rtol=1e-4, atol=1e-5)


def test_the_mass_of_the_cells_is_a_difference_of_distribution_functions_and_sums_to_1_with_the_tails(rng):
    mean, std = rng.uniform(-0.5, 1.5, (20, 1)), rng.uniform(0.02, 0.6, (20, 1))
    cells = norm.cdf(LEVELS + 0.5 / 255, mean, std) - norm.cdf(LEVELS - 0.5 / 255, mean, std)
    tiled = np.tile(LEVELS, (20, 1))
    mass = np.exp(likelihoods.log_mass(tiled, mean, std))
    np.testing.assert_allclose(mass, cells, atol=1e-12)
    clipped = np.exp(likelihoods.log_mass(tiled, mean, std, clip=True))
    np.testing.assert_allclose(clipped.sum(axis=1), 1)
    np.testing.assert_array_equal(clipped[:, 1:-1], mass[:, 1:-1])
    # In the upper tail a difference of distribution functions near 1 would be 0.
    far = likelihoods.log_mass(np.array([0.9]), -0.5, 0.05)
    np.testing.assert_allclose(far, norm.logpdf(0.9, -0.5, 0.05) - np.log(255), rtol=1e-2)


@pytest.mark.parametrize("bounded", [False, True])
def test_a_clipped_gaussian_gives_the_mass_of_the_cells_with_the_tails(rng, bounded):
    block = likelihoods.ClippedGaussian(0.05, bounded)
    logits = rng.normal(0, 3, (256, 4)).astype(np.float32)
    location, std = (part.asnumpy().astype(float) for part in block.moments(nd, nd.array(logits)))
    assert std.min() > 0.05
    assert (location >= 0).all() == bounded
    x = np.stack([LEVELS, LEVELS[::-1]], axis=1)
    found = block(nd.array(logits), nd.array(x)).asnumpy()
    np.testing.assert_allclose(found, -likelihoods.log_mass(x, location, std, clip=True).sum(axis=1), rtol=2e-3)
    drawn = block.sample(nd.tile(nd.array(logits[:1]), (20_000, 1))).asnumpy()
    for share, expected in (
        ((drawn == 0).mean(axis=0), norm.cdf(0, location[0], std[0])),
        ((drawn == 1).mean(axis=0), norm.sf(1, location[0], std[0])),
        (drawn.mean(axis=0), likelihoods.clipped_mean(location[0], std[0])),
    ):
        np.testing.assert_allclose(share, expected, atol=0.02)


def test_the_bernoulli_of_the_levels_sums_to_1_and_draws_its_mean(rng):
    block = likelihoods.LevelsBernoulli()
    for logit in (-40.0, -3, -1e-4, 0, 0.7, 25):
        log_p = -block(nd.full((256, 1), logit), nd.array(LEVELS[:, None])).asnumpy().astype(float)
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-4)
        np.testing.assert_allclose(np.diff(log_p), logit / 255, atol=2e-5)
        drawn = block.sample(nd.full((20_000, 1), logit)).asnumpy()
        assert abs(drawn.mean() - np.exp(log_p) @ LEVELS) < 0.01
        np.testing.assert_allclose(likelihoods.levels_mean(np.array(logit)), np.exp(log_p) @ LEVELS, atol=1e-3)


def test_the_best_standard_deviation_is_that_of_the_noise(rng):
    means = rng.uniform(-0.2, 1.2, (50, 784))
    x = np.rint(255 * np.clip(means + 0.23 * rng.standard_normal(means.shape), 0, 1)) / 255
    assert abs(likelihoods.best_std(x, means) - 0.23) < 0.005


def test_neighbours_are_alike_where_deviations_are_smooth_and_not_where_they_are_independent(rng):
    noise = rng.standard_normal((200, 784)) * rng.exponential(size=(1, 784))
    assert abs(likelihoods.neighbours(noise)) < 0.02
    assert likelihoods.neighbours(np.ones((3, 784))) == pytest.approx(1)
    rows = np.repeat(rng.standard_normal((500, 28, 1)), 28, axis=2)  # alike along rows alone
    assert abs(likelihoods.neighbours(rows.reshape(-1, 784)) - 0.5) < 0.02
    assert likelihoods.in_a_tenth(np.where(np.arange(784) < 78, 1.0, 0.0)[None]) == 1
    assert likelihoods.in_a_tenth(np.ones((1, 784))) == pytest.approx(78 / 784)


def test_the_published_model_is_a_gaussian_less_its_constants(rng):
    net = likelihoods.PublishedVAE(likelihoods.std_meant)
    net.initialize()
    x, eps = rng.random((5, 784)).astype(np.float32), rng.standard_normal((5, 64)).astype(np.float32)
    loss = net(nd.array(x), nd.array(eps)).asnumpy()
    shifted = net.encoder[1](nd.array(x - 0.5)).asnumpy()
    mu, log_var = np.split(shifted, 2, axis=1)
    mean = net.decoder.logits(nd.array(mu + np.exp(0.5 * log_var) * eps)).asnumpy()
    log_density = norm.logpdf(x - 0.5, mean, np.sqrt(0.098)).sum(axis=1)
    kl = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1)
    np.testing.assert_allclose(loss, -log_density - 392 * np.log(2 * np.pi * 0.098) + kl, rtol=1e-4)
