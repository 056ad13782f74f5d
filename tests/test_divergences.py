import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from gluon_vae import kl_diagonal_gaussian, kl_gaussian
from gluon_vae.losses import kl_to_standard_normal

from mxnet import nd

seeds = st.integers(0, 2**32 - 1)
widths = st.integers(1, 6)


def random_gaussian(rng, k):
    """A mean and a covariance whose smallest eigenvalue is at least 0.1."""
    factor = rng.normal(size=(k, k))
    return rng.normal(size=k), factor @ factor.T + 0.1 * np.eye(k)


def random_pair(seed, k):
    rng = np.random.default_rng(seed)
    return (*random_gaussian(rng, k), *random_gaussian(rng, k))


@given(seeds, widths)
def test_full_covariance_of_a_diagonal_is_the_diagonal_form(seed, k):
    rng = np.random.default_rng(seed)
    mu_q, mu_p = rng.normal(size=(2, k))
    var_q, var_p = np.exp(rng.normal(size=(2, k)))
    full = kl_gaussian(mu_q, np.diag(var_q), mu_p, np.diag(var_p))
    assert full == pytest.approx(kl_diagonal_gaussian(mu_q, var_q, mu_p, var_p), rel=1e-10, abs=1e-12)


@given(seeds, widths)
def test_full_covariance_is_the_textbook_formula(seed, k):
    mu_q, cov_q, mu_p, cov_p = random_pair(seed, k)
    inverse, shift = np.linalg.inv(cov_p), mu_p - mu_q
    log_det_ratio = np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]
    textbook = 0.5 * (np.trace(inverse @ cov_q) + shift @ inverse @ shift - k + log_det_ratio)
    assert kl_gaussian(mu_q, cov_q, mu_p, cov_p) == pytest.approx(textbook, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_full_covariance_against_monte_carlo(k):
    mu_q, cov_q, mu_p, cov_p = random_pair(k, k)
    q, p = multivariate_normal(mu_q, cov_q), multivariate_normal(mu_p, cov_p)
    x = q.rvs(100_000, random_state=0).reshape(-1, k)
    log_ratio = q.logpdf(x) - p.logpdf(x)
    standard_error = log_ratio.std() / np.sqrt(len(x))
    assert abs(kl_gaussian(mu_q, cov_q, mu_p, cov_p) - log_ratio.mean()) < 4 * standard_error


@pytest.mark.parametrize("mu_q", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("var_q", [0.05, 1.0, 6.0])
@pytest.mark.parametrize(("mu_p", "var_p"), [(0.0, 1.0), (0.7, 0.3)])
def test_one_dimension_against_numerical_integration(mu_q, var_q, mu_p, var_p):
    q, p = norm(mu_q, np.sqrt(var_q)), norm(mu_p, np.sqrt(var_p))
    integral, _ = quad(
        lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)),
        mu_q - 12 * np.sqrt(var_q),
        mu_q + 12 * np.sqrt(var_q),
        epsabs=1e-12,
        epsrel=1e-12,
    )
    assert kl_diagonal_gaussian(mu_q, var_q, mu_p, var_p) == pytest.approx(integral, rel=1e-9, abs=1e-10)
    assert kl_gaussian([mu_q], [[var_q]], [mu_p], [[var_p]]) == pytest.approx(integral, rel=1e-9, abs=1e-10)


def test_reverse_direction_by_hand():
    mu, var = np.array([1.0, -2.0]), np.array([0.5, 4.0])
    by_hand = 0.5 * np.sum((1 + mu**2) / var - 1 + np.log(var))
    assert kl_diagonal_gaussian(0, 1, mu, var) == pytest.approx(by_hand, rel=1e-12)
    assert kl_diagonal_gaussian(mu, var, 0, 1) != pytest.approx(by_hand, rel=0.01)


@given(seeds, widths)
def test_positive_between_different_gaussians(seed, k):
    mu_q, cov_q, mu_p, cov_p = random_pair(seed, k)
    assert kl_gaussian(mu_q, cov_q, mu_p, cov_p) > 0
    assert kl_diagonal_gaussian(mu_q, np.diag(cov_q), mu_p, np.diag(cov_p)) > 0


@given(seeds, widths)
def test_zero_between_equal_gaussians(seed, k):
    mu, cov = random_gaussian(np.random.default_rng(seed), k)
    assert 0 <= kl_gaussian(mu, cov, mu, cov) < 1e-20
    assert kl_diagonal_gaussian(mu, np.diag(cov), mu, np.diag(cov)) == 0


@given(
    st.floats(-1e3, 1e3),
    st.floats(1e-6, 1e6),
    st.floats(-1e-3, 1e-3),
    st.sampled_from([1 - 1e-4, 1 - 1e-9, 1, 1 + 1e-15, 1 + 1e-4]),
)
def test_never_negative_where_digits_cancel(mu, var, step, factor):
    assert kl_diagonal_gaussian(mu, var, mu + step, var * factor) >= 0
    assert kl_gaussian([mu], [[var]], [mu + step], [[var * factor]]) >= 0


def test_small_divergences_keep_their_digits():
    # (r - 1)^2 / 4 to second order.
    assert kl_diagonal_gaussian(0, 1 + 1e-6, 0, 1) == pytest.approx(2.5e-13, rel=1e-5, abs=0)


def test_tiny_variances_stay_finite():
    var = 1e-30
    expected = 0.5 * (var - 1 - np.log(var))
    assert kl_diagonal_gaussian(0, var, 0, 1) == pytest.approx(expected, rel=1e-14)
    assert kl_gaussian([0.0], [[var]], [0.0], [[1.0]]) == pytest.approx(expected, rel=1e-12)


@given(seeds, widths)
def test_invariant_under_an_affine_map(seed, k):
    mu_q, cov_q, mu_p, cov_p = random_pair(seed, k)
    rng = np.random.default_rng(seed + 1)
    turn = np.linalg.qr(rng.normal(size=(k, k)))[0]
    scale = turn @ np.diag(rng.uniform(0.3, 3, size=k)) @ turn.T @ np.linalg.qr(rng.normal(size=(k, k)))[0]
    shift = rng.normal(size=k)
    mapped = kl_gaussian(scale @ mu_q + shift, scale @ cov_q @ scale.T, scale @ mu_p + shift, scale @ cov_p @ scale.T)
    assert mapped == pytest.approx(kl_gaussian(mu_q, cov_q, mu_p, cov_p), rel=1e-7, abs=1e-10)


def test_agrees_with_the_loss_of_the_vae():
    rng = np.random.default_rng(0)
    mu, log_var = rng.normal(size=(2, 20, 7))
    loss = kl_to_standard_normal(nd, nd.array(mu, dtype="float64"), nd.array(log_var, dtype="float64"))
    np.testing.assert_allclose(kl_diagonal_gaussian(mu, np.exp(log_var), 0, 1), loss.asnumpy(), rtol=1e-12)


def test_diagonal_form_broadcasts_before_it_sums():
    mu, var = np.zeros(3), np.full((5, 1, 3), 2.0)
    assert kl_diagonal_gaussian(mu, var, np.ones((4, 1)), 1).shape == (5, 4)
    assert kl_diagonal_gaussian(mu, 2.0, 0, 1) == pytest.approx(3 * kl_diagonal_gaussian(0, 2.0, 0, 1))
    assert np.ndim(kl_diagonal_gaussian(0, 2.0, 0, 1)) == 0


def test_accepts_ndarrays_and_float32():
    mu, var = nd.array([0.5, -1]), nd.array([0.3, 2])
    expected = kl_diagonal_gaussian(mu.asnumpy(), var.asnumpy(), 0, 1)
    assert kl_diagonal_gaussian(mu, var, 0, 1) == expected
    assert kl_gaussian(mu, nd.diag(var), nd.zeros(2), nd.eye(2)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mu_q", [[0.0, 0.0]], "shape"),
        ("mu_q", 0.0, "shape"),
        ("mu_q", [], "non-empty"),
        ("mu_q", [0.0, np.nan], "finite"),
        ("mu_q", ["a", "b"], "real numbers"),
        ("mu_p", [0.0, 0.0, 0.0], "shape"),
        ("cov_q", [1.0, 1.0], "shape"),
        ("cov_q", np.eye(3), "shape"),
        ("cov_p", [[1.0, np.inf], [np.inf, 1.0]], "finite"),
        ("cov_q", [[1.0, 0.5], [0.0, 1.0]], "not symmetric"),
        ("cov_p", [[1.0, 0.0], [0.5, 1.0]], "not symmetric"),
        ("cov_q", [[1.0, 2.0], [2.0, 1.0]], "not positive definite"),
        ("cov_p", [[1.0, 0.0], [0.0, 0.0]], "not positive definite"),
        ("cov_p", -np.eye(2), "not positive definite"),
    ],
)
def test_full_covariance_names_the_bad_argument(name, value, message):
    arguments = {"mu_q": np.zeros(2), "cov_q": np.eye(2), "mu_p": np.zeros(2), "cov_p": np.eye(2)}
    with pytest.raises(ValueError, match=rf"^{name} must .*{message}"):
        kl_gaussian(**(arguments | {name: value}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mu_q", np.inf, "finite"),
        ("mu_p", [], "non-empty"),
        ("mu_p", True, "real numbers"),
        ("var_q", 0.0, "positive"),
        ("var_q", [1.0, -2.0], "positive"),
        ("var_p", np.nan, "finite"),
        ("var_p", 1j, "real numbers"),
    ],
)
def test_diagonal_form_names_the_bad_argument(name, value, message):
    arguments = {"mu_q": 0.0, "var_q": 1.0, "mu_p": 0.0, "var_p": 1.0}
    with pytest.raises(ValueError, match=rf"^{name} must .*{message}"):
        kl_diagonal_gaussian(**(arguments | {name: value}))


def test_diagonal_form_names_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"broadcast together.*var_q \(3,\)"):
        kl_diagonal_gaussian(np.zeros(2), np.ones(3), 0, 1)
