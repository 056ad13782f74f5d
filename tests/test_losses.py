"""The terms of the ELBO against scipy, Monte Carlo and finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_expit
from scipy.stats import norm

from gluon_vae.losses import bernoulli_nll, kl_to_standard_normal

import mxnet as mx
from mxnet import autograd, nd


def exact_nll(logits, x):
    """-log p(x) of float64 pixels, through scipy's stable log-sigmoid."""
    return -(x * log_expit(logits) + (1 - x) * log_expit(-logits)).sum(axis=1)


@given(
    logit=st.floats(-100, 100, width=32),
    x=st.floats(0, 1, width=32),
)
def test_nll_matches_scipy(logit, x):
    ours = bernoulli_nll(nd, nd.array([[logit]]), nd.array([[x]])).asscalar()
    exact = exact_nll(np.array([[logit]]), np.array([[x]]))[0]
    # The float32 softrelu is approximate: it errs by up to 8e-6 where it should be 0.
    assert ours == pytest.approx(exact, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("logit", "x", "nats"), [(1000, 0, 1000), (-1000, 1, 1000), (1000, 1, 0), (-1000, 0, 0)])
def test_nll_of_a_saturated_pixel_is_neither_capped_nor_dead(logit, x, nats):
    logits = nd.array([[logit]])
    logits.attach_grad()
    with autograd.record():
        nll = bernoulli_nll(nd, logits, nd.array([[x]]))
    nll.backward()
    assert nll.asscalar() == nats
    assert logits.grad.asscalar() == expit(logit) - x


@pytest.mark.parametrize("logit", [-30.0, -1.0, 0.0, 0.5, 30.0])
@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_nll_gradient_is_probability_minus_pixel(logit, x):
    logits = nd.array([[logit]], dtype="float64")
    logits.attach_grad()
    with autograd.record():
        nll = bernoulli_nll(nd, logits, nd.array([[x]], dtype="float64"))
    nll.backward()
    assert logits.grad.asscalar() == pytest.approx(expit(logit) - x, abs=1e-12)


def test_nll_sums_over_pixels(x):
    logits = np.random.default_rng(1).normal(size=x.shape, scale=3).astype(np.float32)
    nll = bernoulli_nll(nd, nd.array(logits), nd.array(x)).asnumpy()
    np.testing.assert_allclose(nll, exact_nll(logits.astype(float), x.astype(float)), rtol=1e-5)


@pytest.mark.parametrize(
    ("mu", "log_var"), [([0.0, 0.0], [0.0, 0.0]), ([1.5, -0.5], [-1.0, 0.7]), ([0.0, 3.0], [-4.0, 1.0])]
)
def test_kl_matches_monte_carlo(mu, log_var):
    closed = kl_to_standard_normal(nd, nd.array([mu]), nd.array([log_var])).asscalar()
    mu, std = np.array(mu), np.exp(0.5 * np.array(log_var))
    z = mu + std * np.random.default_rng(0).standard_normal((200_000, 2))
    draws = (norm.logpdf(z, mu, std) - norm.logpdf(z)).sum(axis=1)
    assert abs(draws.mean() - closed) <= 4 * draws.std() / np.sqrt(len(draws)) + 1e-6


@given(mu=st.floats(-5, 5), log_var=st.floats(-8, 8))
def test_kl_is_never_negative(mu, log_var):
    kl = kl_to_standard_normal(nd, nd.array([[mu]], dtype="float64"), nd.array([[log_var]], dtype="float64"))
    assert kl.asscalar() >= -1e-12


def test_terms_are_the_same_for_symbols(x):
    values = {"logits": nd.array(x - 0.5), "x": nd.array(x)}
    traced = bernoulli_nll(mx.sym, mx.sym.var("logits"), mx.sym.var("x")).eval(**values)[0].asnumpy()
    np.testing.assert_array_equal(traced, bernoulli_nll(nd, values["logits"], values["x"]).asnumpy())
