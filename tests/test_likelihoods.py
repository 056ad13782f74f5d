"""Each likelihood against SciPy, integration, finite differences and the moments of its own samples."""

import numpy as np
import pytest
from conftest import N_OUTPUT, make
from scipy.integrate import trapezoid
from scipy.special import expit, xlog1py, xlogy
from scipy.stats import bernoulli, norm

import gluon_vae
from gluon_vae import likelihoods

from mxnet import autograd, nd

KINDS = {
    "bernoulli": ("bernoulli", None),
    "fixed": ("gaussian", 0.098),
    "learned": ("gaussian", "learned"),
    "per-pixel": ("gaussian", "per-pixel"),
}
GAUSSIANS = [kind for kind in KINDS if kind != "bernoulli"]
MIN_STD = 0.05


def make_likelihood(kind, n_output=N_OUTPUT, min_std=MIN_STD, dtype="float64", raw=-0.1):
    name, variance = KINDS[kind]
    likelihood = likelihoods.make(name, n_output, variance, min_std)
    likelihood.initialize()
    likelihood.cast(dtype)
    if kind == "learned":
        likelihood.raw.set_data(nd.full((1, 1), raw, dtype=dtype))
    return likelihood


def draw_logits(likelihood, n=7, n_output=N_OUTPUT, scale=3.0):
    logits = np.random.default_rng(3).normal(scale=scale, size=(n, likelihood.n_maps * n_output))
    return nd.array(logits, dtype="float64")


def expected_std(kind, logits, min_std=MIN_STD, n_output=N_OUTPUT, raw=-0.1):
    """As the documentation has it: softplus above the floor, from a variance of 0.1 at zero."""
    if kind == "fixed":
        return np.full((len(logits), n_output), np.sqrt(0.098))
    raw = 10 * raw if kind == "learned" else logits.asnumpy()[:, n_output:]
    rise = np.logaddexp(0, raw + np.log(0.1 / min_std**2))
    return np.broadcast_to(np.exp(0.5 * (2 * np.log(min_std) + rise)), (len(logits), n_output))


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_gaussian_is_the_density_of_scipy(kind, x):
    likelihood = make_likelihood(kind)
    logits = draw_logits(likelihood)
    mean, std = expit(logits.asnumpy()[:, :N_OUTPUT]), expected_std(kind, logits)
    expected = -norm.logpdf(x, mean, std).sum(axis=1)
    np.testing.assert_allclose(likelihood(logits, nd.array(x, dtype="float64")).asnumpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(likelihood.variance(logits).asnumpy(), std**2, rtol=1e-10)


def test_bernoulli_is_the_mass_of_scipy_and_the_cross_entropy_on_grey(x):
    likelihood = make_likelihood("bernoulli")
    logits = draw_logits(likelihood)
    p, binarized = expit(logits.asnumpy()), gluon_vae.binarize(x)
    nll = likelihood(logits, nd.array(binarized, dtype="float64")).asnumpy()
    np.testing.assert_allclose(nll, -bernoulli.logpmf(binarized, p).sum(axis=1), rtol=1e-10)
    grey = likelihood(logits, nd.array(x, dtype="float64")).asnumpy()
    np.testing.assert_allclose(grey, -(xlogy(x, p) + xlog1py(1 - x, -p)).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(likelihood.variance(logits).asnumpy(), p * (1 - p), rtol=1e-10)


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_density_of_one_pixel_integrates_to_one(kind):
    likelihood = make_likelihood(kind, n_output=1)
    x = np.linspace(-8, 9, 40_001)
    for row in draw_logits(likelihood, n=5, n_output=1, scale=1.0):
        logits = nd.tile(row.reshape((1, -1)), (len(x), 1))
        density = np.exp(-likelihood(logits, nd.array(x[:, None], dtype="float64")).asnumpy())
        assert trapezoid(density, x) == pytest.approx(1, abs=1e-6)


def test_mass_of_one_pixel_sums_to_one_and_its_grey_values_do_not_integrate_to_one():
    likelihood = make_likelihood("bernoulli", n_output=1)
    x = np.linspace(0, 1, 10_001)
    for row in draw_logits(likelihood, n=5, n_output=1):
        logit = row.asscalar()
        logits = nd.tile(row.reshape((1, 1)), (len(x), 1))
        mass = np.exp(-likelihood(logits, nd.array(x[:, None], dtype="float64")).asnumpy())
        assert mass[0] + mass[-1] == pytest.approx(1, abs=1e-12)
        # The inverse of the constant of the continuous Bernoulli (Loaiza-Ganem and Cunningham 2019).
        assert trapezoid(mass, x) == pytest.approx(np.tanh(logit / 2) / logit, abs=1e-6)
        assert trapezoid(mass, x) < 0.5


@pytest.mark.parametrize("kind", ["learned", "per-pixel"])
@pytest.mark.parametrize("min_std", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("raw", [-1e4, -30.0, 0.0, 30.0])
def test_learned_deviation_stays_above_the_floor(kind, min_std, raw):
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        likelihood = make_likelihood(kind, min_std=min_std, dtype=dtype, raw=raw)
        logits = nd.full((2, likelihood.n_maps * N_OUTPUT), raw, dtype=dtype)
        std = np.sqrt(likelihood.variance(logits).asnumpy())
        assert (std >= min_std * (1 - tolerance)).all()
        if raw <= -30:
            np.testing.assert_allclose(std, min_std, rtol=1e-5)
        nll = likelihood(logits, nd.zeros((2, N_OUTPUT), dtype=dtype)).asnumpy()
        assert np.isfinite(nll).all()


def test_a_fixed_variance_has_no_floor():
    likelihood = likelihoods.make("gaussian", N_OUTPUT, 1e-6, MIN_STD)
    np.testing.assert_allclose(likelihood.variance(nd.zeros((1, N_OUTPUT))).asnumpy(), 1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_mean_and_variance_that_are_claimed(kind):
    n, n_output = 100_000, 12
    likelihood = make_likelihood(kind, n_output)
    row = draw_logits(likelihood, 1, n_output)
    samples = np.concatenate([likelihood.sample(nd.tile(row, (n // 10, 1))).asnumpy() for _ in range(10)])
    mean, variance = expit(row.asnumpy()[0, :n_output]), likelihood.variance(row).asnumpy()[0]
    squares = (samples - mean) ** 2
    assert (np.abs(samples.mean(axis=0) - mean) < 5 * np.sqrt(variance / n)).all()
    assert (np.abs(squares.mean(axis=0) - variance) < 5 * squares.std(axis=0) / np.sqrt(n) + 1e-12).all()
    correlation = np.corrcoef(samples.T) - np.eye(n_output)
    assert np.abs(correlation).max() < 6 / np.sqrt(n)
    assert kind != "bernoulli" or set(np.unique(samples)) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hybrid", [False, True])
def test_gradient_matches_finite_differences(kind, hybrid, x):
    likelihood = make_likelihood(kind)
    if hybrid:
        likelihood.hybridize()
    x, logits = nd.array(x, dtype="float64"), draw_logits(likelihood)
    logits.attach_grad()
    with autograd.record():
        nll = likelihood(logits, x)
    nll.backward()
    raw = likelihood.raw if kind == "learned" else None
    raw_gradient = raw.grad().asscalar() if raw else None
    values, gradient, step = logits.asnumpy(), logits.grad.asnumpy(), 1e-5

    def total(values):
        return likelihood(nd.array(values, dtype="float64"), x).sum().asscalar()

    rng = np.random.default_rng(0)
    for index in map(tuple, rng.integers(values.shape, size=(30, 2))):
        shift = np.zeros_like(values)
        shift[index] = step
        difference = (total(values + shift) - total(values - shift)) / (2 * step)
        assert gradient[index] == pytest.approx(difference, rel=1e-5, abs=1e-7)
    if raw:
        sides = []
        for side in (step, -step):
            raw.set_data(nd.full((1, 1), -0.1 + side, dtype="float64"))
            sides.append(total(values))
        assert raw_gradient == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5)


def test_learned_variance_trains_to_the_mean_squared_error():
    """Also from far away: one number, whose steps Adam makes no longer than those of a weight."""
    x = np.clip(0.5 + 0.08 * np.random.default_rng(0).standard_normal((1000, N_OUTPUT)), 0, 1).astype("f4")
    net = make("vae", "static", likelihood="gaussian", variance="learned")
    start = net.likelihood.variance(nd.zeros((1, N_OUTPUT))).asnumpy()
    np.testing.assert_allclose(start, 0.1, rtol=0.05)
    gluon_vae.fit(net, x, n_epochs=40, learning_rate=3e-3, progress=False)
    net(nd.array(x))
    error = np.mean((net.output.asnumpy() - x) ** 2)
    assert error < 0.01
    variance = net.likelihood.variance(nd.zeros((1, N_OUTPUT))).asnumpy()
    np.testing.assert_allclose(variance, error, rtol=0.03)


def test_learned_variance_is_best_at_the_mean_squared_error(x):
    likelihood = make_likelihood("learned")
    logits, images = draw_logits(likelihood), nd.array(x, dtype="float64")
    error = np.mean((expit(logits.asnumpy()) - x) ** 2)
    nll = {}
    for factor in (0.9, 1, 1.1):
        rise = np.log(factor * error / MIN_STD**2)
        raw = (np.log(np.expm1(rise)) - np.log(0.1 / MIN_STD**2)) / 10
        likelihood.raw.set_data(nd.full((1, 1), raw, dtype="float64"))
        np.testing.assert_allclose(likelihood.variance(logits).asnumpy(), factor * error, rtol=1e-9)
        nll[factor] = likelihood(logits, images).mean().asscalar()
    assert nll[1] < min(nll[0.9], nll[1.1])
    assert nll[1] == pytest.approx(N_OUTPUT / 2 * (1 + np.log(2 * np.pi * error)), rel=1e-9)
