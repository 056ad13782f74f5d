"""log p(x) by importance sampling against integration over the latent space."""

import numpy as np
import pytest
from conftest import grey_images, make
from scipy.special import logsumexp
from scipy.stats import norm

from gluon_vae import elbo, evaluation, log_likelihood

from mxnet import nd

N_OUTPUT = 12  # of few pixels, since the grid has many nodes


def integrated(net, x, width=8.0, n=801):
    """log p(x) by a sum over a fine grid of the latent plane, practically exact for so smooth an integrand."""
    axis, step = np.linspace(-width, width, n, retstep=True)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_prior = norm.logpdf(z).sum(axis=1) + 2 * np.log(step)
    logits = net.decoder.logits(nd.array(z)).asnumpy().astype(float)
    log_x_given_z = x.astype(float) @ logits.T - np.logaddexp(0, logits).sum(axis=1)
    return logsumexp(log_x_given_z + log_prior, axis=1)


@pytest.fixture
def x():
    return grey_images(N_OUTPUT)


@pytest.fixture
def plane():
    return make("vae", "static", n_latent=2, n_output=N_OUTPUT)


def test_log_likelihood_matches_integration(plane, x):
    exact = integrated(plane, x)
    assert np.abs(exact - integrated(plane, x, width=7, n=351)).max() < 1e-6
    runs = [log_likelihood(plane, x, n_samples=4000, seed=s, progress=False).per_image for s in range(8)]
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(8)
    assert (error < 0.05).all()
    assert (np.abs(np.mean(runs, axis=0) - exact) < 5 * error + 1e-3).all()


def test_given_the_label_it_matches_integration_too(x):
    """With one latent dimension log p(x|y) is a sum on a fine grid."""
    y = np.array([0, 3, 1, 2, 2, 0, 1])
    net = make("conditional", n_latent=1, n_layers=1, n_output=N_OUTPUT, n_classes=4)
    z = np.linspace(-8, 8, 4001, dtype=np.float32)[:, None]
    exact = []
    for image, label in zip(x, y):
        nll = net.nll_given(nd.array(np.tile(image, (len(z), 1))), nd.array(z), nd.full(len(z), label))
        log_joint = -nll.asnumpy().astype(float) - z[:, 0] ** 2 / 2 - np.log(2 * np.pi) / 2
        exact.append(np.log(np.exp(log_joint).sum() * 0.004))
    estimate = log_likelihood(net, x, y, n_samples=4000, progress=False)
    np.testing.assert_allclose(estimate.per_image, exact, atol=0.1)


def test_one_sample_is_the_elbo_and_more_raise_the_bound(plane, x):
    def mean(function, n, **settings):
        runs = [function(plane, x, seed=s, **settings).mean for s in range(n)]
        return np.mean(runs), np.std(runs) / np.sqrt(n)

    bound, error = mean(elbo, 300)
    one, one_error = mean(log_likelihood, 300, n_samples=1, progress=False)
    assert abs(bound - one) < 4 * np.hypot(error, one_error)
    previous = one
    for n_samples in (10, 100):
        value, _ = mean(log_likelihood, 30, n_samples=n_samples, progress=False)
        assert previous < value
        previous = value
    assert previous < integrated(plane, x).mean() + 0.01


def test_chunks_do_not_change_the_estimate(plane, x, monkeypatch):
    whole = log_likelihood(plane, x, n_samples=3000, progress=False)
    monkeypatch.setattr(evaluation, "DECODED", 150)
    monkeypatch.setattr(evaluation, "MAX_DRAWS", 70)
    pieces = log_likelihood(plane, x, n_samples=3000, progress=False)
    assert pieces.per_image.shape == whole.per_image.shape
    np.testing.assert_allclose(pieces.per_image, whole.per_image, atol=0.3)
