"""Each likelihood against SciPy, integration, finite differences and the moments of its own samples."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import expit, xlog1py, xlogy
from scipy.stats import bernoulli, norm

import gluon_vae
from gluon_vae import likelihoods

import mxnet as mx
from mxnet import autograd, nd
from mxnet.gluon import nn

N_OUTPUT = 12
KINDS = {
    "bernoulli": ("bernoulli", None),
    "fixed": ("gaussian", 0.098),
    "learned": ("gaussian", "learned"),
    "per-pixel": ("gaussian", "per-pixel"),
}
GAUSSIANS = [kind for kind in KINDS if kind != "bernoulli"]
MODES = ["imperative", "hybridized", "static"]
MIN_STD = 0.05


def make(kind, n_output=N_OUTPUT, min_std=MIN_STD, dtype="float64", raw=-0.1):
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
def test_gaussian_is_the_density_of_scipy(kind, pixels):
    likelihood = make(kind)
    logits = draw_logits(likelihood)
    mean, std = expit(logits.asnumpy()[:, :N_OUTPUT]), expected_std(kind, logits)
    expected = -norm.logpdf(pixels, mean, std).sum(axis=1)
    np.testing.assert_allclose(likelihood(logits, nd.array(pixels, dtype="float64")).asnumpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(likelihood.variance(logits).asnumpy(), std**2, rtol=1e-10)


def test_bernoulli_is_the_mass_of_scipy_and_the_cross_entropy_on_grey(pixels):
    likelihood = make("bernoulli")
    logits = draw_logits(likelihood)
    p, binarized = expit(logits.asnumpy()), gluon_vae.binarize(pixels)
    nll = likelihood(logits, nd.array(binarized, dtype="float64")).asnumpy()
    np.testing.assert_allclose(nll, -bernoulli.logpmf(binarized, p).sum(axis=1), rtol=1e-10)
    grey = likelihood(logits, nd.array(pixels, dtype="float64")).asnumpy()
    np.testing.assert_allclose(grey, -(xlogy(pixels, p) + xlog1py(1 - pixels, -p)).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(likelihood.variance(logits).asnumpy(), p * (1 - p), rtol=1e-10)


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_density_of_one_pixel_integrates_to_one(kind):
    likelihood = make(kind, n_output=1)
    x = np.linspace(-8, 9, 40_001)
    for row in draw_logits(likelihood, n=5, n_output=1, scale=1.0):
        logits = nd.tile(row.reshape((1, -1)), (len(x), 1))
        density = np.exp(-likelihood(logits, nd.array(x[:, None], dtype="float64")).asnumpy())
        assert trapezoid(density, x) == pytest.approx(1, abs=1e-6)


def test_mass_of_one_pixel_sums_to_one_and_its_grey_values_do_not_integrate_to_one():
    likelihood = make("bernoulli", n_output=1)
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
        likelihood = make(kind, min_std=min_std, dtype=dtype, raw=raw)
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
    n = 100_000
    likelihood = make(kind)
    row = draw_logits(likelihood, n=1)
    samples = np.concatenate([likelihood.sample(nd.tile(row, (n // 10, 1))).asnumpy() for _ in range(10)])
    mean, variance = expit(row.asnumpy()[0, :N_OUTPUT]), likelihood.variance(row).asnumpy()[0]
    squares = (samples - mean) ** 2
    assert (np.abs(samples.mean(axis=0) - mean) < 5 * np.sqrt(variance / n)).all()
    assert (np.abs(squares.mean(axis=0) - variance) < 5 * squares.std(axis=0) / np.sqrt(n) + 1e-12).all()
    correlation = np.corrcoef(samples.T) - np.eye(N_OUTPUT)
    assert np.abs(correlation).max() < 6 / np.sqrt(n)
    assert kind != "bernoulli" or set(np.unique(samples)) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hybrid", [False, True])
def test_gradient_matches_finite_differences(kind, hybrid, pixels):
    likelihood = make(kind)
    if hybrid:
        likelihood.hybridize()
    x, logits = nd.array(pixels, dtype="float64"), draw_logits(likelihood)
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


@pytest.mark.parametrize("kind", KINDS)
def test_model_agrees_with_its_likelihood_in_every_mode(make_vae, pixels, kind):
    name, variance = KINDS[kind]
    eps = nd.random.normal(shape=(len(pixels), 3))
    losses = []
    for mode in MODES:
        net = make_vae(mode, likelihood=name, variance=variance)
        losses.append(net(nd.array(pixels), eps).asnumpy())
        z = net.mu + (0.5 * net.log_var).exp() * eps
        np.testing.assert_allclose(net.nll_given(nd.array(pixels), z).asnumpy(), net.nll.asnumpy(), rtol=1e-5)
        np.testing.assert_allclose(losses[-1], (net.nll + net.kl).asnumpy(), rtol=1e-6)
    for other in losses[1:]:
        np.testing.assert_array_equal(other, losses[0])


@pytest.mark.parametrize("kind", KINDS)
def test_generate_and_pixel_variance(make_vae, kind):
    name, variance = KINDS[kind]
    net = make_vae(likelihood=name, variance=variance)
    z = gluon_vae.prior_draws(4, 3)
    mean, again = gluon_vae.generate(net, z), gluon_vae.generate(net, z)
    np.testing.assert_array_equal(mean, again)
    draws = np.stack([gluon_vae.generate(net, z, pixels="sample", seed=seed) for seed in range(500)])
    np.testing.assert_array_equal(draws[3], gluon_vae.generate(net, z, pixels="sample", seed=3))
    claimed = gluon_vae.pixel_variance(net, z)
    assert claimed.shape == mean.shape == draws.shape[1:]
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * np.sqrt(claimed / 500)).all()
    assert np.abs(draws.var(axis=0) - claimed).max() < 0.25 * claimed.max()


def test_learned_variance_trains_to_the_mean_squared_error(make_vae):
    """Also from far away: one number, whose steps Adam makes no longer than those of a weight."""
    x = np.clip(0.5 + 0.08 * np.random.default_rng(0).standard_normal((1000, N_OUTPUT)), 0, 1).astype("f4")
    net = make_vae("static", likelihood="gaussian", variance="learned")
    start = net.likelihood.variance(nd.zeros((1, N_OUTPUT))).asnumpy()
    np.testing.assert_allclose(start, 0.1, rtol=0.05)
    gluon_vae.fit(net, x, n_epochs=40, learning_rate=3e-3, progress=False)
    net(nd.array(x))
    error = np.mean((net.output.asnumpy() - x) ** 2)
    assert error < 0.01
    variance = net.likelihood.variance(nd.zeros((1, N_OUTPUT))).asnumpy()
    np.testing.assert_allclose(variance, error, rtol=0.03)


def test_learned_variance_is_best_at_the_mean_squared_error(pixels):
    likelihood = make("learned")
    logits, x = draw_logits(likelihood), nd.array(pixels, dtype="float64")
    error = np.mean((expit(logits.asnumpy()) - pixels) ** 2)
    nll = {}
    for factor in (0.9, 1, 1.1):
        rise = np.log(factor * error / MIN_STD**2)
        raw = (np.log(np.expm1(rise)) - np.log(0.1 / MIN_STD**2)) / 10
        likelihood.raw.set_data(nd.full((1, 1), raw, dtype="float64"))
        np.testing.assert_allclose(likelihood.variance(logits).asnumpy(), factor * error, rtol=1e-9)
        nll[factor] = likelihood(logits, x).mean().asscalar()
    assert nll[1] < min(nll[0.9], nll[1.1])
    assert nll[1] == pytest.approx(N_OUTPUT / 2 * (1 + np.log(2 * np.pi * error)), rel=1e-9)


def test_learned_parameter_is_saved_and_loaded(make_vae, pixels, tmp_path):
    net = make_vae(likelihood="gaussian", variance="learned")
    net.likelihood.raw.set_data(nd.full((1, 1), -0.2))
    net.save_parameters(str(tmp_path / "vae.params"))
    again = gluon_vae.VAE(8, 3, 2, N_OUTPUT, likelihood="gaussian", variance="learned")
    again.load_parameters(str(tmp_path / "vae.params"))
    eps = nd.zeros((len(pixels), 3))
    np.testing.assert_array_equal(again(nd.array(pixels), eps).asnumpy(), net(nd.array(pixels), eps).asnumpy())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"likelihood": "poisson"}, "likelihood"),
        ({"likelihood": None}, "likelihood"),
        ({"likelihood": 3}, "likelihood"),
        ({"variance": 0.1}, "variance"),
        ({"likelihood": "gaussian", "variance": "fixed"}, "variance"),
        ({"likelihood": "gaussian", "variance": 0}, "variance"),
        ({"likelihood": "gaussian", "variance": -1.0}, "variance"),
        ({"likelihood": "gaussian", "variance": float("nan")}, "variance"),
        ({"likelihood": "gaussian", "variance": float("inf")}, "variance"),
        ({"likelihood": "gaussian", "variance": True}, "variance"),
        ({"likelihood": "gaussian", "min_std": 0}, "min_std"),
        ({"likelihood": "gaussian", "min_std": "small"}, "min_std"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        gluon_vae.VAE(8, 3, 1, N_OUTPUT, **arguments)
    with pytest.raises(ValueError, match=name):
        gluon_vae.ComposedVAE(nn.Dense(6), nn.Dense(N_OUTPUT), 3, N_OUTPUT, **arguments)


def test_pixels_must_be_mean_or_sample(make_vae):
    with pytest.raises(ValueError, match="pixels"):
        gluon_vae.generate(make_vae(), gluon_vae.prior_draws(2, 3), pixels="median")


def test_two_contexts_share_a_learned_variance(make_vae, pixels):
    net = make_vae("static", likelihood="gaussian", variance="learned")
    contexts = [mx.cpu(0), mx.cpu(1)]
    eps = nd.zeros((len(pixels), 3))
    alone = net(nd.array(pixels), eps).asnumpy()
    net.collect_params().reset_ctx(contexts)
    for context in contexts:
        x = nd.array(pixels, ctx=context)
        np.testing.assert_array_equal(net(x, eps.as_in_context(context)).asnumpy(), alone)
        assert net.likelihood.sample(nd.zeros((2, N_OUTPUT), ctx=context)).context == context
