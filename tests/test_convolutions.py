"""experiments/convolutions.py: what is done to images, and what its measures are where the answers are known."""

import convolutions
import numpy as np
import pytest

import gluon_vae

from mxnet import nd
from mxnet.gluon import Block, nn


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_permuted_images_keep_their_pixels_in_one_other_order(rng):
    x = rng.random((5, 784)).astype(np.float32)
    y = convolutions.permuted(x)
    order = [int(np.flatnonzero(x[0] == value)[0]) for value in y[0]]
    assert sorted(order) == list(range(784))
    assert sum(i == j for i, j in enumerate(order)) < 10
    np.testing.assert_array_equal(y, x[:, order])
    np.testing.assert_array_equal(y, convolutions.permuted(x))


def test_moved_images_go_down_and_to_the_right():
    x = np.arange(9.0)[None]
    np.testing.assert_array_equal(convolutions.moved(x, 1, 1), [[6, 7, 8, 0, 1, 2, 3, 4, 5]])
    np.testing.assert_array_equal(convolutions.moved(x, 1, 2), [[2, 0, 1, 5, 3, 4, 8, 6, 7]])
    np.testing.assert_array_equal(convolutions.moved(convolutions.moved(x, 2, 1), -2, 1), x)


def test_settings_with_fewer_images_have_as_many_steps():
    for name, setting in convolutions.SETTINGS.items():
        assert setting.n_epochs * setting.n_images == setting.n_steps * convolutions.BATCH_SIZE, name
        assert setting.n_images <= convolutions.N_TRAIN


def test_a_plane_explains_all_of_a_ramp_and_two_fifteenths_of_noise(rng):
    down, across = np.mgrid[:4, :4].astype(float)
    ramps = np.stack([down, 3 - across, 2 * down - across + 7])
    np.testing.assert_allclose(convolutions.plane_share(ramps), 1)
    ridge = np.abs(down - 1.5)[None]
    np.testing.assert_allclose(convolutions.plane_share(ridge), 0, atol=1e-12)
    shares = convolutions.plane_share(rng.normal(size=(4000, 4, 4)))
    assert abs(shares.mean() - 2 / 15) < 5 * shares.std() / np.sqrt(4000)


def test_likeness_is_one_for_a_multiple_and_zero_for_what_is_orthogonal():
    a = np.zeros((2, 4, 4))
    a[:, 0, 0], b = 2, np.zeros((2, 4, 4))
    b[0, 0, 0], b[1, 1, 1] = 5, 1
    np.testing.assert_allclose(convolutions.likeness(a, b), [1, 0])


class Columns(Block):
    """A model whose codes are the column and the row of an image's only pixel of ink, with a deviation of 0.5."""

    n_latent, n_output = 2, 784

    def __init__(self):
        super().__init__()
        self.encoder = nn.Dense(4, in_units=784)
        self.encoder.initialize()
        down, across = np.mgrid[:28, :28].reshape(2, -1)
        self.encoder.weight.set_data(nd.array(np.stack([across, down, 0 * down, 0 * down])))
        self.encoder.bias.set_data(nd.array([0, 0, *[2 * np.log(0.5)] * 2]))


def test_codes_that_follow_the_image_move_by_its_pixels(rng):
    x = np.zeros((3, 28, 28), np.float32)
    x[:, 10, 12] = 1
    # One of two codes moves, by 2 pixels of 0.5 standard deviations: the root of the mean of 4 squared and 0.
    np.testing.assert_allclose(convolutions.code_shift(Columns(), x.reshape(3, -1), 2), 4 / np.sqrt(2), rtol=1e-5)


def test_a_shift_costs_nothing_for_a_model_that_prints_even_grey():
    net = gluon_vae.VAE(n_hidden=4, n_latent=2)
    net.initialize()
    net.decoder.logits[-1].weight.set_data(nd.zeros_like(net.decoder.logits[-1].weight.data()))
    net.encoder[-1].weight.set_data(nd.zeros_like(net.encoder[-1].weight.data()))
    x = gluon_vae.load_mnist().x_test[:8]
    assert abs(convolutions.shift_cost(net, x, 2)) < 1e-3
    cost = convolutions.shift_cost_of_the_best(net, x, 2)
    assert abs(cost["encoder"]) < 1e-3
    assert abs(cost["best"]) < 1e-2


def test_silent_channels_are_found_at_every_level(rng):
    net = gluon_vae.ConvVAE((4, 6, 3), n_latent=2, act_type="relu")
    net.initialize()
    off, layers = ({2}, {0, 5}, set()), [layer for layer in net.encoder if isinstance(layer, nn.Conv2D)]
    for layer, channels, size in zip(layers, off, (1e3, 1e6, 1e9)):  # each beyond what the others can do
        n = layer.bias.shape[0]
        layer.bias.set_data(nd.array([-size if channel in channels else size for channel in range(n)]))
    x = rng.random((5, 784)).astype(np.float32)
    assert convolutions.silent_channels(net, x) == [1, 2, 0]


def test_a_run_is_measured_and_repeats_itself(monkeypatch):
    setting = convolutions.Setting(convolutions.dense, "permuted", n_images=100, n_steps=4, curve=True)
    monkeypatch.setitem(convolutions.SETTINGS, "brief", setting)
    data = gluon_vae.load_mnist()
    result, again = (convolutions.run("brief", 1, data) for _ in range(2))
    assert len(result["by_epoch"]) == 2
    assert abs(result["by_epoch"][-1] - result["test"]) < 2
    assert result | {"seconds": 0} == again | {"seconds": 0}
