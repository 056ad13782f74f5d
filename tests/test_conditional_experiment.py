"""experiments/conditional.py where the answers are known."""

import conditional
import numpy as np
import pytest
from scipy.special import expit, xlog1py, xlogy
from scipy.stats import multivariate_normal, norm

import gluon_vae

from mxnet import nd


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class Lines:
    """One pixel whose log-odds are linear in z, with a slope of its own for every digit."""

    n_classes, n_latent = 10, 2

    def __init__(self, slopes):
        self.slopes, self.decoder = slopes, self

    def logits(self, z, *label):
        digit = int(label[0][0].asscalar()) if label else 0
        return nd.dot(z, nd.array(self.slopes[digit][:, None]))


def test_the_sum_over_the_grid_is_the_integral(rng):
    slopes = rng.standard_normal((10, 2))
    x = np.array([[0.0], [0.3], [1.0]], np.float32)
    # The log-odds are N(0, |slope|^2): one dimension is enough for a fine sum.
    t, step = np.linspace(-9, 9, 20001, retstep=True)
    for digit in (None, 0, 7):
        found = conditional.log_evidence(Lines(slopes), x, digit)
        p = expit(np.linalg.norm(slopes[digit or 0]) * t)
        expected = [np.log(np.sum(norm.pdf(t) * np.exp(xlogy(v, p) + xlog1py(1 - v, -p))) * step) for v in x[:, 0]]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_slant_is_that_of_a_sheared_picture():
    upright = np.exp(-0.5 * (((np.mgrid[:28, :28] - 13.5) / np.array([5, 2])[:, None, None]) ** 2).sum(axis=0))
    row, column = np.mgrid[:28, :28] - 13.5
    sheared = np.exp(-0.5 * ((row / 5) ** 2 + ((column - 0.4 * row) / 2) ** 2))
    found = conditional.slant(np.stack([upright, sheared]).reshape(2, -1))
    np.testing.assert_allclose(found, [0, 0.4], atol=0.01)


def test_what_is_alike_in_ten_digits_correlates(rng):
    common = rng.standard_normal(400)
    own = rng.standard_normal((10, 400))
    assert conditional.alike(common + own) == pytest.approx(0.5, abs=0.05)
    assert abs(conditional.alike(own)) < 0.05


def test_covered_is_what_precision_counts(rng):
    real, pictures = rng.standard_normal((60, 3)), 1.5 * rng.standard_normal((40, 3))
    precision, _ = gluon_vae.sample_quality.precision_recall(real, pictures, conditional.K)
    assert conditional.covered(pictures, real).mean() == precision
    assert 0.1 < precision < 0.9


def test_the_ratio_of_densities_is_that_of_the_encoders_gaussians(rng):
    encoded = np.concatenate([rng.standard_normal((5, 2)), rng.uniform(-2, 1, (5, 2))], axis=1)

    class Net:
        def encoder(self, x, y):
            assert (y.asnumpy() == 4).all()
            return nd.array(encoded)

    z = rng.standard_normal((7, 2))
    densities = [multivariate_normal(row[:2], np.diag(np.exp(row[2:]))).pdf(z) for row in encoded]
    expected = np.log(np.mean(densities, axis=0)) - multivariate_normal(np.zeros(2), np.eye(2)).logpdf(z)
    found = conditional.log_density_ratio(Net(), z, np.zeros((5, 784), np.float32), 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bad_ones_are_found_where_there_are_enough_of_both(rng):
    score = rng.standard_normal(50)
    assert conditional.auc(score > 0, score) == 1
    assert conditional.auc(score < 0, score) == 0
    assert conditional.auc(np.arange(50) < 4, score) is None
    assert conditional.auc(np.arange(50) >= 4, score) is None


@pytest.mark.parametrize(("kind", "encoder", "decoder"), [("both", 1, 1), ("encoder", 1, 0), ("decoder", 0, 1)])
def test_a_label_is_heard_where_it_is_told(kind, encoder, decoder):
    net = conditional.build(kind)
    net.initialize()
    x, z, labels = nd.random.uniform(shape=(1, 784)), nd.random.normal(shape=(1, 2)), (nd.array([3]), nd.array([8]))
    for part, argument, hears in ((net.encoder, x, encoder), (net.decoder, z, decoder)):
        first, second = (part(argument, label).asnumpy() for label in labels)
        assert (first != second).any() == bool(hears)
    n = sum(parameter.data().size for parameter in net.collect_params().values())
    assert n == sum(np.prod(parameter.shape) for parameter in conditional.build("both").collect_params().values())


def test_without_a_label_it_is_the_vae():
    assert conditional.build("none").n_classes is None
