"""experiments/autoencoders.py: what it counts and what it restores."""

import autoencoders
import numpy as np
import pytest

import gluon_vae

from mxnet import nd


def test_activity_counts_units_beside_the_largest_of_all():
    code = np.array([[10.0, 0.5, -2.0, 0.0], [0.0, 0.9, 1.5, 0.0]])
    assert autoencoders.activity(code) == {"on": 1.5, "idle": 2}


@pytest.mark.parametrize("kind", autoencoders.CORRUPTIONS)
def test_restored_images_are_those_of_the_network_that_is_named(kind, monkeypatch):
    monkeypatch.setattr(autoencoders, "read_correctly", lambda images, labels: float(images.mean()))
    data = gluon_vae.load_mnist()
    data = data._replace(x_test=data.x_test[:20], y_test=data.y_test[:20])
    plain = gluon_vae.Autoencoder(20, 5)
    net = gluon_vae.DenoisingAutoencoder(20, 5, corruption=kind, level=0.5)
    for block in (plain, net):
        block.initialize()
    result = autoencoders.restore(plain, net, data)
    # Untrained networks answer nearly the same to all images, so that their clean errors tell them apart.
    for name, block in (("plain", plain), ("denoising", net)):
        output = block.decoder(block.encoder(nd.array(data.x_test))).asnumpy()
        expected = ((data.x_test - output) ** 2).sum(axis=1).mean()
        assert np.isclose(result["error"][f"clean, {name}"], expected, rtol=1e-5)
    assert result["error"]["corrupted"] > 10
    assert result["read"]["corrupted"] != result["read"]["plain"] != result["read"]["denoising"]


def test_strangers_are_images_and_those_made_of_digits_go_back_to_them():
    digits = gluon_vae.load_mnist().x_test
    images = autoencoders.strangers(digits)
    assert all(
        x.dtype == np.float32 and x.shape[1:] == (784,) and 0 <= x.min() < x.max() <= 1 for x in images.values()
    )
    pushed, square = (x.reshape(-1, 28, 28) for x in (images["pushed digits"], digits[:100]))
    np.testing.assert_array_equal(pushed[:, 4:, 4:], square[:, :-4, :-4])
    np.testing.assert_array_equal(images["inverted digits"], 1 - digits[:100])
    again = autoencoders.strangers(digits)
    assert all((again[name] == x).all() for name, x in images.items())


def test_letters_stand_upright_in_the_middle():
    ink = autoencoders.letter("L")
    assert ink[20:].sum() > 1.5 * ink[:8].sum()  # the foot of an L is below
    assert ink[:, :14].sum() > ink[:, 14:].sum()
    rows, columns = np.nonzero(ink > 0.5)
    assert abs(rows.min() + rows.max() - 27) <= 2
    assert abs(columns.min() + columns.max() - 27) <= 2


def test_lowest_frequencies_are_a_projection_that_keeps_what_is_smooth():
    rng = np.random.default_rng(0)
    x = rng.random((3, 784))
    once = autoencoders.lowest_frequencies(x)
    np.testing.assert_allclose(autoencoders.lowest_frequencies(once), once, atol=1e-12)
    np.testing.assert_allclose(once.mean(axis=1), x.mean(axis=1))
    assert np.linalg.matrix_rank(autoencoders.lowest_frequencies(np.eye(784), 10)) == 10
    wave = np.cos(np.pi * (np.arange(28) + 0.5) / 28)[None].repeat(28, axis=0).reshape(1, 784)
    np.testing.assert_allclose(autoencoders.lowest_frequencies(wave), wave, atol=1e-12)
    assert np.isclose(autoencoders.relative_error(x, np.tile(x.mean(axis=1, keepdims=True), 784)), 1)


def test_maps_know_kinds_that_lie_apart_and_not_labels_at_random():
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 4
    codes = 0.1 * rng.standard_normal((100, 8)) + 5 * rng.standard_normal((4, 8))[labels]
    flat = autoencoders.maps(codes)
    assert set(autoencoders.judge_maps(codes, flat, labels)["neighbours"].values()) == {1.0}
    assert max(autoencoders.judge_maps(codes, flat, rng.permutation(labels))["neighbours"].values()) < 0.5


def test_numbers_are_rounded_wherever_they_are():
    assert autoencoders.rounded({"a": {"b": 1.23456}, "c": 2}) == {"a": {"b": 1.2346}, "c": 2}
