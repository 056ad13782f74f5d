"""experiments/linear_vae.py against densities, draws, and the closed form of probabilistic PCA."""

import linear_vae
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import gluon_vae
from gluon_vae.data import Mnist

from mxnet import nd

N_IMAGES, N_OUTPUT, N_LATENT, VARIANCE = 300, 9, 4, 0.01


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (0.5 + 0.1 * rng.standard_normal((N_IMAGES, N_OUTPUT)) * np.geomspace(3, 0.3, N_OUTPUT)).clip(0, 1)


def with_parameters(W, b, variance, encode, log_var):
    """Return a linear VAE whose encoder has the matrix ``encode`` and the same ``log_var`` for all images."""
    n_output, k = W.shape
    net = linear_vae.linear_vae(k, variance, n_output=n_output)
    net.initialize()
    decoder, encoder = net.decoder.logits, net.encoder
    decoder.weight.set_data(nd.array(W))
    decoder.bias.set_data(nd.array(b))
    encoder.weight.set_data(nd.array(np.concatenate([encode, np.zeros_like(encode)])))
    encoder.bias.set_data(nd.array(np.concatenate([-encode @ b, log_var])))
    return net


def some_model(rng):
    W, b = 0.1 * rng.standard_normal((N_OUTPUT, N_LATENT)), rng.uniform(0.2, 0.8, N_OUTPUT)
    return W, b, VARIANCE, rng.standard_normal((N_LATENT, N_OUTPUT)), rng.uniform(-2, 0, N_LATENT)


def best_model(x):
    """Return the parameters of probabilistic PCA, and the eigenvalues that they come from."""
    eigenvalues, vectors = linear_vae.eigen(x)
    kept = np.maximum(eigenvalues[:N_LATENT], VARIANCE)
    W = vectors[:, :N_LATENT] * np.sqrt(kept - VARIANCE)
    return (W, x.mean(axis=0), VARIANCE, W.T / kept[:, None], np.log(VARIANCE / kept)), eigenvalues


def test_log_density_is_that_of_the_gaussian(x):
    W, b, variance, *_ = some_model(np.random.default_rng(1))
    reference = multivariate_normal(b, W @ W.T + variance * np.eye(N_OUTPUT))
    np.testing.assert_allclose(linear_vae.log_density(x, W, b, variance), reference.logpdf(x))


def test_exact_elbo_is_the_mean_of_drawn_ones_and_below_log_p(x):
    net = with_parameters(*some_model(np.random.default_rng(1)))
    exact = linear_vae.exact_elbo(net, x)
    draws = np.array([gluon_vae.elbo(net, x.astype("f4"), seed=seed).per_image for seed in range(150)])
    errors = (draws.mean(axis=0) - exact) / (draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))
    assert abs(errors).max() < 5
    assert abs(errors.mean()) < 5 / np.sqrt(N_IMAGES)
    assert (exact < linear_vae.log_density(x, *linear_vae.parameters(net))).all()


def test_at_the_closed_form_the_elbo_is_log_p_and_both_are_as_predicted(x):
    model, eigenvalues = best_model(x)
    assert eigenvalues[1] > 1.5 * VARIANCE > VARIANCE > eigenvalues[N_LATENT - 1]  # one dimension is dead
    result = linear_vae.measure(with_parameters(*model), Mnist(x, None, x[:50], None), linear_vae.eigen(x)[1])
    log_p, kl = linear_vae.predicted(eigenvalues, VARIANCE, N_LATENT)
    np.testing.assert_allclose([result["elbo"], result["log_p"]], log_p, atol=2e-3)
    assert abs(result["test_elbo"] - result["test_log_p"]) < 2e-3
    np.testing.assert_allclose(result["kl"], kl, atol=2e-3)
    alive = kl > 0
    np.testing.assert_allclose(result["spread"], 1 - np.exp(-2 * kl), atol=2e-3)
    np.testing.assert_allclose(np.array(result["cosine"])[alive], 1, atol=2e-3)
    np.testing.assert_allclose(result["square"], (eigenvalues[:N_LATENT] - VARIANCE).clip(0), atol=2e-3)


def test_no_other_model_of_this_variance_reaches_the_predicted_density(x):
    (W, b, *_), eigenvalues = best_model(x)
    best, _ = linear_vae.predicted(eigenvalues, VARIANCE, N_LATENT)
    rng = np.random.default_rng(2)
    for size in (1e-3, 1e-2, 1e-1):
        other = W + size * rng.standard_normal(W.shape)
        assert linear_vae.log_density(x, other, b, VARIANCE).mean() < best
