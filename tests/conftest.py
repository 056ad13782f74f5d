"""The models, the images and the helpers that most tests share."""

import signal
from contextlib import contextmanager
from functools import partial

import hypothesis
import matplotlib as mpl
import numpy as np
import pytest

import gluon_vae
from gluon_vae.checkpoint import parameters_of
from gluon_vae.layers import Conditioned, mlp
from gluon_vae.run import Run

import mxnet as mx
from mxnet import nd

mpl.use("Agg")
# Under nohup and in the background of a script SIGINT is ignored, and would be by the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A loaded machine is slow, and a test that fails must fail again.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")

MODES = ("imperative", "hybrid", "static")
N, N_LATENT, N_OUTPUT = 7, 3, 64  # images of 8 x 8 pixels
LABELS = np.array([3, 1, 4, 1, 5, 9, 2])


def _composed(n_latent, n_output, **options):
    networks = mlp(n_output, 8, 1, 2 * n_latent, "tanh"), mlp(n_latent, 5, 2, n_output, "softrelu")
    return gluon_vae.ComposedVAE(*networks, n_latent, n_output, **options)


def _composed_of_functions(n_latent, n_output, **options):
    return gluon_vae.ComposedVAE(
        lambda: mlp(n_output, 8, 1, 2 * n_latent, "tanh"),
        lambda n_columns: mlp(n_latent, 5, 1, n_columns, "softrelu"),
        n_latent,
        n_output,
        **options,
    )


def _composed_conditional(n_latent, n_output, **options):
    encoder = Conditioned(mlp(n_output + 10, 8, 1, 2 * n_latent, "tanh"), 10)
    decoder = Conditioned(mlp(n_latent + 10, 5, 1, n_output, "softrelu"), 10)
    return gluon_vae.ComposedVAE(encoder, decoder, n_latent, n_output, n_classes=10, **options)


MLP = {"n_hidden": 8, "n_layers": 2}
VAES = {
    "vae": partial(gluon_vae.VAE, **MLP),
    "conditional": partial(gluon_vae.ConditionalVAE, **MLP),
    "conv": partial(gluon_vae.ConvVAE, (4, 6, 3)),
    "semi-supervised": partial(gluon_vae.SemiSupervisedVAE, **MLP),
    "composed": _composed,
    "composed of functions": _composed_of_functions,
    "composed conditional": _composed_conditional,
}
AUTOENCODERS = {
    "autoencoder": partial(gluon_vae.Autoencoder, **MLP),
    "sparse l1": partial(gluon_vae.SparseAutoencoder, **MLP),
    "sparse kl": partial(gluon_vae.SparseAutoencoder, penalty="kl", **MLP),
    "denoising masking": partial(gluon_vae.DenoisingAutoencoder, **MLP),
    "denoising gaussian": partial(gluon_vae.DenoisingAutoencoder, corruption="gaussian", **MLP),
}
FAMILY = VAES | AUTOENCODERS
GAUSSIAN = {"likelihood": "gaussian"}
OPTIONS = {
    "": {},
    "3 draws": {"n_samples": 3, "beta": 0.5},
    "fixed": GAUSSIAN | {"variance": 0.1},
    "learned": GAUSSIAN,
    "per-pixel": GAUSSIAN | {"variance": "per-pixel"},
}
every_model = pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param(kind, options, id=f"{kind}-{name}")
        for kind in FAMILY
        for name, options in OPTIONS.items()
        if (name != "3 draws" or kind in VAES)
        and (name != "per-pixel" or kind not in ("composed", "composed conditional"))  # their decoders give one map
    ],
)


def make(kind="vae", mode="imperative", *, initialize=True, **options):
    """Return a small model of the family, the same one for the same arguments."""
    mx.random.seed(1)
    net = FAMILY[kind](**{"n_latent": N_LATENT, "n_output": N_OUTPUT} | options)
    if initialize:
        net.initialize(mx.init.Xavier(magnitude=6))
    if mode != "imperative":
        net.hybridize(**({"static_alloc": True, "static_shape": True} if mode == "static" else {}))
    return net


def labels(net, n=N):
    """Return (labels,) if a model takes any."""
    return () if net.n_classes is None else (np.resize(LABELS, n),)


def noise(net, x):
    """Return (noise,) if a model's call takes any: eps, or the corrupted images."""
    rng = np.random.default_rng(2)
    if isinstance(net, gluon_vae.ComposedVAE):
        return (rng.standard_normal(net.noise_shape(x)),)
    return (x * (rng.random(x.shape) > 0.3),) if isinstance(net, gluon_vae.DenoisingAutoencoder) else ()


def inputs(net, x, ctx=None, dtype="float32"):
    """Return all that a model can be called on, as NDArrays."""
    return [nd.array(array, ctx=ctx, dtype=dtype) for array in (x, *labels(net, len(x)), *noise(net, x))]


def bent(flow, seed=0):
    """Give the last layers of a flow weights other than 0."""
    rng = np.random.default_rng(seed)
    flow.begin(Run())
    for layer in flow.layers:
        last = layer.network[-1]
        last.weight.set_data(nd.array(0.3 * rng.standard_normal(last.weight.shape)))
        last.bias.set_data(nd.array(0.3 * rng.standard_normal(last.bias.shape)))
    return flow


def grey_images(n_output=N_OUTPUT):
    """Return images (7, n_output), saturated pixels included."""
    x = np.random.default_rng(0).random((N, n_output), dtype=np.float32)
    x[0, :3], x[1, :3] = 0, 1
    return x


def assert_equal(arrays, expected):
    """Assert that there are the same arrays by the same names, bit for bit."""
    assert arrays.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(arrays[name], values, name)


@contextmanager
def unchanged(*nets):
    """Expect the parameters of models to be afterwards what they were before."""
    before = [parameters_of(net) for net in nets]
    yield
    for net, parameters in zip(nets, before):
        assert_equal(parameters_of(net), parameters)


@contextmanager
def refused(*words, error=ValueError):
    """Expect an error that says all these words, in one line."""
    with pytest.raises(error) as refusal:
        yield refusal
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value), str(refusal.value)


@pytest.fixture(autouse=True)
def _seeded():
    mx.random.seed(0)


@pytest.fixture(scope="session")
def sample():
    return gluon_vae.load_mnist()


@pytest.fixture
def x():
    return grey_images()
