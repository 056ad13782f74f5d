"""Priors made of the encoder's answers to images: the aggregate posterior, and pseudo-inputs that are trained."""

import numpy as np
from conftest import make, refused, unchanged
from scipy.stats import norm

from gluon_vae import posterior_draws
from gluon_vae.latent import posterior
from gluon_vae.vamp_prior import VampPrior, _Pseudo, fit_vamp_prior

from mxnet import nd


def plane():
    return make("vae", n_latent=2)


def test_the_average_of_all_posteriors_is_a_vamp_prior(x):
    net = plane()
    mu, log_var = posterior(net, x)
    z = posterior_draws(net, x, n_samples=30_000)
    densities = [norm.pdf(z[:50], m, np.exp(0.5 * s)).prod(axis=1) for m, s in zip(mu, log_var)]
    expected = np.log(np.mean(densities, axis=0))
    np.testing.assert_allclose(VampPrior(net, x).log_pdf(z[:50]), expected, rtol=1e-5)
    np.testing.assert_allclose(z.reshape(-1, len(x), 2).mean(axis=0), mu, atol=0.05)
    np.testing.assert_allclose(z.reshape(-1, len(x), 2).var(axis=0), np.exp(log_var), rtol=0.05)
    np.testing.assert_array_equal(posterior_draws(net, x, seed=2), posterior_draws(net, x, seed=2))


def test_trained_pseudo_inputs_explain_codes_better_and_the_vae_stays(x):
    net = plane()
    net.encoder[-1].weight.set_data(10 * net.encoder[-1].weight.data())  # codes far from each other
    images = np.random.default_rng(0).random((40, 64), dtype=np.float32)
    settings = {"n_epochs": 10, "batch_size": 20}
    with unchanged(net):
        prior = fit_vamp_prior(net, images, 4, **settings)
    codes = posterior_draws(net, images, n_samples=2)
    start = VampPrior(net, np.random.default_rng(0).choice(images, 4, replace=False))
    assert prior.log_pdf(codes).mean() > start.log_pdf(codes).mean() + 0.3
    assert prior.images.shape == (4, 64)
    np.testing.assert_array_equal(prior.images, fit_vamp_prior(net, images, 4, **settings).images)


def test_pseudo_inputs_are_trained_on_the_density_of_their_prior(x):
    net, rng = plane(), np.random.default_rng(0)
    pseudo = _Pseudo(net, x)
    pseudo.initialize()
    weights = rng.standard_normal((1, len(x)))
    pseudo.logits.set_data(nd.array(rng.standard_normal(x.shape)))
    pseudo.weights.set_data(nd.array(weights))
    images = 1 / (1 + np.exp(-pseudo.logits.data().asnumpy()))
    prior = VampPrior(net, images, np.exp(weights[0]) / np.exp(weights).sum())
    z = 3 * rng.standard_normal((9, 2)).astype(np.float32)
    np.testing.assert_allclose(-pseudo(nd.array(z)).asnumpy(), prior.log_pdf(z), rtol=1e-4)


def test_what_is_wrong_is_named(x):
    net = plane()
    refusals = [
        (lambda: fit_vamp_prior(net, x, 8), "n_components", "8", "7"),
        (lambda: fit_vamp_prior(net, x, 2, n_draws=0), "n_draws", "0"),
        (lambda: VampPrior(net, 2 * x), "pixels", "[0, 1]"),
        (lambda: VampPrior(net, x, [1.0]), "weights", "(7,)"),
        (lambda: VampPrior(make("conditional"), x), "y must be", "None"),
        (lambda: VampPrior(make("autoencoder"), x), "net must be a VAE", "Autoencoder"),
    ]
    for call, *words in refusals:
        with refused(*words):
            call()
