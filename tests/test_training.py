"""``fit``: it learns, repeats itself, uses every image, and refuses what it cannot use."""

import sys
from functools import partial

import numpy as np
import pytest
from conftest import N_OUTPUT, assert_equal, every_model, labels, make

import gluon_vae
from gluon_vae import fit
from gluon_vae.checkpoint import parameters_of

import mxnet as mx
from mxnet import gluon, nd

KEYS = {"epoch", "learning_rate", "seconds"} | {
    f"{part}_{term}" for part in ("train", "test") for term in ("loss", "nll", "kl")
}
make_new = partial(make, initialize=False)


@pytest.fixture
def x():
    """Two clusters of grey images."""
    rng = np.random.default_rng(0)
    centres = rng.random((2, N_OUTPUT)) > 0.5
    return np.clip(centres[rng.integers(2, size=103)] * 0.9 + 0.1 * rng.random((103, N_OUTPUT)), 0, 1).astype("f4")


def test_training_lowers_the_loss_on_digits(sample):
    net = gluon_vae.VAE(n_hidden=64)
    net.hybridize(static_alloc=True, static_shape=True)
    history = fit(net, sample.x_train, sample.x_test, n_epochs=3, progress=False)
    assert history["test_loss"][0] < 350  # 543 nats is a fair coin for every pixel
    assert history["train_loss"][2] < history["train_loss"][1] < history["train_loss"][0]
    assert history["test_loss"][2] < history["test_loss"][0]


@every_model
def test_fit_lowers_the_loss_and_one_seed_gives_the_same_bits(kind, options, x):
    def train(state):
        net = make_new(kind, "static", **options)
        mx.random.seed(state)  # which is of no consequence
        y = dict(zip(("y_train",), labels(net, 7)))
        history = fit(net, x[:7], n_epochs=15, batch_size=4, learning_rate=0.02, progress=False, **y)
        return history["train_loss"], parameters_of(net)

    (loss, parameters), (again, same) = train(1), train(2)
    assert loss[-1] < loss[0]
    assert loss == again
    assert_equal(parameters, same)


def test_history_has_equal_lists_whose_terms_add_up(x):
    history = fit(make_new(), x, x[:20], n_epochs=4, batch_size=10, progress=False)
    assert set(history) == KEYS
    assert {len(column) for column in history.values()} == {4}
    assert history["epoch"] == [1, 2, 3, 4]
    for part in ("train", "test"):
        terms = np.add(history[f"{part}_nll"], history[f"{part}_kl"])
        np.testing.assert_allclose(history[f"{part}_loss"], terms, rtol=1e-5)


def test_without_test_images_the_history_has_no_test_columns(x):
    assert set(fit(make_new(), x, n_epochs=1, progress=False)) == {key for key in KEYS if "test" not in key}


@pytest.mark.parametrize("mode", ["imperative", "static"])
def test_same_seed_same_bits(x, mode):
    def run(seed):
        net = make_new("vae", mode)
        history = fit(net, x, x[:20], n_epochs=3, batch_size=10, seed=seed, progress=False)
        history.pop("seconds")
        return history, parameters_of(net)

    np.random.seed(1)
    mx.random.seed(1)
    (first, first_values), (other, _) = run(0), run(1)
    np.random.seed(2)
    mx.random.seed(2)
    again, again_values = run(0)
    assert again == first
    assert other != first
    assert_equal(again_values, first_values)


def test_numpys_global_generator_is_left_alone(x):
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    fit(make_new(), x, n_epochs=1, progress=False)
    assert np.random.random() == expected


class Recorder(gluon.HybridBlock):
    """A block that keeps the contract's minimum and notes every batch it is called on."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.shift = self.params.get("shift", shape=(1,), init="zeros")

    def forward(self, x):
        self.batches.append(x.asnumpy())
        return ((x - self.shift.data()) ** 2).sum(axis=1)


def test_every_image_is_used_once_per_epoch_in_another_order(x):
    net = Recorder()
    history = fit(net, x, n_epochs=2, batch_size=10, progress=False)
    assert [len(b) for b in net.batches] == 2 * ([10] * 10 + [3])
    epochs = np.concatenate(net.batches[:11]), np.concatenate(net.batches[11:])
    for epoch in epochs:
        np.testing.assert_array_equal(epoch[np.lexsort(epoch.T)], x[np.lexsort(x.T)])
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[0] != x).any()
    assert "train_kl" not in history


def test_train_loss_is_the_mean_over_images_not_over_batches(x):
    net = Recorder()
    history = fit(net, x, n_epochs=1, batch_size=100, learning_rate=1e-9, progress=False)
    assert history["train_loss"][0] == pytest.approx((x.astype(float) ** 2).sum(axis=1).mean(), rel=1e-6)


def test_learning_rate_decays_along_a_cosine_or_stays(x):
    cosine = fit(make_new(), x, n_epochs=50, batch_size=103, learning_rate=0.1, progress=False)["learning_rate"]
    exact = 0.1 * (0.02 + 0.98 * (1 + np.cos(np.pi * np.arange(50) / 50)) / 2)
    np.testing.assert_allclose(cosine, exact, rtol=1e-6)
    constant = fit(make_new(), x, n_epochs=3, learning_rate=0.1, schedule="constant", progress=False)
    assert constant["learning_rate"] == [0.1] * 3


def test_gradient_is_the_mean_over_the_batch(x):
    """One step of Adam from a known state moves each weight by the step size, whatever the batch."""
    net = make()
    before = parameters_of(net)
    fit(net, x, n_epochs=1, batch_size=103, learning_rate=1e-3, schedule="constant", progress=False)
    moves = np.concatenate([np.abs(values - before[name]).ravel() for name, values in parameters_of(net).items()])
    assert moves.max() == pytest.approx(1e-3, rel=1e-2)


def test_initialised_models_are_trained_further(x):
    net = make_new()
    fit(net, x, n_epochs=5, batch_size=10, progress=False)
    reached = fit(net, x, n_epochs=1, learning_rate=1e-6, progress=False)["train_loss"][0]
    fresh = fit(make_new(), x, n_epochs=1, learning_rate=1e-6, progress=False)["train_loss"][0]
    assert reached < fresh - 0.5


def test_on_epoch_sees_the_history_grow(x):
    lengths = []
    fit(make_new(), x, n_epochs=3, progress=False, on_epoch=lambda history: lengths.append(len(history["epoch"])))
    assert lengths == [1, 2, 3]


def test_progress_bar_shows_epoch_loss_and_elbo(x, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # in a terminal the finished bar stays
    fit(make_new(), x, x, n_epochs=2)
    shown = capfd.readouterr().err
    assert "2/2" in shown
    assert "loss" in shown
    assert "test ELBO -" in shown


def test_a_loss_that_is_not_finite_stops_training(x):
    net = make()
    bias = net.encoder[-1].bias
    bias.set_data(nd.full(bias.shape, np.nan))
    with pytest.raises(FloatingPointError, match="epoch 1, step 1"):
        fit(net, x, n_epochs=1, progress=False)
    assert net.check_input  # restored whatever happens


def test_the_callers_arrays_stay_writeable_and_unchanged(x):
    before = x.copy()
    fit(make_new(), x, x[:5], n_epochs=1, progress=False)
    assert (x == before).all()
    x[0] = 0
