"""experiments/few_labels.py where the answers are known."""

import few_labels
import numpy as np
import pytest
from scipy.stats import norm

import gluon_vae
from gluon_vae.data import Mnist

from mxnet import nd


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_every_digit_gets_as_many_labels_and_the_choices_differ():
    y = np.repeat(np.arange(10), 40)
    chosen = few_labels.choices(y, 30)
    assert len(chosen) == few_labels.N_REPEATS
    assert all((np.bincount(y[rows]) == 3).all() and len(set(rows)) == 30 for rows in chosen)
    assert len({tuple(sorted(rows)) for rows in chosen}) == few_labels.N_REPEATS
    assert all((one == other).all() for one, other in zip(chosen, few_labels.choices(y, 30)))


def test_one_scale_keeps_the_proportions_and_is_that_of_the_training_images(rng):
    train, test = rng.standard_normal((2, 500, 3)) * (1, 5, 0.1) + (0, 7, -2)
    found, of_test = few_labels.scaled(train, test)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    assert found.var(axis=0).mean() == pytest.approx(1)
    np.testing.assert_allclose(found.std(axis=0) / found.std(axis=0)[0], train.std(axis=0) / train.std(axis=0)[0])
    np.testing.assert_allclose((of_test - found) * np.sqrt(train.var(axis=0).mean()), test - train)


def test_halved_pictures_are_means_of_neighbours(rng):
    x = rng.random((2, 784)).astype(np.float32)
    halved = few_labels.halved(x).reshape(2, 14, 14)
    assert halved[1, 3, 5] == pytest.approx(x[1].reshape(28, 28)[6:8, 10:12].mean(), rel=1e-6)
    np.testing.assert_allclose(halved.mean(axis=(1, 2)), x.mean(axis=1), rtol=1e-5)


def test_an_epoch_shows_every_image_without_and_some_with_their_labels():
    y = np.arange(1000) % 10
    rows = np.arange(0, 100, 5)
    shown, labels = few_labels.epoch_of(y, rows)
    known = labels >= 0
    assert (np.sort(shown[~known]) == np.arange(1000)).all()
    assert (labels[known] == y[shown[known]]).all()
    assert set(shown[known]) == set(rows)
    assert known.sum() == few_labels.SHARE * 1000


@pytest.mark.parametrize("n_labels", [10, 100])
def test_a_judge_of_clear_features_is_nearly_always_right(rng, n_labels):
    y, y_test = np.repeat(np.arange(10), 50), np.arange(10)
    places = 4 * rng.standard_normal((10, 6))
    train, test = (places[digits] + 0.1 * rng.standard_normal((len(digits), 6)) for digits in (y, y_test))
    data = Mnist(train, y, test, y_test)
    (scores,) = few_labels.judged(train, test, data, (n_labels,)).values()
    assert len(scores) == few_labels.N_REPEATS
    assert np.mean(scores) > 0.9
    (chance,) = few_labels.judged(train, test, data._replace(y_train=rng.permutation(y)), (n_labels,)).values()
    assert np.mean(chance) < 0.4


def test_the_posterior_is_that_of_the_encoder():
    net = gluon_vae.VAE(n_hidden=8, n_latent=3)
    net.initialize()
    x = nd.random.uniform(shape=(1100, 784)).asnumpy()
    mu, sigma = few_labels.posterior(net, x)
    net(nd.array(x))
    np.testing.assert_allclose(mu, net.mu.asnumpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(2 * np.log(sigma), net.log_var.asnumpy(), rtol=1e-4, atol=1e-4)


def test_both_sees_new_draws_of_active_codes_and_is_tested_on_their_means(monkeypatch, rng):
    y, y_test = np.repeat(np.arange(10), 20), np.arange(10)
    data = Mnist(rng.random((200, 784)), y, rng.random((10, 784)), y_test)
    spread = np.array([1, 0.01, 2])
    codes = {n: np.clip(rng.standard_normal((n, 3)), -1.5, 1.5) * spread for n in (200, 10)}
    seen = {}
    monkeypatch.setattr(few_labels, "loaded", lambda source: data)
    monkeypatch.setattr(few_labels, "trained_m1", lambda *which: None)
    monkeypatch.setattr(few_labels, "posterior", lambda net, x: (codes[len(x)], np.full((len(x), 3), 0.1)))
    monkeypatch.setattr(few_labels, "train_m2", lambda x, labels, *rest, **options: seen.update(x=x, labels=labels))
    monkeypatch.setattr(few_labels, "accuracy", lambda net, x, y: seen.update(test=x) or 0.5)
    assert few_labels.run_both(0, "sample") == {"100": 0.5, "active": 2}
    np.testing.assert_allclose(seen["test"], norm.cdf(codes[10][:, [0, 2]]), rtol=1e-6)
    per_copy = len(seen["x"]) // few_labels.N_COPIES
    unlabelled = norm.ppf(seen["x"].reshape(few_labels.N_COPIES, per_copy, 2)[:, :200].astype(float))
    errors = (unlabelled - codes[200][:, [0, 2]]) / 0.1
    assert abs(errors.std() - 1) < 0.1
    assert abs(np.corrcoef(errors[:2].reshape(2, -1))[0, 1]) < 0.2
    assert (seen["labels"].reshape(few_labels.N_COPIES, per_copy)[:, :200] == -1).all()


def test_seconds_are_of_the_processor_and_what_has_no_training_runs_once(monkeypatch, capsys):
    kept = []

    class Kept:
        def missing(self, settings, seeds):
            yield from ((setting, seed) for seed in seeds for setting in settings)

        def add(self, *run):
            kept.append(run)

    monkeypatch.setattr(few_labels, "record", lambda source: Kept())
    names = few_labels.methods("mnist")
    monkeypatch.setattr(few_labels, "methods", lambda source: dict.fromkeys(names, lambda seed, source: {"100": 0.9}))
    monkeypatch.setattr("sys.argv", ["few_labels.py", "--data", "mnist", "--seeds", "0", "1"])
    few_labels.main()
    assert [name for name, seed, _ in kept if seed == 0] == list(names)
    assert [name for name, seed, _ in kept if seed == 1] == ["M1 50", "M2", "M1 + M2"]
    assert all(result["seconds"] < 1 for *_, result in kept)
    assert "M1 + M2, seed 1" in capsys.readouterr().out
