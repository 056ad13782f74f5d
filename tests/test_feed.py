"""Data that no array holds: batches from an iterable, and memory maps that stay on their disk."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import LABELS, N_OUTPUT, assert_equal, grey_images, make, refused

from gluon_vae import fit
from gluon_vae.checkpoint import parameters_of
from gluon_vae.feed import Feed
from gluon_vae.run import Run

from mxnet import nd
from mxnet.gluon.data import ArrayDataset, DataLoader

X = grey_images()
SETTINGS = {"n_epochs": 4, "seed": 3, "progress": False}


class Shuffled:
    """Batches in the order in which ``fit`` shuffles an array."""

    def __init__(self, *arrays, convert=np.asarray, batch_size=3):
        self.arrays, self.convert, self.batch_size, self.epoch = arrays, convert, batch_size, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return -(-len(self.arrays[0]) // self.batch_size)

    def __iter__(self):
        order = np.random.default_rng([3, self.epoch]).permutation(len(self.arrays[0]))
        for i in range(0, len(order), self.batch_size):
            batch = [self.convert(array[order[i : i + self.batch_size]]) for array in self.arrays]
            yield batch[0] if len(batch) == 1 else tuple(batch)


class Listed:
    """The same batches in every epoch, without a length."""

    def __init__(self, *batches):
        self.batches, self.n_epochs = batches, 0

    def __iter__(self):
        self.n_epochs += 1
        return iter(self.batches)


def stop_after(n_epochs):
    def stop(history):
        if len(history["epoch"]) == n_epochs:
            raise KeyboardInterrupt

    return stop


def result(net, history):
    return {name: column for name, column in history.items() if name != "seconds"}, parameters_of(net)


@pytest.mark.parametrize("convert", [np.asarray, nd.array, lambda array: array.astype("f8")])
def test_the_batches_of_an_array_give_the_result_of_the_array(convert):
    x, one, other = X.astype("f4"), make(), make()
    settings = SETTINGS | {"schedule": "constant", "binarize": True}
    expected, parameters = result(one, fit(one, x, x, batch_size=3, **settings))
    history, same = result(other, fit(other, Shuffled(x, convert=convert), x, **settings))
    assert_equal(same, parameters)
    assert history == expected


def test_rates_and_weights_follow_the_share_of_batches():
    run, feed = Run(n_epochs=2, kl_warmup=2), Feed(make(), Shuffled(X), 0)
    steps = [step for epoch in (1, 2) for step in run.batches(feed, epoch)]
    assert [len(step.batch[0]) for step in steps] == 2 * [3, 3, 1]
    np.testing.assert_allclose([step.rate for step in steps], [run.rate(i / 6) for i in range(6)])
    np.testing.assert_allclose([step.kl_weight for step in steps], np.arange(6) / 6)


def test_an_array_that_is_filled_anew_may_be_the_batch_every_time():
    class Reused(Shuffled):
        def __iter__(self):
            buffer = np.empty((3, N_OUTPUT), "f4")
            for batch in super().__iter__():
                buffer[: len(batch)] = batch
                yield buffer[: len(batch)]
                buffer[:] = 0.5

    one, other = make("vae", "static"), make("vae", "static")
    for net, source in ((one, Shuffled), (other, Reused)):
        fit(net, source(np.resize(X, (60, N_OUTPUT)).astype("f4")), **SETTINGS)
    assert_equal(parameters_of(other), parameters_of(one))


def test_labels_come_in_pairs_and_go_to_the_models_that_take_them():
    one, other = make("conditional"), make("conditional")
    settings = SETTINGS | {"schedule": "constant"}
    expected = fit(one, X, y_train=LABELS, batch_size=3, **settings)
    history = fit(other, Shuffled(X, LABELS), **settings)
    assert result(other, history)[0] == result(one, expected)[0]
    assert_equal(parameters_of(other), parameters_of(one))
    left_out = fit(make(), Shuffled(X, LABELS), **settings)
    assert left_out["train_loss"] == fit(make(), Shuffled(X), **settings)["train_loss"]


def test_a_data_loader_that_shuffles_is_repeated_and_resumed_to_the_bit(tmp_path):
    def loader():
        return DataLoader(ArrayDataset(nd.array(X)), batch_size=3, shuffle=True)

    np.random.seed(1)
    whole, again = make(), make()
    expected = result(whole, fit(whole, loader(), X, **SETTINGS))
    drawn = np.random.random()
    np.random.seed(1)
    assert drawn == np.random.random()  # as if nobody else had drawn
    settings = SETTINGS | {"checkpoint": tmp_path / "c"}
    with pytest.raises(KeyboardInterrupt):
        fit(make(), loader(), X, on_epoch=stop_after(2), **settings)
    np.random.seed(2)
    resumed = result(again, fit(again, loader(), X, resume=True, **settings))
    assert resumed[0] == expected[0]
    assert_equal(resumed[1], expected[1])
    assert len(set(expected[0]["train_loss"])) == 4
    with refused("c cannot be resumed", "first batch images"):
        fit(make(), DataLoader(ArrayDataset(nd.array(X)), batch_size=3), X, resume=True, **settings)


def test_what_the_batches_draw_differs_between_epochs_and_is_nobody_elses():
    class Random(Listed):
        def __iter__(self):
            for _ in range(2):
                drawn.append(np.random.random())
                yield X

    drawn, others = [], []
    np.random.seed(5)
    expected = [np.random.random() for _ in range(2)]
    np.random.seed(5)
    fit(make(), Random(), on_epoch=lambda history: others.append(np.random.random()), **SETTINGS | {"n_epochs": 2})
    assert others == expected
    assert drawn[0] == drawn[1]  # looked at, then trained on
    assert len(set(drawn)) == 4


def test_an_epoch_without_a_length_has_one_rate():
    history = fit(make(), Listed(X[:3], X[3:]), **SETTINGS)
    exact = 0.003 * (0.02 + 0.98 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2)
    np.testing.assert_allclose(history["learning_rate"], exact)
    assert "batch_size" not in history


def once():
    yield X


class Ends(Listed):
    """Gives less from the second epoch on, or from the third time on that it is asked."""

    def __iter__(self):
        self.n_epochs += 1
        return iter(self.batches if self.n_epochs < 3 else self.batches[:1])


class Long(Listed):
    def __len__(self):
        return 3


class Short(Listed):
    def __len__(self):
        return 1


NOT_BATCHES = {
    "an iterator": (once, ("x_train", "anew in every epoch", "generator")),
    "nothing": (Listed, ("x_train must give batches, got none",)),
    "an end": (lambda: Ends(X, X), ("must give 2 batches in every epoch, as before, got 1 in epoch 2",)),
    "fewer than its length": (
        lambda: Long(X, X),
        ("must give 3 batches in every epoch, its len(), got 2 in epoch 1",),
    ),
    "more than its length": (
        lambda: Short(X, X),
        ("must give 1 batches in every epoch, its len(), got more in epoch 1",),
    ),
    "another width": (lambda: Listed(X, X[:, :9]), ("x_train, batch 2 of epoch 1,", "64", "(7, 9)")),
    "bytes": (lambda: Listed(np.zeros((3, 64), "u1")), ("x_train, batch 1 of epoch 1,", "uint8", "by 255")),
    "grey beyond 1": (lambda: Listed(X, 255 * X), ("x_train, batch 2 of epoch 1,", "[0, 1]")),
    "not a number": (lambda: Listed(X, X * np.nan), ("x_train, batch 2 of epoch 1,", "NaN")),
    "pictures": (lambda: Listed(X.reshape(7, 8, 8)), ("x_train, batch 1 of epoch 1,", "(n, 64)", "(7, 8, 8)")),
    "three things": (lambda: Listed((X, X, X)), ("x_train, batch 1 of epoch 1,", "(x, y)")),
    "text": (lambda: Listed("abc"), ("x_train, batch 1 of epoch 1,", "'abc'")),
    "no images": (lambda: Listed(X[:0]), ("x_train, batch 1 of epoch 1,", "non-empty")),
}


@pytest.mark.parametrize("case", NOT_BATCHES)
def test_what_gives_no_batches_is_named(case):
    source, words = NOT_BATCHES[case]
    with refused(*words):
        fit(make(), source(), **SETTINGS)


def test_labels_of_batches_are_checked():
    for batch in ((X, LABELS + 9), X):
        with refused("y_train, batch 1 of epoch 1, must be 7 integer labels from 0 to 9"):
            fit(make("conditional"), Listed(batch), **SETTINGS)


def test_the_width_is_that_of_the_first_batch_where_the_model_has_none():
    from test_training import Recorder

    with refused("x_train, batch 2 of epoch 1, must have 64 columns like the first, got 9"):
        fit(Recorder(), Listed(X, X[:, :9]), **SETTINGS)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 3), ("y_train", LABELS)])
def test_what_the_batches_decide_is_not_given_twice(name, value):
    with refused(name, "iterable"):
        fit(make("conditional"), Shuffled(X, LABELS), **SETTINGS | {name: value})


def test_bytes_are_refused_with_what_to_do():
    with refused("x_train must be floating point, got dtype uint8; divide pixels from 0 to 255 by 255"):
        fit(make(), np.zeros((3, N_OUTPUT), np.uint8), **SETTINGS)


@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_memory_map_gives_the_result_of_its_array(mode, tmp_path):
    np.save(tmp_path / "x.npy", X.astype("f4"))
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    nets = make(), make()
    histories = [fit(net, x, x, batch_size=3, **SETTINGS) for net, x in zip(nets, (mapped, X.astype("f4")))]
    assert result(nets[0], histories[0])[0] == result(nets[1], histories[1])[0]
    assert_equal(parameters_of(nets[0]), parameters_of(nets[1]))


ON_DISK = """
import sys, threading, time
import numpy as np
import gluon_vae
from gluon_vae import arrays

arrays.BUDGET = 8 << 20  # of a call on images that are not trained on; it is half a gigabyte otherwise

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10

most = 0

def watch():
    global most
    while True:
        most = max(most, anonymous())
        time.sleep(0.005)

def use(x):
    net = gluon_vae.VAE(n_hidden=2, n_output=x.shape[1])
    gluon_vae.fit(net, x, x[:50], n_epochs=2, batch_size=10, checkpoint=sys.argv[1] + "/c", progress=False)
    gluon_vae.elbo(net, x)
    gluon_vae.encode(net, x)

N_OUTPUT = 50_000
use(np.random.default_rng(0).random((60, N_OUTPUT), dtype=np.float32))  # code, and memory that is used again
x = np.memmap(sys.argv[1] + "/x", np.float32, "w+", shape=(600, N_OUTPUT))
for i in range(0, len(x), 10):
    x[i : i + 10] = np.random.default_rng(i).random((10, N_OUTPUT), dtype=np.float32)
x.flush()
before = most = anonymous()
threading.Thread(target=watch, daemon=True).start()
use(np.memmap(sys.argv[1] + "/x", np.float32, "r", shape=x.shape))
print(x.nbytes, most - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells how much is used")
def test_a_memory_map_stays_on_its_disk(tmp_path):
    command = [sys.executable, "-c", ON_DISK, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    size, grown = map(int, output.split())
    assert size == 120_000_000
    assert grown < size // 4, f"{grown >> 20} MB more"
