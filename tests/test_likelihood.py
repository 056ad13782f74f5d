"""log p(x) by importance sampling against integration over the latent plane, and what each dimension carries."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from gluon_vae import active_units, elbo, evaluation, kl_per_dimension, log_likelihood

from mxnet import nd


def integrated(net, x, width=8.0, n=801):
    """log p(x) by a sum over a fine grid of the latent plane, practically exact for so smooth an integrand."""
    axis, step = np.linspace(-width, width, n, retstep=True)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_prior = norm.logpdf(z).sum(axis=1) + 2 * np.log(step)
    logits = net.decoder.logits(nd.array(z)).asnumpy().astype(float)
    log_x_given_z = x.astype(float) @ logits.T - np.logaddexp(0, logits).sum(axis=1)
    return logsumexp(log_x_given_z + log_prior, axis=1)


@pytest.fixture
def plane(make_vae):
    return make_vae("static", n_latent=2)


def test_log_likelihood_matches_integration(plane, pixels):
    exact = integrated(plane, pixels)
    assert np.abs(exact - integrated(plane, pixels, width=7, n=351)).max() < 1e-6
    runs = [log_likelihood(plane, pixels, n_samples=4000, seed=s, progress=False).per_image for s in range(8)]
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(8)
    assert (error < 0.05).all()
    assert (np.abs(np.mean(runs, axis=0) - exact) < 5 * error + 1e-3).all()


def test_one_sample_is_the_elbo_and_more_raise_the_bound(plane, pixels):
    def mean(function, n, **settings):
        runs = [function(plane, pixels, seed=s, **settings).mean for s in range(n)]
        return np.mean(runs), np.std(runs) / np.sqrt(n)

    bound, error = mean(elbo, 300)
    one, one_error = mean(log_likelihood, 300, n_samples=1, progress=False)
    assert abs(bound - one) < 4 * np.hypot(error, one_error)
    previous = one
    for n_samples in (10, 100):
        value, _ = mean(log_likelihood, 30, n_samples=n_samples, progress=False)
        assert previous < value
        previous = value
    assert previous < integrated(plane, pixels).mean() + 0.01


def test_chunks_do_not_change_the_estimate(plane, pixels, monkeypatch):
    whole = log_likelihood(plane, pixels, n_samples=3000, progress=False)
    monkeypatch.setattr(evaluation, "DECODED", 150)
    monkeypatch.setattr(evaluation, "MAX_DRAWS", 70)
    pieces = log_likelihood(plane, pixels, n_samples=3000, progress=False)
    assert pieces.per_image.shape == whole.per_image.shape
    np.testing.assert_allclose(pieces.per_image, whole.per_image, atol=0.3)


def test_nll_given_is_the_likelihood_of_the_loss(make_vae, pixels):
    net, x = make_vae(), nd.array(pixels)
    eps = nd.random.normal(shape=(len(pixels), net.n_latent))
    net(x, eps)
    z = net.mu + (0.5 * net.log_var).exp() * eps
    np.testing.assert_allclose(net.nll_given(x, z).asnumpy(), net.nll.asnumpy(), rtol=1e-6)


def test_dimensions_share_the_kl(make_vae, pixels):
    net = make_vae()
    net(nd.array(pixels))
    shares = kl_per_dimension(net, pixels)
    assert shares.shape == (net.n_latent,)
    assert shares.sum() == pytest.approx(net.kl.mean().asscalar(), rel=1e-5)


def test_a_dimension_that_ignores_the_image_is_not_active(make_vae, pixels):
    net = make_vae()
    last = net.encoder[-1]
    weight, bias = 20 * last.weight.data(), last.bias.data()
    weight[1], weight[net.n_latent + 1], bias[1], bias[net.n_latent + 1] = 0, 0, 0, 0
    last.weight.set_data(weight)
    last.bias.set_data(bias)
    assert active_units(net, pixels).tolist() == [True, False, True]
    assert kl_per_dimension(net, pixels)[1] == 0
    assert not active_units(net, pixels, threshold=1e6).any()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda net, x: log_likelihood(net, x, n_samples=0), "n_samples"),
        (lambda net, x: log_likelihood(net, x, seed=-1), "seed"),
        (lambda net, x: log_likelihood(net, x[:, 1:]), "x must"),
        (lambda net, x: kl_per_dimension(net, x + 1), "x must"),
        (lambda net, x: active_units(net, x, threshold=0), "threshold"),
    ],
)
def test_bad_arguments_are_named(plane, pixels, call, name):
    with pytest.raises(ValueError, match=name):
        call(plane, pixels)
