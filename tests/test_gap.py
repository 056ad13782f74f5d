"""experiments/gap.py where the answers are known: Gaussians, and a linear model whose posteriors are Gaussian."""

import gap
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from mxnet import nd

N_IMAGES, N_LATENT, N_OUTPUT, VARIANCE = 3, 4, 6, 0.5


class Linear:
    """p(x|z) = N(W z, VARIANCE I)."""

    def __init__(self, rng):
        self.W = 0.5 * rng.standard_normal((N_OUTPUT, N_LATENT))

    def nll_given(self, x, z):
        square = ((x - nd.dot(z, nd.array(self.W.T))) ** 2).sum(axis=1) / VARIANCE
        return 0.5 * (square + N_OUTPUT * np.log(2 * np.pi * VARIANCE))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_gaussians_have_the_density_the_noise_and_the_score_of_their_draws(rng):
    lower = np.tril(rng.standard_normal((N_IMAGES, N_LATENT, N_LATENT)), -1)
    mean, scale = rng.standard_normal((N_IMAGES, N_LATENT)), rng.uniform(0.3, 2, (N_IMAGES, N_LATENT))
    q = gap.Gaussians(mean, scale, lower)
    eps = rng.standard_normal((5, N_IMAGES, N_LATENT))
    z, score = q.at(eps), q.score(eps)
    log_pdf = q.log_pdf(z)
    np.testing.assert_allclose(q.noise(z), eps)
    for n in range(N_IMAGES):
        factor = np.diag(scale[n]) @ (np.eye(N_LATENT) + lower[n])
        density = multivariate_normal(mean[n], factor @ factor.T)
        np.testing.assert_allclose(log_pdf[:, n], density.logpdf(z[:, n]))
        np.testing.assert_allclose(score[:, n], np.linalg.solve(density.cov, (z[:, n] - mean[n]).T).T)


def test_a_mixture_has_the_density_of_its_draws(rng):
    parts = [gap.Gaussians.diagonal(np.full((1, 1), m), np.full((1, 1), s)) for m, s in ((0.0, 1), (3, 0.5), (-4, 2))]
    q = gap.Mixture(parts, 0.6)
    z = np.linspace(-20, 20, 4001)[:, None, None]
    density = np.exp(q.log_pdf(z))[:, 0]
    np.testing.assert_allclose(density.sum() * 0.01, 1, atol=1e-6)
    draws = q.draws(40_000, rng)[:, 0, 0]
    for power in (1, 2):
        expected = (density * z[:, 0, 0] ** power).sum() * 0.01
        assert abs((draws**power).mean() - expected) < 5 * (draws**power).std() / 200


def test_the_ascents_find_the_posterior_and_the_best_diagonal_gaussian(rng):
    net = Linear(rng)
    x = rng.standard_normal((N_IMAGES, N_OUTPUT)).astype(np.float32)
    precision = np.eye(N_LATENT) + net.W.T @ net.W / VARIANCE
    means = np.linalg.solve(precision, net.W.T @ x.T / VARIANCE).T
    log_p = multivariate_normal(np.zeros(N_OUTPUT), net.W @ net.W.T + VARIANCE * np.eye(N_OUTPUT)).logpdf(x)
    lost = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert lost > 0.1
    q = gap.Gaussians.diagonal(means + 1, np.full((N_IMAGES, N_LATENT), 0.3))
    q, values = gap.ascend(net, x, q, 300, 12, rng, full=False)
    np.testing.assert_allclose(q.mean, means, atol=0.03)
    np.testing.assert_allclose(q.scale**-2, np.tile(np.diag(precision), (N_IMAGES, 1)), rtol=0.05)
    np.testing.assert_allclose(values[-50:].mean(axis=0), log_p - lost, atol=0.1)
    assert not q.lower.any()
    q, values = gap.ascend(net, x, q, 300, 12, rng, full=True)
    # The log-ratio of the posterior is the same at every draw.
    ratios = gap.log_ratios(net, x, q, 200, rng)
    np.testing.assert_allclose(ratios.mean(axis=0), log_p, atol=0.01)
    assert ratios.std(axis=0).max() < 0.1
    weights = gap.log_ratios(net, x, q._replace(scale=1.2 * q.scale), 4000, rng)
    np.testing.assert_allclose(logsumexp(weights, axis=0) - np.log(4000), log_p, atol=0.06)
