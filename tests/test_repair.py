"""experiments/repair.py where the answers are known: Gaussian codes, two clusters, and the bounds of the package."""

import numpy as np
import pytest
import repair
from conftest import N_OUTPUT, make
from scipy.stats import multivariate_normal, norm

import gluon_vae
from gluon_vae.priors import Mixture, StandardNormal

MEAN, COVARIANCE = np.array([3.0, -1]), np.array([[4.0, 1], [1, 0.5]])


def test_a_diffusion_begins_as_a_gaussian_whose_density_it_bounds_closely(monkeypatch):
    monkeypatch.setattr(repair, "N_TRAINING", 0)
    truth = multivariate_normal(MEAN, COVARIANCE)
    codes = truth.rvs(4000, random_state=0)
    diffusion = repair.Diffusion(codes, seed=0)
    fitted = multivariate_normal(codes.mean(axis=0), np.cov(codes.T)).logpdf(codes).mean()
    bound = np.mean([diffusion.log_pdf(codes, seed=s).mean() for s in range(3)])
    assert fitted - 0.1 < bound < fitted + 0.05
    draws = diffusion.draws(20_000)
    spreads = codes.std(axis=0)
    assert (abs(draws.mean(axis=0) - codes.mean(axis=0)) < 0.05 * spreads).all()
    assert (abs(np.cov(draws.T) - np.cov(codes.T)) < 0.05 * np.outer(spreads, spreads)).all()
    np.testing.assert_array_equal(diffusion.draws(5), diffusion.draws(5))


def test_a_trained_diffusion_finds_two_clusters_and_stays_a_lower_bound(monkeypatch):
    monkeypatch.setattr(repair, "N_TRAINING", 400)
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((4000, 1)) < 0.3, -3, 3) + rng.standard_normal((4000, 1))
    truth = np.log(0.3 * norm.pdf(codes, -3) + 0.7 * norm.pdf(codes, 3)).mean()
    gaussian = norm.logpdf(codes, codes.mean(), codes.std()).mean()
    diffusion = repair.Diffusion(codes, seed=0)
    bound = np.mean([diffusion.log_pdf(codes, seed=s).mean() for s in range(3)])
    assert truth - gaussian > 0.3
    assert truth - 0.15 < bound < truth + 0.02
    draws = diffusion.draws(2000)
    assert np.mean(draws < 0) == pytest.approx(0.3, abs=0.06)
    assert np.mean(abs(draws) < 1) < 0.12  # 0.02 of the two clusters, 0.25 of a Gaussian


def test_noise_of_an_autoencoder_is_as_wide_as_asked(x):
    net = make("autoencoder")
    vae = repair.noisy(net, x, 0.5)
    mu, log_var = gluon_vae.latent.posterior(vae, x)
    codes = gluon_vae.encode(net, x)
    np.testing.assert_allclose(mu, codes, rtol=1e-6)
    np.testing.assert_allclose(np.exp(0.5 * log_var), np.tile(0.5 * codes.std(axis=0) + 1e-3, (len(x), 1)), rtol=1e-4)
    np.testing.assert_array_equal(gluon_vae.reconstruct(vae, x), gluon_vae.reconstruct(net, x))


def test_a_gain_is_the_difference_of_two_bounds(x):
    net = make("vae", n_output=N_OUTPUT)
    prior = Mixture([1.0], [[0.5, 0, -1]], [[0.5, 2, 1]])
    settings = {"n_samples": 3000, "seed": 4}
    expected = gluon_vae.elbo(net, x, **settings, prior=prior).mean - gluon_vae.elbo(net, x, **settings).mean
    assert repair.gain(net, prior, x, 3000) == pytest.approx(expected, abs=0.1)
    assert repair.gain(net, StandardNormal(3), x) == 0
