"""Small models and data that most tests share."""

import signal

import hypothesis
import matplotlib as mpl
import numpy as np
import pytest

import gluon_vae

import mxnet as mx

mpl.use("Agg")
# Under nohup and in the background of a script SIGINT is ignored, and would be by the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A loaded machine is slow, and a test that fails must fail again.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")

N_OUTPUT, N_LATENT = 12, 3


@pytest.fixture(autouse=True)
def _seeded():
    mx.random.seed(0)


@pytest.fixture(scope="session")
def sample():
    return gluon_vae.load_mnist()


@pytest.fixture
def pixels():
    """Grey pixels, saturated ones included."""
    x = np.random.default_rng(0).random((7, N_OUTPUT), dtype=np.float32)
    x[0, :3], x[1, :3] = 0, 1
    return x


@pytest.fixture
def make_vae():
    """Return a function that makes a small initialised VAE, the same one for the same arguments."""

    def make(mode="imperative", **kwargs):
        mx.random.seed(1)
        net = gluon_vae.VAE(**{"n_hidden": 8, "n_latent": N_LATENT, "n_layers": 2, "n_output": N_OUTPUT} | kwargs)
        net.initialize(mx.init.Xavier(magnitude=6))
        if mode != "imperative":
            net.hybridize(**({"static_alloc": True, "static_shape": True} if mode == "static" else {}))
        return net

    return make
