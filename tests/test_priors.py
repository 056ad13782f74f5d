"""Priors of codes: densities that integrate to 1 and belong to their draws, and bounds under them."""

from itertools import combinations, islice

import numpy as np
import pytest
from conftest import labels, make, refused, unchanged
from scipy.stats import kstest, multivariate_normal, norm

import gluon_vae
from gluon_vae import elbo, kl_diagonal_gaussian, log_likelihood, posterior_draws, priors
from gluon_vae.latent import posterior
from gluon_vae.run import Run

import mxnet as mx
from mxnet import autograd, nd

MEAN, COVARIANCE = np.array([0.5, -1]), np.array([[1.0, 0.4], [0.4, 0.5]])
WEIGHTS, MEANS = np.array([0.2, 0.5, 0.3]), np.array([[-2.0, 0], [0, 1], [2, -1]])
FACTORS = np.array([[[1, 0], [0.5, 0.4]], [[0.3, 0], [-0.2, 0.6]], [[0.8, 0], [0, 0.5]]])


def bent(flow, seed=0):
    """Give the last layers of a flow weights other than 0."""
    rng = np.random.default_rng(seed)
    flow.begin(Run())
    for layer in flow.layers:
        last = layer.network[-1]
        last.weight.set_data(nd.array(0.3 * rng.standard_normal(last.weight.shape)))
        last.bias.set_data(nd.array(0.3 * rng.standard_normal(last.bias.shape)))
    return flow


def plane():
    return make("vae", n_latent=2)


PRIORS = {
    "standard normal": lambda x: priors.StandardNormal(2),
    "full": lambda x: priors.Mixture(WEIGHTS, MEANS, FACTORS),
    "diagonal": lambda x: priors.Mixture(WEIGHTS, MEANS, FACTORS[:, [0, 1], [0, 1]]),
    "vamp": lambda x: priors.VampPrior(plane(), x),
    "flow": lambda x: bent(priors.Flow(MEAN, COVARIANCE, 4, 8)),
}
every_prior = pytest.mark.parametrize("kind", PRIORS)


@every_prior
def test_a_density_integrates_to_1_and_belongs_to_the_draws(kind, x):
    prior, n = PRIORS[kind](x), 20_000
    assert isinstance(prior, priors.Prior)
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
    prior = priors.StandardNormal(net.n_latent)
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
    prior = priors.Mixture([1.0], mean[None], std[None])
    mu, log_var = posterior(net, x, *labels(net))
    change = kl_diagonal_gaussian(mu, np.exp(log_var), 0, 1) - kl_diagonal_gaussian(mu, np.exp(log_var), mean, std**2)
    settings = {"n_samples": 4000, "seed": 5}
    under = [elbo(net, x, *labels(net), **settings, prior=p) for p in (priors.StandardNormal(3), prior)]
    gain = under[1].per_image - under[0].per_image
    assert np.abs(change).min() > 0.3
    np.testing.assert_allclose(gain, change, atol=0.3)
    bound = log_likelihood(net, x, *labels(net), n_samples=2000, progress=False, prior=prior)
    assert bound.mean > under[1].mean


def test_the_average_of_all_posteriors_is_a_vamp_prior(x):
    net = plane()
    mu, log_var = posterior(net, x)
    z = posterior_draws(net, x, n_samples=30_000)
    densities = [norm.pdf(z[:50], m, np.exp(0.5 * s)).prod(axis=1) for m, s in zip(mu, log_var)]
    expected = np.log(np.mean(densities, axis=0))
    np.testing.assert_allclose(priors.VampPrior(net, x).log_pdf(z[:50]), expected, rtol=1e-5)
    np.testing.assert_allclose(z.reshape(-1, len(x), 2).mean(axis=0), mu, atol=0.05)
    np.testing.assert_allclose(z.reshape(-1, len(x), 2).var(axis=0), np.exp(log_var), rtol=0.05)
    np.testing.assert_array_equal(posterior_draws(net, x, seed=2), posterior_draws(net, x, seed=2))


def test_one_component_is_the_gaussian_of_mean_and_covariance():
    codes = multivariate_normal(MEAN, COVARIANCE).rvs(500, random_state=0)
    prior = priors.fit_mixture(codes)
    gaussian = multivariate_normal(codes.mean(axis=0), np.cov(codes.T, bias=True))
    np.testing.assert_allclose(prior.log_pdf(codes), gaussian.logpdf(codes), atol=1e-4)


def test_em_finds_three_clusters():
    codes = priors.Mixture(WEIGHTS, 5 * MEANS, FACTORS).draws(5000)
    fitted = priors.fit_mixture(codes, 3)
    order = fitted.means[:, 0].argsort()
    np.testing.assert_allclose(fitted.weights[order], WEIGHTS, atol=0.03)
    np.testing.assert_allclose(fitted.means[order], 5 * MEANS, atol=0.1)
    np.testing.assert_allclose(fitted.factors[order], FACTORS, atol=0.05)


def test_a_mixture_has_the_density_of_scipy():
    z = np.random.default_rng(0).standard_normal((20, 2))
    parts = [w * multivariate_normal(m, f @ f.T).pdf(z) for w, m, f in zip(WEIGHTS, MEANS, FACTORS)]
    np.testing.assert_allclose(priors.Mixture(WEIGHTS, MEANS, FACTORS).log_pdf(z), np.log(np.sum(parts, axis=0)))


def test_pieces_do_not_change_a_density(monkeypatch):
    z = np.random.default_rng(0).standard_normal((20, 2))
    whole = priors.Mixture(WEIGHTS, MEANS, FACTORS).log_pdf(z)
    monkeypatch.setattr(priors, "CHUNK", 10)
    np.testing.assert_allclose(priors.Mixture(WEIGHTS, MEANS, FACTORS).log_pdf(z), whole)


def test_trained_pseudo_inputs_explain_codes_better_and_the_vae_stays(x):
    net = plane()
    net.encoder[-1].weight.set_data(10 * net.encoder[-1].weight.data())  # codes far from each other
    images = np.random.default_rng(0).random((40, 64), dtype=np.float32)
    settings = {"n_epochs": 10, "batch_size": 20}
    with unchanged(net):
        prior = priors.fit_vamp_prior(net, images, 4, **settings)
    codes = posterior_draws(net, images, n_samples=2)
    start = priors.VampPrior(net, np.random.default_rng(0).choice(images, 4, replace=False))
    assert prior.log_pdf(codes).mean() > start.log_pdf(codes).mean() + 0.3
    assert prior.images.shape == (4, 64)
    np.testing.assert_array_equal(prior.images, priors.fit_vamp_prior(net, images, 4, **settings).images)


def test_pseudo_inputs_are_trained_on_the_density_of_their_prior(x):
    net, rng = plane(), np.random.default_rng(0)
    pseudo = priors._Pseudo(net, x)
    pseudo.initialize()
    weights = rng.standard_normal((1, len(x)))
    pseudo.logits.set_data(nd.array(rng.standard_normal(x.shape)))
    pseudo.weights.set_data(nd.array(weights))
    images = 1 / (1 + np.exp(-pseudo.logits.data().asnumpy()))
    prior = priors.VampPrior(net, images, np.exp(weights[0]) / np.exp(weights).sum())
    z = 3 * rng.standard_normal((9, 2)).astype(np.float32)
    np.testing.assert_allclose(-pseudo(nd.array(z)).asnumpy(), prior.log_pdf(z), rtol=1e-4)


def test_a_flow_begins_as_the_gaussian():
    flow = priors.Flow(MEAN, COVARIANCE, 3, 8)
    flow.begin(Run())
    z = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    np.testing.assert_allclose(flow.log_pdf(z), multivariate_normal(MEAN, COVARIANCE).logpdf(z), rtol=1e-5)


@pytest.mark.parametrize("n_latent", [1, 2, 5])
def test_a_coupling_layer_is_inverted_and_has_the_determinant_of_its_jacobian(n_latent):
    flow = bent(priors.Flow(np.zeros(n_latent), np.eye(n_latent), 6, 8))
    flow.cast("float64")
    z = nd.array(np.random.default_rng(1).standard_normal((3, n_latent)), dtype="float64")
    for layer in flow.layers:
        jacobian = np.empty((3, n_latent, n_latent))
        for i in range(n_latent):
            z.attach_grad()
            with autograd.record():
                u, log_det = layer(z)
            u.backward(nd.one_hot(nd.full(3, i), n_latent, dtype="float64"))
            jacobian[:, i] = z.grad.asnumpy()
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det.asnumpy(), atol=1e-12)
        np.testing.assert_allclose(layer.inverse(u).asnumpy(), z.asnumpy(), rtol=1e-10)
        assert (u.asnumpy() != z.asnumpy()).any() or n_latent == 1
        z = u.detach()


def test_a_flow_maps_its_draws_to_standard_normal_noise():
    flow = bent(priors.Flow(MEAN, COVARIANCE, 4, 8))
    u = nd.dot(nd.array(flow.draws(2000)) - flow.center.data(), flow.whitening.data())
    for layer in flow.layers:
        u, _ = layer(u)
    np.testing.assert_allclose(u.asnumpy(), gluon_vae.prior_draws(2000, 2), atol=1e-4)
    assert kstest(u.asnumpy().ravel(), "norm").pvalue > 0.001


def test_a_flow_learns_a_bent_density_and_repeats_it():
    z = gluon_vae.prior_draws(4000, 2).astype(float)
    codes = np.stack([z[:, 0], z[:, 0] ** 2 + 0.5 * z[:, 1]], axis=1).astype(np.float32)
    truth = (norm.logpdf(codes[:, 0]) + norm.logpdf(codes[:, 1], codes[:, 0] ** 2, 0.5)).mean()
    flow = priors.fit_flow(codes, n_epochs=10, batch_size=100)
    assert priors.fit_mixture(codes).log_pdf(codes).mean() < truth - 0.4
    assert truth - 0.1 < flow.log_pdf(codes).mean() < truth + 0.05
    mx.random.seed(7)
    again = priors.fit_flow(codes[:500], n_epochs=2)
    after = mx.random.randint(0, 10**6).asscalar()
    np.testing.assert_array_equal(again.draws(5), priors.fit_flow(codes[:500], n_epochs=2).draws(5))
    mx.random.seed(8)
    priors.fit_flow(codes[:500], n_epochs=2)
    assert after != mx.random.randint(0, 10**6).asscalar()  # the script's own seed still decides what it draws


@pytest.mark.parametrize("n_latent", [2, 3, 8, 20])
def test_every_coordinate_moves_and_any_two_are_told_apart(n_latent):
    n_layers = 2 * max(1, (n_latent - 1).bit_length())
    stays = np.array(list(islice(priors.halves(n_latent), n_layers)))
    assert (stays.min(axis=0) == 0).all()
    assert (stays.max(axis=0) == 1).all()
    assert all((stays[:, i] != stays[:, j]).any() for i, j in combinations(range(n_latent), 2))


def test_what_is_wrong_is_named(x):
    net, z = plane(), np.zeros((5, 2), np.float32)
    mixture = priors.Mixture(WEIGHTS, MEANS, FACTORS)
    refusals = [
        (lambda: priors.StandardNormal(0), "n_latent", "0"),
        (lambda: priors.Mixture(WEIGHTS, MEANS[0], FACTORS), "means"),
        (lambda: priors.Mixture(WEIGHTS[:2], MEANS, FACTORS), "weights"),
        (lambda: priors.Mixture(2 * WEIGHTS, MEANS, FACTORS), "weights"),
        (lambda: priors.Mixture([1.2, -0.5, 0.3], MEANS, FACTORS), "weights"),
        (lambda: priors.Mixture(WEIGHTS, MEANS, FACTORS[:2]), "factors"),
        (lambda: priors.Mixture(WEIGHTS, MEANS, -FACTORS), "factors"),
        (lambda: priors.Mixture(WEIGHTS, MEANS, FACTORS.swapaxes(1, 2)), "factors"),
        (lambda: mixture.log_pdf(z[:, :1]), "z", "(5, 1)"),
        (lambda: mixture.draws(0), "n must", "0"),
        (lambda: mixture.draws(1, seed=-1), "seed", "-1"),
        (lambda: priors.fit_mixture(z, 6), "codes", "6", "5"),
        (lambda: priors.fit_mixture(z[:1]), "codes", "1"),
        (lambda: priors.fit_mixture(np.full((5, 2), np.nan)), "codes", "NaN"),
        (lambda: priors.fit_flow(z[:2]), "codes", "2"),
        (lambda: priors.fit_flow(z, n_epochs=0), "n_epochs", "0"),
        (lambda: priors.Flow(MEAN[None], COVARIANCE), "mean"),
        (lambda: priors.Flow(MEAN, -COVARIANCE), "covariance"),
        (lambda: priors.Flow(MEAN, COVARIANCE, n_layers=0), "n_layers"),
        (lambda: priors.fit_vamp_prior(net, x, 8), "n_components", "8", "7"),
        (lambda: priors.fit_vamp_prior(net, x, 2, n_draws=0), "n_draws", "0"),
        (lambda: priors.VampPrior(make("autoencoder"), x), "net must be a VAE", "Autoencoder"),
        (lambda: posterior_draws(make("autoencoder"), x), "net must be a VAE", "Autoencoder"),
        (lambda: posterior_draws(net, x, n_samples=0), "n_samples", "0"),
        (lambda: elbo(net, x, prior=priors.StandardNormal(3)), "prior", "n_latent = 2"),
        (lambda: log_likelihood(net, x, progress=False, prior="flow"), "prior", "'flow'"),
        (lambda: elbo(make("autoencoder"), x, prior=priors.StandardNormal(3)), "net must be a VAE"),
    ]
    for call, *words in refusals:
        with refused(*words):
            call()
