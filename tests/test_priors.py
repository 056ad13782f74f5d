"""Priors of codes: densities that integrate to 1 and belong to their draws, and bounds under them."""

import numpy as np
import pytest
from conftest import LABELS, bent, labels, make, refused
from scipy.stats import multivariate_normal

from gluon_vae import elbo, kl_diagonal_gaussian, log_likelihood, posterior_draws, priors
from gluon_vae.contract import Prior
from gluon_vae.flow import Flow
from gluon_vae.latent import posterior
from gluon_vae.priors import Mixture, StandardNormal, fit_mixture
from gluon_vae.vamp_prior import VampPrior

MEAN, COVARIANCE = np.array([0.5, -1]), np.array([[1.0, 0.4], [0.4, 0.5]])
WEIGHTS, MEANS = np.array([0.2, 0.5, 0.3]), np.array([[-2.0, 0], [0, 1], [2, -1]])
FACTORS = np.array([[[1, 0], [0.5, 0.4]], [[0.3, 0], [-0.2, 0.6]], [[0.8, 0], [0, 0.5]]])


def plane():
    return make("vae", n_latent=2)


PRIORS = {
    "standard normal": lambda x: StandardNormal(2),
    "full": lambda x: Mixture(WEIGHTS, MEANS, FACTORS),
    "diagonal": lambda x: Mixture(WEIGHTS, MEANS, FACTORS[:, [0, 1], [0, 1]]),
    "vamp": lambda x: VampPrior(plane(), x),
    "flow": lambda x: bent(Flow(MEAN, COVARIANCE, 4, 8)),
}
every_prior = pytest.mark.parametrize("kind", PRIORS)


@every_prior
def test_a_density_integrates_to_1_and_belongs_to_the_draws(kind, x):
    prior, n = PRIORS[kind](x), 20_000
    assert isinstance(prior, Prior)
    axis, step = np.linspace(-14, 14, 281, retstep=True)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_pdf = prior.log_pdf(z)
    mass = np.exp(log_pdf) * step**2
    assert log_pdf.dtype == np.float64
    assert mass.sum() == pytest.approx(1, abs=2e-4)
    draws = prior.draws(n, seed=3)
    assert draws.shape == (n, 2)
    assert draws.dtype == np.float32
    np.testing.assert_array_equal(draws, prior.draws(n, seed=3))
    assert (draws != prior.draws(n, seed=4)).any()
    at_draws = prior.log_pdf(draws)
    products = [f(draws.T.astype(float)) for f in (lambda z: z, lambda z: z**2, lambda z: z[:1] * z[1:], np.cos)]
    expected = [mass @ f(z.T).T for f in (lambda z: z, lambda z: z**2, lambda z: z[:1] * z[1:], np.cos)]
    for values, mean in zip([*np.concatenate(products), at_draws], [*np.concatenate(expected), mass @ log_pdf]):
        assert abs(values.mean() - mean) < 5 * values.std() / np.sqrt(n) + 1e-3


def test_the_standard_normal_gives_the_bounds_of_old(x):
    net = make()
    prior = StandardNormal(net.n_latent)
    closed = np.array([elbo(net, x, n_samples=10, seed=s).per_image for s in range(20)])
    drawn = np.array([elbo(net, x, n_samples=1000, seed=100 + s, prior=prior).per_image for s in range(20)])
    error = np.sqrt((closed.var(axis=0, ddof=1) + drawn.var(axis=0, ddof=1)) / 20)
    assert (np.abs(closed.mean(axis=0) - drawn.mean(axis=0)) < 5 * error).all()
    assert error.max() < 0.6
    settings = {"n_samples": 300, "progress": False}
    old, new = log_likelihood(net, x, **settings), log_likelihood(net, x, **settings, prior=prior)
    np.testing.assert_allclose(new.per_image, old.per_image, atol=1e-4)  # of the same draws


@pytest.mark.parametrize("kind", ["vae", "conditional"])
def test_under_a_gaussian_prior_the_bound_differs_by_the_difference_of_the_divergences(kind, x):
    net = make(kind)
    mean, std = np.array([1.0, 0, -0.5]), np.array([0.5, 2, 1])
    prior = Mixture([1.0], mean[None], std[None])
    mu, log_var = posterior(net, x, *labels(net))
    change = kl_diagonal_gaussian(mu, np.exp(log_var), 0, 1) - kl_diagonal_gaussian(mu, np.exp(log_var), mean, std**2)
    settings = {"n_samples": 4000, "seed": 5}
    under = [elbo(net, x, *labels(net), **settings, prior=p) for p in (StandardNormal(3), prior)]
    gain = under[1].per_image - under[0].per_image
    assert np.abs(change).min() > 0.3
    np.testing.assert_allclose(gain, change, atol=0.3)
    bound = log_likelihood(net, x, *labels(net), n_samples=2000, progress=False, prior=prior)
    assert bound.mean > under[1].mean


def test_one_component_is_the_gaussian_of_mean_and_covariance():
    codes = multivariate_normal(MEAN, COVARIANCE).rvs(500, random_state=0)
    prior = fit_mixture(codes)
    gaussian = multivariate_normal(codes.mean(axis=0), np.cov(codes.T, bias=True))
    np.testing.assert_allclose(prior.log_pdf(codes), gaussian.logpdf(codes), atol=1e-4)


def test_em_finds_three_clusters():
    codes = Mixture(WEIGHTS, 5 * MEANS, FACTORS).draws(5000)
    fitted = fit_mixture(codes, 3)
    order = fitted.means[:, 0].argsort()
    np.testing.assert_allclose(fitted.weights[order], WEIGHTS, atol=0.03)
    np.testing.assert_allclose(fitted.means[order], 5 * MEANS, atol=0.1)
    np.testing.assert_allclose(fitted.factors[order], FACTORS, atol=0.05)


def test_a_mixture_has_the_density_of_scipy():
    z = np.random.default_rng(0).standard_normal((20, 2))
    parts = [w * multivariate_normal(m, f @ f.T).pdf(z) for w, m, f in zip(WEIGHTS, MEANS, FACTORS)]
    np.testing.assert_allclose(Mixture(WEIGHTS, MEANS, FACTORS).log_pdf(z), np.log(np.sum(parts, axis=0)))


def test_pieces_do_not_change_a_density(monkeypatch):
    z = np.random.default_rng(0).standard_normal((20, 2))
    whole = Mixture(WEIGHTS, MEANS, FACTORS).log_pdf(z)
    monkeypatch.setattr(priors, "CHUNK", 10)
    np.testing.assert_allclose(Mixture(WEIGHTS, MEANS, FACTORS).log_pdf(z), whole)


def test_what_is_wrong_is_named(x):
    net, z = plane(), np.zeros((5, 2), np.float32)
    mixture = Mixture(WEIGHTS, MEANS, FACTORS)
    refusals = [
        (lambda: StandardNormal(0), "n_latent", "0"),
        (lambda: Mixture(WEIGHTS, MEANS[0], FACTORS), "means"),
        (lambda: Mixture(WEIGHTS[:2], MEANS, FACTORS), "weights"),
        (lambda: Mixture(2 * WEIGHTS, MEANS, FACTORS), "weights"),
        (lambda: Mixture([1.2, -0.5, 0.3], MEANS, FACTORS), "weights"),
        (lambda: Mixture(WEIGHTS, MEANS, FACTORS[:2]), "factors"),
        (lambda: Mixture(WEIGHTS, MEANS, -FACTORS), "factors"),
        (lambda: Mixture(WEIGHTS, MEANS, FACTORS.swapaxes(1, 2)), "factors"),
        (lambda: mixture.log_pdf(z[:, :1]), "z", "(5, 1)"),
        (lambda: mixture.draws(0), "n must", "0"),
        (lambda: mixture.draws(1, seed=-1), "seed", "-1"),
        (lambda: fit_mixture(z, 6), "codes", "6", "5"),
        (lambda: fit_mixture(z[:1]), "codes", "1"),
        (lambda: fit_mixture(np.full((5, 2), np.nan)), "codes", "NaN"),
        (lambda: posterior_draws(make("autoencoder"), x), "net must be a VAE", "Autoencoder"),
        (lambda: posterior_draws(net, x, n_samples=0), "n_samples", "0"),
        (lambda: elbo(net, x, prior=StandardNormal(3)), "prior", "n_latent = 2"),
        (lambda: log_likelihood(net, x, progress=False, prior="flow"), "prior", "'flow'"),
        (lambda: elbo(make("autoencoder"), x, prior=StandardNormal(3)), "net must be a VAE"),
        (lambda: elbo(make("semi-supervised"), x, LABELS, prior=StandardNormal(3)), "prior", "SemiSupervisedVAE"),
    ]
    for call, *words in refusals:
        with refused(*words):
            call()
