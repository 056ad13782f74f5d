"""The digit classifier: its file, its accuracy, and the script that trains it."""

import json

import digit_classifier as experiment
import numpy as np
import pytest
from conftest import refused

import gluon_vae
from gluon_vae import digit_classifier
from gluon_vae.digit_classifier import N_FEATURES, DigitClassifier, classify, features, made

import mxnet as mx
from mxnet import nd


@pytest.fixture(scope="module")
def data():
    return gluon_vae.load_mnist()


def test_it_names_digits_that_it_was_not_trained_on(data):
    probabilities = classify(data.x_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == data.y_test).mean() > 0.985


def test_its_file_says_how_it_was_made():
    said = made()
    assert said["command"] == "python experiments/digit_classifier.py"
    assert "without the 5000 of the bundled sample" in said["data"]
    assert said["test accuracy"] >= 0.99
    assert said["accuracy on the bundled sample"] >= 0.99
    assert digit_classifier.WEIGHTS.stat().st_size < 150_000


def test_features_are_those_the_log_odds_are_made_of(data):
    seen = features(data.x_test)
    assert seen.shape == (1000, N_FEATURES)
    assert seen.min() == 0
    assert seen.var(axis=0).mean() == pytest.approx(1, abs=0.1)
    with np.load(digit_classifier.WEIGHTS) as file:
        weight, bias = (file[f"log_odds.{name}"].astype(float) for name in ("weight", "bias"))
    log_odds = seen @ weight.T + bias
    expected = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    np.testing.assert_allclose(classify(data.x_test), expected / expected.sum(axis=1, keepdims=True), atol=1e-4)


def test_arrays_of_mxnet_and_any_number_of_images_do(data):
    x = data.x_test[: 1001 % 7 + 3]
    np.testing.assert_allclose(features(nd.array(x)), features(data.x_test)[: len(x)], atol=1e-4)
    np.testing.assert_allclose(features(x.astype(np.float64)), features(x), atol=1e-4)


@pytest.mark.parametrize("function", [features, classify])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 64)), ["784", "(2, 64)"]),
        (np.zeros((2, 784), int), ["floating point"]),
        (np.full((2, 784), 2.0), ["[0, 1]"]),
        (np.full((2, 784), np.nan), ["finite"]),
    ],
)
def test_other_images_are_refused(function, x, words):
    with refused("x", *words):
        function(x)


ORIGINAL = digit_classifier.WEIGHTS


def rewrite(path, **changes):
    with np.load(ORIGINAL) as file:
        arrays = dict(file) | changes
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})


@pytest.mark.parametrize("damage", ["none", "cut", "missing entry", "shape", "nan", "text"])
def test_damaged_weights_are_refused(damage, tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    monkeypatch.setattr(digit_classifier, "WEIGHTS", path)
    changes = {
        "missing entry": {"log_odds.bias": None},
        "shape": {"log_odds.bias": np.zeros(9)},
        "nan": {"log_odds.bias": np.full(10, np.nan)},
    }
    if damage != "none":
        rewrite(path, **changes.get(damage, {}))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "text":
        path.write_text("weights")
    with refused("weights.npz", "install gluon-vae again"):
        digit_classifier._classifier.__wrapped__()


def test_a_flipped_byte_among_the_weights_is_found(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    rewrite(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(digit_classifier, "WEIGHTS", path)
    with refused("weights.npz", "install gluon-vae again"):
        digit_classifier._classifier.__wrapped__()


def test_images_of_the_sample_are_found_by_their_pixels(data):
    x = data.x_test[:6]
    changed = x[2:3].copy()
    changed[0, 300] = 1 - changed[0, 300]
    kept = experiment.unseen(np.concatenate([x, changed]), x[3:5])
    assert kept.tolist() == [True, True, True, False, False, True, True]


def test_a_shift_moves_every_image_by_its_own_few_pixels():
    x = np.zeros((200, 28, 28), np.float32)
    x[:, 14, 10] = 1
    moved = experiment.shifted(x.reshape(200, -1), np.random.default_rng(0)).reshape(200, 28, 28)
    places = np.argwhere(moved)[:, 1:] - [14, 10]
    assert len(places) == 200
    assert np.unique(places, axis=0).tolist() == [[i, j] for i in range(-2, 3) for j in range(-2, 3)]


def test_scaled_features_leave_the_log_odds_as_they_were(data):
    mx.random.seed(0)
    net = DigitClassifier()
    net.initialize(mx.init.Xavier())
    x = nd.array(data.x_test[:200])
    before = net(x).asnumpy()
    experiment.scale_features(net, data.x_test[:200])
    np.testing.assert_allclose(net(x).asnumpy(), before, rtol=1e-4, atol=1e-5)
    assert net.features(x).asnumpy().var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    loss = experiment.CrossEntropy(net)(x, nd.array(data.y_test[:200])).asnumpy()
    expected = np.log(np.exp(before).sum(axis=1)) - before[np.arange(200), data.y_test[:200]]
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_what_is_written_is_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "WEIGHTS", tmp_path / "weights.npz")
    monkeypatch.setattr(digit_classifier, "WEIGHTS", tmp_path / "weights.npz")
    with np.load(ORIGINAL) as file:
        weights = {name: values for name, values in file.items() if name != "made"}
    experiment.write(weights, {"seed": 3})
    assert made() == {"seed": 3}
    assert json.dumps(made())
    net = digit_classifier._classifier.__wrapped__()
    assert (net.log_odds.bias.data().asnumpy() == weights["log_odds.bias"]).all()
