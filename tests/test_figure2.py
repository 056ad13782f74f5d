"""experiments/figure2.py: what it measures where that is known, and trainings that go on as if never stopped."""

import figure2
import numpy as np
import pytest
import record

import gluon_vae

from mxnet import nd
from mxnet.gluon import Block, nn

SPAN = 32  # of the numbers that an image has, from 0 to 1


class Codes(Block):
    """A model whose encoder reads means and log-variances off the image."""

    def __init__(self, n_latent):
        super().__init__()
        self.n_latent, self.n_output = n_latent, 2 * n_latent
        self.encoder = nn.Dense(self.n_output, in_units=self.n_output)
        self.encoder.initialize()
        self.encoder.weight.set_data(SPAN * nd.eye(self.n_output))
        self.encoder.bias.set_data(nd.full(self.n_output, -SPAN / 2))


def images_of(mu, var):
    numbers = np.concatenate([mu, np.log(np.broadcast_to(var, mu.shape))], axis=1)
    return (numbers / SPAN + 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def digits():
    return gluon_vae.load_mnist()


@pytest.fixture
def small(monkeypatch, tmp_path, digits):
    """A small model of few images, and a record of its own."""
    few = digits._replace(x_train=digits.x_train[:200], y_train=digits.y_train[:200])
    few = few._replace(x_test=digits.x_test[:100], y_test=digits.y_test[:100])
    monkeypatch.setattr(figure2, "N_HIDDEN_FEW", 16)
    monkeypatch.setattr(figure2, "POINTS", (1, 2, 3, 10))
    monkeypatch.setattr(figure2, "FOLDER", tmp_path)
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr(figure2, "RECORD", record.Record("figure2"))
    monkeypatch.setattr(gluon_vae, "load_mnist", lambda source="sample": few)
    return few


def test_blur_is_the_entropy_of_the_pixels():
    np.testing.assert_allclose(figure2.blur(np.full((3, 784), 0.5)), 784 * np.log(2))
    assert figure2.blur(np.eye(784)[:5]) == 0


def test_the_moments_are_those_of_the_draws():
    rng = np.random.default_rng(7)
    mu, var = rng.standard_normal((4000, 3)) * [1, 0.5, 0] + [0, 1, 2], rng.uniform(0.1, 1, (4000, 3))
    net, x = Codes(3), images_of(mu, var)
    mean, covariance = figure2.moments(net, x)
    draws = figure2.draw_codes(net, x)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.06)


@pytest.mark.parametrize(("shift", "low", "high"), [(0, 0.45, 0.55), (5, 0.98, 1)])
def test_codes_are_told_from_the_prior_by_as_much_as_they_differ(shift, low, high):
    rng = np.random.default_rng(1)
    train, test = (images_of(np.sqrt(0.5) * rng.standard_normal((1000, 2)) + shift, 0.5) for _ in range(2))
    data = gluon_vae.data.Mnist(train, np.zeros(1000), test, np.zeros(1000))
    assert low <= figure2.told_apart(Codes(2), data, np.zeros(2), np.eye(2)) <= high


def test_a_bound_of_all_dimensions_is_the_elbo_and_one_of_none_is_that_of_the_prior(small):
    points = {}
    net = figure2.train(small, 4, 0, 2, points)
    draws = [figure2.bound_of_kept(net, small.x_test, 4, seed) for seed in range(20)]
    elbo = gluon_vae.elbo(net, small.x_test, n_samples=20).mean
    assert abs(np.mean(draws) - elbo) < 5 * np.std(draws) / np.sqrt(10)
    z = np.random.default_rng(3).standard_normal((100, 4))
    without = -net.nll_given(nd.array(small.x_test), nd.array(z)).asnumpy().mean()
    np.testing.assert_allclose(figure2.bound_of_kept(net, small.x_test, 0, 3), without, rtol=1e-5)


def test_a_bound_pays_for_the_strongest_dimensions_only():
    mu, var = np.tile([0.1, 2, 1], (5, 1)), np.tile([0.9, 0.2, 0.5], (5, 1))
    shares = 0.5 * (mu**2 + var - 1 - np.log(var))[0]
    net = Codes(3)
    net.nll_given = lambda x, z: nd.zeros(len(x))
    for kept in ([], [1], [1, 2], [0, 1, 2]):
        bound = figure2.bound_of_kept(net, images_of(mu, var), len(kept))
        np.testing.assert_allclose(bound, -shares[kept].sum(), rtol=1e-5)


def test_a_longer_training_begins_with_the_shorter_one(small):
    short, long = {}, {}
    figure2.train(small, 3, 1, 2, short)
    figure2.train(small, 3, 1, 3, long)
    assert list(short) == ["1", "2"]
    assert list(long) == ["1", "2", "3"]
    assert {epoch: long[epoch] for epoch in short} == short
    assert long["3"]["shares"] == sorted(long["3"]["shares"], reverse=True)


def test_a_training_that_goes_on_is_recorded_as_one_that_never_stopped(small, tmp_path):
    for n_epochs in (1, 3):
        figure2.go_on(tmp_path, 3, 0, n_epochs)
    uninterrupted = {}
    figure2.train(small, 3, 0, 3, uninterrupted)
    runs = figure2.RECORD.read()["runs"]
    assert runs["200 images, 3 dimensions"]["0"]["points"] == uninterrupted
    figure2.go_on(tmp_path, 3, 0, 2)  # nothing to do
    assert figure2.RECORD.read()["runs"] == runs


def test_the_encoder_is_fitted_again_to_either_set_and_the_decoder_is_not(small):
    points = {}
    net = figure2.train(small, 3, 0, 3, points)
    before = [p.data().asnumpy() for p in net.decoder.collect_params().values()]
    result = figure2.refit(net, small)
    for old, p in zip(before, net.decoder.collect_params().values()):
        np.testing.assert_array_equal(old, p.data().asnumpy())
    assert result["train"] > points["3"]["train"]
    assert result["test"] > points["3"]["test"]


def test_digits_are_named_by_all_coordinates_and_by_every_two_of_three(monkeypatch):
    # The last coordinate is the digit, the others say nothing.
    monkeypatch.setattr(gluon_vae, "encode", lambda net, x: x)
    rng = np.random.default_rng(0)
    y_train, y_test = rng.integers(10, size=400), rng.integers(10, size=200)
    x_train, x_test = (np.column_stack([rng.normal(0, 0.1, (len(y), 2)), y]) for y in (y_train, y_test))
    result = figure2.confusion(Codes(3), gluon_vae.data.Mnist(x_train, y_train, x_test, y_test))
    np.testing.assert_array_equal(result["all"], np.diag(np.bincount(y_test)))
    without, *others = result["pairs"]
    np.testing.assert_array_equal(np.sum(without, axis=1), np.bincount(y_test))
    assert np.trace(without) < 60  # of 200, where chance has 20
    for table in others:
        np.testing.assert_array_equal(table, result["all"])
