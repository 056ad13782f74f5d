"""experiments/hole.py where the answers are known: a decoder of one pixel, codes and pictures made by hand."""

import hole
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import bernoulli, norm

import gluon_vae
from gluon_vae.sample_quality import features

from mxnet import nd


class OnePixel:
    """Has the logit slope z_1 + offset, the same for all pixels."""

    def __init__(self, slope, offset, n_output=1):
        self.decoder, self.slope, self.offset, self.n_output = self, slope, offset, n_output

    def logits(self, z):
        return nd.tile(self.slope * z[:, :1] + self.offset, (1, self.n_output))


def test_the_integral_of_a_decoder_that_ignores_its_code_is_the_likelihood():
    net, x = OnePixel(0.0, 0.7, n_output=5), np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], np.float32)
    expected = bernoulli(expit(0.7)).logpmf(x.astype(int)).sum(axis=1)
    for mean, factor in ((np.zeros(2), np.eye(2)), (np.array([3.0, -1]), np.array([[5.0, 0], [2, 0.1]]))):
        fine, coarse = hole.log_evidence(net, x, mean, factor, side=81, reach=8)
        np.testing.assert_allclose(fine, expected, atol=1e-4)
        np.testing.assert_allclose(coarse, expected, atol=1e-4)


def test_the_integral_is_over_the_gaussian_of_this_mean_and_factor():
    mean, factor = np.array([0.5, 7.0]), np.array([[1.5, 0], [0.4, 2]])
    fine, _ = hole.log_evidence(OnePixel(2.0, -1.0), np.ones((1, 1), np.float32), mean, factor, side=161, reach=8)
    expected, _ = quad(lambda z: norm.pdf(z, 0.5, 1.5) * expit(2 * z - 1), -12, 13)
    assert fine[0] == pytest.approx(np.log(expected), abs=1e-4)


def test_a_coarse_grid_gives_itself_away():
    fine, coarse = hole.log_evidence(
        OnePixel(400.0, -68.0), np.ones((1, 1), np.float32), np.zeros(2), np.eye(2), side=41, reach=8
    )
    assert abs(fine - coarse) > 0.05


@pytest.mark.parametrize("model", [gluon_vae.Autoencoder, gluon_vae.VAE])
def test_codes_come_from_the_places_that_they_are_said_to_come_from(model):
    net = model(n_hidden=16, n_latent=3)
    net.initialize()
    x_train, x_test = gluon_vae.load_mnist().x_train[:600], gluon_vae.load_mnist().x_test[:400]
    z = hole.places(net, x_train, x_test, 0, (*hole.PLACES, "decoded training images"))
    assert {place.shape for place in z.values()} == {(400, 3)}
    seen, own = hole.codes_of(net, x_train, 0), hole.codes_of(net, x_test, 1)
    np.testing.assert_array_equal(z["decoded training images"], seen[:400])
    np.testing.assert_array_equal(z["reconstructions"], own)
    pairs = np.random.default_rng(0).integers(0, 400, (2, 400))
    np.testing.assert_allclose(z["midpoints"], 0.5 * (own[pairs[0]] + own[pairs[1]]))
    error = 5 / np.sqrt(400)
    for place in ("fitted Gaussian", "ten Gaussians"):
        white = np.linalg.solve(hole.gaussian(seen)[1], (z[place] - seen.mean(axis=0)).T)
        assert abs(white.mean(axis=1)).max() < error
        assert abs(np.cov(white) - np.eye(3)).max() < 2 * error
    if model is gluon_vae.VAE:
        mean, log_var = np.split(net.encoder(nd.array(x_test)).asnumpy().astype(float), 2, axis=1)
        eps = (own - mean) / np.exp(0.5 * log_var)
        assert abs(eps.mean(axis=0)).max() < error
        assert abs(np.cov(eps.T) - np.eye(3)).max() < 2 * error
    else:
        np.testing.assert_allclose(own, gluon_vae.encode(net, x_test), rtol=1e-6)


def test_digits_are_judged_as_digits_and_noise_is_not():
    data = gluon_vae.load_mnist()
    real = features(data.x_test[:300])
    digits = hole.judge(data.x_train[:300], real)
    noise = hole.judge(np.random.default_rng(0).random((300, 784)).astype(np.float32), real)
    assert digits["frechet"] < 0.2 * noise["frechet"]
    assert digits["precision"] > 0.7 > noise["precision"] + 0.5
    assert digits["confidence"] > 0.95
    shares = np.bincount(data.y_train[:300], minlength=10) / 300
    np.testing.assert_allclose(digits["digits"], shares, atol=0.03)


def test_the_composed_model_is_the_one_with_two_layers_of_512():
    net = hole.composed()
    net.initialize()
    shapes = [p.shape for p in net.encoder.collect_params().values() if len(p.shape) == 2]
    assert shapes == [(512, 784), (512, 512), (4, 512)]
    shapes = [p.shape for p in net.decoder.collect_params().values() if len(p.shape) == 2]
    assert shapes == [(512, 2), (512, 512), (784, 512)]
