"""The normalizing flow: invertible layers, whose Jacobian is known, and a density that is learned."""

from itertools import combinations, islice

import numpy as np
import pytest
from conftest import bent, refused
from scipy.stats import kstest, multivariate_normal, norm

import gluon_vae
from gluon_vae.flow import Flow, fit_flow, halves
from gluon_vae.priors import fit_mixture
from gluon_vae.run import Run

import mxnet as mx
from mxnet import autograd, nd

MEAN, COVARIANCE = np.array([0.5, -1]), np.array([[1.0, 0.4], [0.4, 0.5]])


def test_a_flow_begins_as_the_gaussian():
    flow = Flow(MEAN, COVARIANCE, 3, 8)
    flow.begin(Run())
    z = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    np.testing.assert_allclose(flow.log_pdf(z), multivariate_normal(MEAN, COVARIANCE).logpdf(z), rtol=1e-5)


@pytest.mark.parametrize("n_latent", [1, 2, 5])
def test_a_coupling_layer_is_inverted_and_has_the_determinant_of_its_jacobian(n_latent):
    flow = bent(Flow(np.zeros(n_latent), np.eye(n_latent), 6, 8))
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
    flow = bent(Flow(MEAN, COVARIANCE, 4, 8))
    u = nd.dot(nd.array(flow.draws(2000)) - flow.center.data(), flow.whitening.data())
    for layer in flow.layers:
        u, _ = layer(u)
    np.testing.assert_allclose(u.asnumpy(), gluon_vae.prior_draws(2000, 2), atol=1e-4)
    assert kstest(u.asnumpy().ravel(), "norm").pvalue > 0.001


def test_a_flow_learns_a_bent_density_and_repeats_it():
    z = gluon_vae.prior_draws(4000, 2).astype(float)
    codes = np.stack([z[:, 0], z[:, 0] ** 2 + 0.5 * z[:, 1]], axis=1).astype(np.float32)
    truth = (norm.logpdf(codes[:, 0]) + norm.logpdf(codes[:, 1], codes[:, 0] ** 2, 0.5)).mean()
    flow = fit_flow(codes, n_epochs=10, batch_size=100)
    assert fit_mixture(codes).log_pdf(codes).mean() < truth - 0.4
    assert truth - 0.1 < flow.log_pdf(codes).mean() < truth + 0.05
    mx.random.seed(7)
    again = fit_flow(codes[:500], n_epochs=2)
    after = mx.random.randint(0, 10**6).asscalar()
    np.testing.assert_array_equal(again.draws(5), fit_flow(codes[:500], n_epochs=2).draws(5))
    mx.random.seed(8)
    fit_flow(codes[:500], n_epochs=2)
    assert after != mx.random.randint(0, 10**6).asscalar()  # the script's own seed still decides what it draws


@pytest.mark.parametrize("n_latent", [2, 3, 8, 20])
def test_every_coordinate_moves_and_any_two_are_told_apart(n_latent):
    n_layers = 2 * max(1, (n_latent - 1).bit_length())
    stays = np.array(list(islice(halves(n_latent), n_layers)))
    assert (stays.min(axis=0) == 0).all()
    assert (stays.max(axis=0) == 1).all()
    assert all((stays[:, i] != stays[:, j]).any() for i, j in combinations(range(n_latent), 2))


def test_what_is_wrong_is_named():
    z = np.zeros((5, 2), np.float32)
    refusals = [
        (lambda: fit_flow(np.eye(2)), "codes", "2"),
        (lambda: fit_flow(z), "codes", "vary"),
        (lambda: fit_flow(z, n_epochs=0), "n_epochs", "0"),
        (lambda: Flow(MEAN[None], COVARIANCE), "mean"),
        (lambda: Flow(MEAN, -COVARIANCE), "covariance"),
        (lambda: Flow(MEAN, COVARIANCE, n_layers=0), "n_layers"),
        (lambda: bent(Flow(MEAN, COVARIANCE, 2, 4)).log_pdf(z[:, :1]), "z", "(5, 1)"),
    ]
    for call, *words in refusals:
        with refused(*words):
            call()
