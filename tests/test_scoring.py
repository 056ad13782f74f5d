"""Scores against densities in closed form, and thresholds against what their ranks say of them."""

import numpy as np
import pytest
from conftest import FAMILY, N_LATENT, N_OUTPUT, OPTIONS, VAES, labels, make, refused
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import gluon_vae
from gluon_vae import anomaly_threshold, elbo, log_likelihood, priors, score
from gluon_vae.layers import mlp

from mxnet import nd
from mxnet.gluon import nn
from mxnet.gluon.nn import HybridBlock


class Linear(HybridBlock):
    """Gaussian pixels with the logits for means: with linear networks p(x) is a Gaussian."""

    n_maps, variance = 1, 0.05

    def hybrid_forward(self, F, logits, x):
        return 0.5 * F.sum(F.square(x - logits) / self.variance + np.log(2 * np.pi * self.variance), axis=1)

    def mean(self, F, logits):
        return logits


def linear_vae(n_output=6, n_latent=2):
    """Return a linear VAE and the exact density of its images; its encoder is near the posterior, and not it."""
    rng = np.random.default_rng(0)
    net = gluon_vae.ComposedVAE(
        nn.Dense(2 * n_latent, in_units=n_output), nn.Dense(n_output, in_units=n_latent), n_latent, n_output,
        likelihood=Linear(),
    )  # fmt: skip
    net.initialize()
    w, b = rng.normal(scale=0.2, size=(n_output, n_latent)), rng.uniform(0.4, 0.6, n_output)
    decoder = net.decoder.logits
    decoder.weight.set_data(nd.array(w))
    decoder.bias.set_data(nd.array(b))
    precision = np.eye(n_latent) + w.T @ w / Linear.variance
    to_mean = np.linalg.solve(precision, w.T) / Linear.variance
    log_var = -np.log(np.diag(precision)) + 0.2
    net.encoder.weight.set_data(nd.array(np.concatenate([0.9 * to_mean, np.zeros((n_latent, n_output))])))
    net.encoder.bias.set_data(nd.array(np.concatenate([-0.9 * to_mean @ b, log_var])))
    return net, multivariate_normal(b, w @ w.T + Linear.variance * np.eye(n_output))


def test_scores_of_a_linear_gaussian_model_are_its_density():
    net, density = linear_vae()
    x = np.random.default_rng(1).random((40, 6), dtype=np.float32)
    scores = score(net, x, n_samples=4000, progress=False)
    np.testing.assert_allclose(scores["neg_log_p"], -density.logpdf(x), atol=0.03)
    gap = scores["neg_elbo"] + density.logpdf(x)
    assert (gap > 0.02).all()  # the encoder is not the posterior


@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, {}) for kind in FAMILY), ("vae", OPTIONS["per-pixel"]), ("conditional", OPTIONS["3 draws"])],
)
def test_every_model_has_scores_and_the_same_ones_again(kind, options, x):
    net = make(kind, "hybrid", **options)
    scores = score(net, x, n_samples=7, progress=False)
    again = score(net, x, n_samples=7, progress=False)
    assert set(scores) == ({"neg_log_p", "neg_elbo"} if kind in VAES else {"nll"})
    for name, values in scores.items():
        assert values.shape == (len(x),)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, again[name])
    if kind in VAES:
        assert (scores["neg_elbo"] > scores["neg_log_p"]).all()
    else:
        each = [score(net, x[i : i + 1])["nll"][0] for i in range(len(x))]  # whatever images are beside it
        np.testing.assert_allclose(scores["nll"], each, rtol=1e-5)


@pytest.mark.parametrize("kind", ["vae", "conditional", "semi-supervised"])
def test_given_the_labels_scores_are_the_estimates_of_evaluation(kind, x):
    net = make(kind)
    scores = score(net, x, *labels(net), n_samples=30, seed=5, progress=False)
    known = log_likelihood(net, x, *labels(net), n_samples=30, seed=5, progress=False)
    np.testing.assert_array_equal(scores["neg_log_p"], -known.per_image)
    many = score(net, x, *labels(net), n_samples=4000, progress=False)["neg_elbo"]
    bounds = np.array([elbo(net, x, *labels(net), seed=s).per_image for s in range(100)])
    error = bounds.std(axis=0) * np.sqrt(1 / 100 + 1 / 4000)
    of_label = np.log(net.n_classes) if kind == "semi-supervised" else 0  # its ELBO is that of p(x, y)
    assert (np.abs(many + of_label + bounds.mean(axis=0)) < 5 * error).all()


@pytest.mark.parametrize("kind", ["conditional", "semi-supervised"])
def test_without_labels_scores_are_those_of_the_mixture_of_all_labels(kind, x):
    net = make(kind)
    scores = score(net, x, n_samples=2000, progress=False)
    given = [log_likelihood(net, x, np.full(len(x), y), n_samples=2000, seed=9, progress=False) for y in range(10)]
    mixture = logsumexp([estimate.per_image for estimate in given], axis=0) - np.log(10)
    np.testing.assert_allclose(scores["neg_log_p"], -mixture, atol=0.2)
    if kind == "semi-supervised":  # whose q(y|x) is not the best one
        missing = elbo(net, x, np.full(len(x), -1), n_samples=100)
        assert (scores["neg_elbo"] < -missing.per_image).all()


def test_another_prior_is_the_models_where_it_is_the_same(x):
    net = make()
    usual = score(net, x, progress=False)
    same = score(net, x, progress=False, prior=priors.StandardNormal(N_LATENT))
    for name, values in usual.items():
        np.testing.assert_allclose(same[name], values, rtol=1e-5)
    with refused("prior must be None", "Autoencoder"):
        score(make("autoencoder"), x, prior=priors.StandardNormal(N_LATENT))


def test_what_has_no_score_is_refused(x):
    with refused("net must be a Gluon block", "int"):
        score(3, x)
    with refused("x must", str(N_OUTPUT)):
        score(make(), x[:, 1:], progress=False)
    with refused("y must be None"):
        score(make(), x, np.zeros(len(x), int), progress=False)
    with refused("n_samples"):
        score(make(), x, n_samples=0)
    net = mlp(N_OUTPUT, 8, 1, 3, "relu")
    net.initialize()
    with refused("net must be a model of this package", "HybridSequential"):
        score(net, x)


def test_false_alarms_are_as_many_as_the_ranks_say():
    """The k-th highest of n exchangeable scores is exceeded with probability k / (n + 1)."""
    rng = np.random.default_rng(0)
    n, share = 60, 0.1
    k = 3  # of 30 that choose: the whole part of 3.1
    alarms = np.array([anomaly_threshold(rng.gumbel(size=n), share, seed=i).false_alarms.mean for i in range(2000)])
    expected = k / 31
    # What is above it is Beta(k, 31 - k) distributed, and its count among 30 others beta-binomial.
    variance = expected * (1 - expected) * (31 + 30) / (30 * 32)
    assert alarms.mean() == pytest.approx(expected, abs=4 * np.sqrt(variance / 2000))
    assert alarms.var() == pytest.approx(variance, rel=0.1)


def test_the_standard_error_is_that_of_a_share():
    threshold = anomaly_threshold(np.random.default_rng(0).normal(size=4000))
    p = threshold.false_alarms.mean
    assert threshold.false_alarms.standard_error == pytest.approx(np.sqrt(p * (1 - p) / 1999))
    assert abs(p - 0.05) < 4 * threshold.false_alarms.standard_error


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 9), st.booleans())
def test_a_threshold_is_one_of_the_scores_that_it_was_chosen_on(n, share, seed, tied):
    scores = np.random.default_rng(seed).normal(size=n)
    scores = np.round(scores) if tied else scores
    if share * (n // 2 + 1) < 1 - 1e-6:
        with refused("scores must be at least", f"got {n}"):
            anomaly_threshold(scores, share, seed=seed)
        return
    threshold = anomaly_threshold(scores, share, seed=seed)
    halves = threshold.chosen_on, threshold.checked_on
    assert sorted(np.concatenate(halves)) == list(range(n))
    assert 0 <= len(halves[1]) - len(halves[0]) <= 1
    chosen = scores[halves[0]]
    assert threshold.value in chosen
    assert (chosen > threshold.value).mean() <= share
    if not tied:
        assert ((chosen >= threshold.value).sum() + 1) / (len(chosen) + 1) > share - 1e-6
    assert threshold.false_alarms.mean == (scores[halves[1]] > threshold.value).mean()


def test_the_fewest_scores_that_are_named_are_enough_and_fewer_are_not():
    for share, least in ((0.05, 38), (0.5, 2), (0.3, 6), (0.01, 198)):
        scores = np.arange(float(least))
        assert np.isfinite(anomaly_threshold(scores, share).value)
        with refused(f"scores must be at least {least}"):
            anomaly_threshold(scores[1:], share)


def test_the_seed_decides_the_halves_and_nothing_else_is_random():
    scores = np.random.default_rng(0).normal(size=200)
    one, same, other = (anomaly_threshold(scores, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.chosen_on, same.chosen_on)
    assert one.value == same.value
    assert one.chosen_on.tolist() != other.chosen_on.tolist()


@pytest.mark.parametrize(
    ("scores", "settings", "named"),
    [
        ([1.0, np.nan], {}, "scores must be finite"),
        ([[1.0], [2.0]], {}, "(n,)"),
        (["high"], {}, "real numbers"),
        ([1.0, 2.0], {"share": 0}, "share"),
        ([1.0, 2.0], {"share": 1.0}, "share"),
        ([1.0, 2.0], {"share": 0.5, "seed": -1}, "seed"),
    ],
)
def test_scores_and_shares_that_are_none_are_refused(scores, settings, named):
    with refused(named):
        anomaly_threshold(scores, **settings)
