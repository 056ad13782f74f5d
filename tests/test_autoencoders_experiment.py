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


def test_maps_know_kinds_that_lie_apart_and_not_labels_at_random():
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 4
    codes = 0.1 * rng.standard_normal((100, 8)) + 5 * rng.standard_normal((4, 8))[labels]
    assert set(autoencoders.maps(codes, labels)["neighbours"].values()) == {1.0}
    assert max(autoencoders.maps(codes, rng.permutation(labels))["neighbours"].values()) < 0.5


def test_numbers_are_rounded_wherever_they_are():
    assert autoencoders.rounded({"a": {"b": 1.23456}, "c": 2}) == {"a": {"b": 1.2346}, "c": 2}
