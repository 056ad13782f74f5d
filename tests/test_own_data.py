"""experiments/own_data.py where the answers are known."""

import zlib

import numpy as np
import own_data
import pytest
from scipy.stats import norm

import gluon_vae


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_auc_of_two_normal_distributions_is_that_of_the_closed_form(rng):
    ordinary, anomalies = rng.normal(size=20_000), rng.normal(1, 2, size=20_000)
    assert own_data.auc(ordinary, anomalies) == pytest.approx(norm.cdf(1 / np.sqrt(5)), abs=0.01)
    assert own_data.auc(np.zeros(3), np.ones(2)) == 1
    assert own_data.auc(np.ones(3), np.zeros(2)) == 0


def test_only_the_training_part_decides_the_scale(rng):
    train, test = rng.normal(size=(50, 3)) * (1, 100, 0.01), rng.normal(size=(20, 3)) * (3, 100, 0.01)
    found, of_test = own_data.scaled(train, test)
    assert found.dtype == of_test.dtype == np.float32
    assert (found.min(axis=0) == 0).all()
    assert (found.max(axis=0) == 1).all()
    inside = (test > train.min(axis=0)) & (test < train.max(axis=0))
    assert not inside.all()
    back = train.min(axis=0) + of_test * np.ptp(train, axis=0)
    np.testing.assert_allclose(back[inside], test[inside], rtol=1e-4, atol=1e-5)
    assert set(of_test[~inside]) == {0, 1}
    (again,) = own_data.scaled(train)
    assert (again == found).all()


def test_a_quarter_of_every_class_is_for_testing():
    y = np.repeat((0, 1), (80, 40))
    x_train, x_test, y_train, y_test = own_data.split(np.arange(120), y, 3)
    assert (np.bincount(y_train) == (60, 30)).all()
    assert (np.bincount(y_test) == (20, 10)).all()
    assert sorted([*x_train, *x_test]) == list(range(120))
    assert (own_data.split(np.arange(120), y, 3)[1] == x_test).all()
    assert (own_data.split(np.arange(120), y, 4)[1] != x_test).any()


def test_components_leave_nothing_of_what_has_as_many_dimensions(rng):
    plane = rng.normal(size=(2, 6))
    train, test = rng.normal(size=(30, 2)) @ plane, rng.normal(size=(10, 2)) @ plane
    away = np.linalg.svd(plane)[2][-1]
    error = own_data.pca_error(train, 2, np.concatenate([test, test + 3 * away]))
    np.testing.assert_allclose(error[:10], 0, atol=1e-12)
    np.testing.assert_allclose(error[10:], 9, rtol=1e-6)


def test_no_test_patch_shares_a_pixel_with_a_training_patch():
    places = np.arange(427 * 640 * 3).reshape(427, 640, 3)
    blocks = own_data.held_out_blocks()
    train = own_data.patches(places, ~blocks, own_data.STRIDE)
    test = own_data.patches(places, blocks, own_data.SIDE)
    assert train.shape == ((~blocks).sum() * 49, 3, 16, 16)
    assert test.shape == (blocks.sum() * 16, 3, 16, 16)
    assert blocks.sum() * 4 == blocks.size
    assert not np.intersect1d(train, test).size
    assert len(np.unique(test)) == test.size
    assert (train[1] == places[:16, 72:88].transpose(2, 0, 1)).all() or blocks[0, 1]
    assert any((patch == places[8:24, 64:80].transpose(2, 0, 1)).all() for patch in train)


def test_complexity_is_the_length_of_what_zlib_can_read_back(rng):
    noise = rng.integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8), (1, 3, 16, 16))
    grey = np.full((1, 3, 16, 16), 7, np.uint8)
    noisy, smooth, flat = (own_data.complexity(x)[0] for x in (noise, ramp, grey))
    assert flat <= smooth < noisy / 10
    assert 768 * 8 * np.log(2) <= noisy < 1.05 * 768 * 8 * np.log(2)
    steps = np.diff(noise.astype(int), axis=3, prepend=0)
    packed = zlib.compress(steps.astype(np.uint8).tobytes(), 9)
    read = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(noise.shape)
    assert (np.cumsum(read, axis=3, dtype=np.uint8) == noise).all()
    assert noisy == pytest.approx(8 * np.log(2) * len(packed))


def test_scores_are_those_of_their_definitions(rng):
    net = gluon_vae.VAE(n_hidden=8, n_latent=2, n_output=5, likelihood="gaussian")
    net.initialize()
    x = rng.random((7, 5), dtype=np.float32)
    found = own_data.scores(net, x)
    assert set(found) == {"log p", "ELBO", "error"}
    assert (found["ELBO"] >= found["log p"]).all()
    exact = -gluon_vae.log_likelihood(net, x, n_samples=20_000, progress=False).per_image
    np.testing.assert_allclose(found["log p"], exact, atol=0.1)
    np.testing.assert_allclose(found["error"], ((gluon_vae.reconstruct(net, x) - x) ** 2).sum(axis=1), rtol=1e-5)


def test_a_run_is_repeatable_and_every_setting_has_a_name(monkeypatch):
    monkeypatch.setitem(own_data.TRAINED, "table", {"n_epochs": 1, "batch_size": 50})
    assert own_data.RUNS["benign"](1) == own_data.RUNS["benign"](1)
    assert {"log p", "ELBO", "error", "PCA", "Gaussian", "spread"} == set(own_data.run_benign(1))
    assert {f"digits without {digit}" for digit in range(10)} < set(own_data.RUNS)
    assert {f"table, {habit}" for habit in own_data.HABITS} < set(own_data.RUNS)


def test_what_is_watched_is_neither_trained_on_nor_judged_by(monkeypatch):
    seen = {}

    def fit(net, x_train, x_watched, **settings):
        seen.update(train=x_train, watched=x_watched, settings=settings)
        net.initialize()
        return {"epoch": [1, 2], "test_loss": [2.0, 1.0]}

    def elbo(net, x, **options):
        seen.setdefault("judged", []).append(x)
        return gluon_vae.evaluation.Estimate(-1.0, 0.0, np.array([-1.0]))

    monkeypatch.setattr(own_data.gluon_vae, "fit", fit)
    monkeypatch.setattr(own_data.gluon_vae, "elbo", elbo)
    result = own_data.run_habit("patience", 0)
    parts = {
        name: {tuple(row) for row in rows} for name, rows in (("train", seen["train"]), ("watched", seen["watched"]))
    }
    test = {tuple(row) for row in seen["judged"][0]}
    assert not parts["train"] & parts["watched"]
    assert not test & (parts["train"] | parts["watched"])
    assert len(test) + len(parts["train"]) + len(parts["watched"]) == 569
    assert seen["judged"][1] is seen["train"]
    assert seen["settings"]["patience"] == own_data.HABITS["patience"]["patience"]
    assert (result["epochs"], result["best"]) == (2, 2)
