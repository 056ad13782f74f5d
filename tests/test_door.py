"""Bad input is refused at the door, by an error that names the argument and what is accepted."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import gluon_vae as g
from gluon_vae import checks, plotting

import mxnet as mx
from mxnet import nd

NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(0).random((6, 16), dtype=np.float32)
Z = np.zeros((6, 2), np.float32)
Y = np.arange(6)
SIZES = {"n_hidden": 4, "n_latent": 2, "n_output": 16}


def spoiled(value):
    x = X.copy()
    x[3, 5] = value
    return x


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """Everything that a case may need, made once; no case may change any of it."""
    folder = tmp_path_factory.mktemp("door")
    vae, conditional, plain = g.VAE(**SIZES), g.ConditionalVAE(**SIZES), g.Autoencoder(**SIZES)
    for net in (vae, conditional, plain):
        net.initialize(mx.init.Xavier())
    g.fit(g.VAE(**SIZES), X, n_epochs=1, progress=False, checkpoint=folder / "checkpoint")
    whole = (folder / "checkpoint").read_bytes()
    (folder / "truncated").write_bytes(whole[:-9])
    (folder / "flipped").write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    (folder / "newer").write_bytes(whole.replace(b"checkpoint 1", b"checkpoint 9", 1))
    (folder / "foreign").write_bytes(b"\x89PNG\r\n")
    (folder / "empty").mkdir()
    wider = g.VAE(n_hidden=5, n_latent=2, n_output=16)
    return SimpleNamespace(vae=vae, cvae=conditional, plain=plain, wider=wider, folder=folder)


def fit(**arguments):
    return lambda d: g.fit(g.VAE(**SIZES), **{"x_train": X, "n_epochs": 1, "progress": False} | arguments)


def new(model, **arguments):
    return lambda d: model(**arguments)


def axes():
    return plt.figure().add_subplot()


# What is tried, and words that the error must say: the argument's name, what came or what is accepted.
CASES = {
    # constructors
    "n_latent zero": (new(g.VAE, n_latent=0), "n_latent", "positive integer", "0"),
    "n_latent negative": (new(g.ConvVAE, n_latent=-2), "n_latent", "-2"),
    "n_latent float": (new(g.Autoencoder, n_latent=2.0), "n_latent", "2.0"),
    "n_latent bool": (new(g.ConditionalVAE, n_latent=True), "n_latent", "True"),
    "n_hidden zero": (new(g.VAE, n_hidden=0), "n_hidden"),
    "n_hidden text": (new(g.DenoisingAutoencoder, n_hidden="400"), "n_hidden", "'400'"),
    "n_hidden None": (new(g.SparseAutoencoder, n_hidden=None), "n_hidden", "None"),
    "n_layers zero": (new(g.VAE, n_layers=0), "n_layers"),
    "n_layers negative": (new(g.Autoencoder, n_layers=-1), "n_layers", "-1"),
    "n_output zero": (new(g.VAE, n_output=0), "n_output"),
    "n_output no square": (new(g.ConvVAE, n_output=785), "n_output", "square", "785"),
    "n_output too small": (new(g.ConvVAE, n_output=16), "n_output", "8 pixels", "16"),
    "n_samples zero": (new(g.VAE, n_samples=0), "n_samples"),
    "n_samples float": (new(g.ConvVAE, n_samples=1.5), "n_samples", "1.5"),
    "n_classes zero": (new(g.ConditionalVAE, n_classes=0), "n_classes"),
    "batch_size zero": (new(g.VAE, batch_size=0), "batch_size"),
    "beta zero": (new(g.VAE, beta=0), "beta", "positive"),
    "beta NaN": (new(g.VAE, beta=NAN), "beta", "nan"),
    "beta infinite": (new(g.ConvVAE, beta=INF), "beta", "inf"),
    "beta text": (new(g.ConditionalVAE, beta="1"), "beta", "'1'"),
    "act_type unknown": (new(g.VAE, act_type="gelu"), "act_type", "relu", "'gelu'"),
    "act_type None": (new(g.Autoencoder, act_type=None), "act_type", "None"),
    "likelihood unknown": (new(g.VAE, likelihood="laplace"), "likelihood", "gaussian", "'laplace'"),
    "variance without a Gaussian": (new(g.VAE, variance=0.1), "variance", "bernoulli", "0.1"),
    "variance zero": (new(g.VAE, likelihood="gaussian", variance=0), "variance"),
    "variance unknown": (new(g.VAE, likelihood="gaussian", variance="all"), "variance", "per-pixel", "'all'"),
    "min_std negative": (new(g.VAE, likelihood="gaussian", min_std=-1), "min_std", "-1"),
    "channels empty": (new(g.ConvVAE, channels=()), "channels"),
    "channels a number": (new(g.ConvVAE, channels=16), "channels", "sequence", "16"),
    "channels zero": (new(g.ConvVAE, channels=(16, 0)), "channels", "0"),
    "penalty unknown": (new(g.SparseAutoencoder, penalty="l2"), "penalty", "l1", "'l2'"),
    "weight negative": (new(g.SparseAutoencoder, weight=-1), "weight", "-1"),
    "rate one": (new(g.SparseAutoencoder, rate=1), "rate", "between 0 and 1"),
    "corruption unknown": (new(g.DenoisingAutoencoder, corruption="blur"), "corruption", "masking", "'blur'"),
    "level above one": (new(g.DenoisingAutoencoder, level=1.5), "level", "1.5"),
    "encoder no block": (lambda d: g.ComposedVAE(3, d.vae.decoder, 2), "encoder", "HybridBlock", "int"),
    "encoder made no block": (lambda d: g.ComposedVAE(lambda: 3, d.vae.decoder, 2), "encoder", "HybridBlock", "int"),
    "labels not taken": (lambda d: g.VAE(n_classes=10), "n_classes", "encoder", "ConditionalVAE"),
    "variance of a block": (lambda d: g.VAE(likelihood=d.vae.likelihood, variance=0.1), "variance", "0.1"),
    "min_std of a block": (lambda d: g.VAE(likelihood=d.vae.likelihood, min_std=0.1), "min_std", "0.1"),
    "decoder no block": (lambda d: g.ComposedVAE(d.vae.encoder, None, 2), "decoder", "NoneType"),
    # a call
    "x a list": (lambda d: d.vae([[0.5] * 16]), "x ", "NDArray", "list"),
    "x integer": (lambda d: d.vae(nd.zeros((2, 16), dtype="uint8")), "x ", "floating point", "uint8"),
    "x integer NumPy": (lambda d: d.vae(np.zeros((2, 16), np.uint8)), "x ", "floating point", "uint8"),
    "x flat": (lambda d: d.vae(nd.zeros(16)), "x ", "(n, 16)", "(16,)"),
    "x images": (lambda d: d.vae(nd.zeros((2, 1, 4, 4))), "x ", "(2, 1, 4, 4)"),
    "x empty": (lambda d: d.vae(np.zeros((0, 16), np.float32)), "x ", "non-empty"),
    "x wide": (lambda d: d.vae(nd.zeros((2, 17))), "x ", "(2, 17)"),
    "x NaN": (lambda d: d.vae(nd.array(spoiled(NAN))), "x ", "finite"),
    "x infinite": (lambda d: d.vae(spoiled(INF)), "x ", "finite"),
    "x 0 to 255": (lambda d: d.vae(nd.array(255 * X)), "x ", "[0, 1]"),
    "x negative": (lambda d: d.plain(nd.array(spoiled(-1))), "x ", "[0, 1]"),
    "eps of another shape": (lambda d: d.vae(nd.array(X), nd.zeros((5, 2))), "eps", "(6, 2)", "(5, 2)"),
    "eps and more": (lambda d: d.vae(nd.array(X), nd.zeros((6, 2)), nd.zeros(6)), "net(x, eps)"),
    "y missing": (lambda d: d.cvae(nd.array(X)), "net(x, y)"),
    "y short": (lambda d: d.cvae(nd.array(X), nd.array(Y[:5])), "y ", "6", "(5,)"),
    "y out of range": (lambda d: d.cvae(nd.array(X), Y + 5), "y ", "0 to 9"),
    "y negative": (lambda d: d.cvae(nd.array(X), Y - 1), "y ", "0 to 9"),
    "y fractional": (lambda d: d.cvae(nd.array(X), nd.array(Y + 0.5)), "y ", "integer"),
    # training
    "x_train empty": (fit(x_train=X[:0]), "x_train", "non-empty"),
    "x_train integer": (fit(x_train=(255 * X).astype(np.uint8)), "x_train", "floating point", "uint8"),
    "x_train text": (fit(x_train="mnist"), "x_train"),
    "x_train NaN": (fit(x_train=spoiled(NAN)), "x_train", "finite"),
    "x_train above one": (fit(x_train=2 * X), "x_train", "[0, 1]"),
    "x_train wide": (fit(x_train=np.zeros((3, 15), np.float32)), "x_train", "16", "(3, 15)"),
    "x_test wide": (fit(x_test=np.zeros((3, 15), np.float32)), "x_test", "(3, 15)"),
    "y_train not taken": (fit(y_train=Y), "y_train", "None"),
    "n_epochs zero": (fit(n_epochs=0), "n_epochs"),
    "n_epochs float": (fit(n_epochs=2.5), "n_epochs", "2.5"),
    "fit batch_size negative": (fit(batch_size=-1), "batch_size", "-1"),
    "learning_rate zero": (fit(learning_rate=0), "learning_rate"),
    "learning_rate infinite": (fit(learning_rate=INF), "learning_rate", "inf"),
    "learning_rate text": (fit(learning_rate="fast"), "learning_rate", "'fast'"),
    "schedule unknown": (fit(schedule="step"), "schedule", "cosine", "'step'"),
    "seed negative": (fit(seed=-1), "seed", "-1"),
    "seed float": (fit(seed=0.5), "seed", "0.5"),
    "resume without a checkpoint": (fit(resume=True), "resume", "checkpoint"),
    # evaluation
    "elbo of an autoencoder": (lambda d: g.elbo(d.plain, X), "net", "Autoencoder"),
    "log_likelihood of an autoencoder": (lambda d: g.log_likelihood(d.plain, X), "net", "Autoencoder"),
    "elbo without labels": (lambda d: g.elbo(d.cvae, X), "y ", "0 to 9", "None"),
    "elbo with labels not taken": (lambda d: g.elbo(d.vae, X, Y), "y ", "None"),
    "log_likelihood n_samples zero": (lambda d: g.log_likelihood(d.vae, X, n_samples=0), "n_samples"),
    "encode wide": (lambda d: g.encode(d.vae, np.zeros((2, 9), np.float32)), "x ", "16", "(2, 9)"),
    "reconstruct 0 to 255": (lambda d: g.reconstruct(d.plain, 255 * X), "x ", "[0, 1]"),
    "KL of an autoencoder": (lambda d: g.kl_per_dimension(d.plain, X), "net", "Autoencoder"),
    "variance of codes that are NaN": (lambda d: g.pixel_variance(d.vae, np.full((2, 2), NAN)), "z ", "finite"),
    "threshold zero": (lambda d: g.active_units(d.vae, X, threshold=0), "threshold"),
    "generate wide": (lambda d: g.generate(d.vae, np.zeros((2, 3), np.float32)), "z ", "2", "(2, 3)"),
    "generate NaN": (lambda d: g.generate(d.vae, np.full((2, 2), NAN)), "z ", "finite"),
    "generate integers": (lambda d: g.generate(d.vae, np.zeros((2, 2), int)), "z ", "floating point"),
    "generate pixels unknown": (lambda d: g.generate(d.vae, Z, pixels="mode"), "pixels", "sample", "'mode'"),
    "generate digit 10": (lambda d: g.generate(d.cvae, Z, 10), "y ", "0 to 9"),
    "prior_draws zero": (lambda d: g.prior_draws(0, 2), "n "),
    "latent_grid n_sigma": (lambda d: g.latent_grid(3, n_sigma=0), "n_sigma"),
    # pictures
    "scatter of 3-D codes": (lambda d: plotting.plot_latent(np.zeros((6, 3)), Y, axes()), "mu", "2-D", "(6, 3)"),
    "scatter with few labels": (lambda d: plotting.plot_latent(np.zeros((6, 2)), Y[:2], axes()), "labels", "6"),
    "grid of other codes": (lambda d: plotting.plot_latent_grid(X, np.arange(3), axes()), "images", "9", "6"),
    "sheet of no square": (lambda d: plotting.image_grid(np.zeros((2, 15))), "images", "(2, 15)"),
    "curve unknown": (lambda d: plotting.plot_history({"train_loss": [1.0]}, axes(), term="mse"), "term", "'mse'"),
    # files and data
    "checkpoint truncated": (lambda d: g.load(d.folder / "truncated"), "truncated", "damaged"),
    "checkpoint flipped": (lambda d: g.load(d.folder / "flipped"), "flipped", "damaged"),
    "checkpoint newer": (lambda d: g.load(d.folder / "newer"), "version 9", "version 1"),
    "checkpoint foreign": (lambda d: g.load(d.folder / "foreign"), "foreign", "not a gluon-vae checkpoint"),
    "checkpoint of another": (lambda d: g.load(d.folder / "checkpoint", d.wider), "another architecture"),
    "source unknown": (lambda d: g.load_mnist("fashion"), "source", "sample", "'fashion'"),
    "binarize above one": (lambda d: g.binarize(2 * X), "x ", "[0, 1]"),
    # divergences
    "cov not symmetric": (lambda d: g.kl_gaussian([0, 0], [[1, 1], [0, 1]], [0, 0], np.eye(2)), "cov_q", "symmetric"),
    "var negative": (lambda d: g.kl_diagonal_gaussian(0, -1, 0, 1), "var_q", "-1"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named_and_nothing_changes(case, door):
    attempt, *words = CASES[case]
    nets = (door.vae, door.cvae, door.plain)
    before = [g.checkpoint.parameters_of(net) for net in nets]
    files = {path: path.stat().st_mtime_ns for path in door.folder.rglob("*")}
    with pytest.raises((ValueError, TypeError)) as refused:
        attempt(door)
    plt.close("all")
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    for net, parameters in zip(nets, before):
        for name, values in g.checkpoint.parameters_of(net).items():
            np.testing.assert_array_equal(values, parameters[name])
    assert files == {path: path.stat().st_mtime_ns for path in door.folder.rglob("*")}


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8", np.longdouble])
@pytest.mark.parametrize("step", [1, 2])
def test_images_are_those_with_every_pixel_from_zero_to_one(dtype, step):
    above, below = (np.nextafter(*np.array(pair, dtype)) for pair in ((1, 2), (0, -1)))
    for value in (0, -0.0, 0.5, 1, -below, above, below, -1, 2, 300, NAN, -NAN, INF, -INF):
        x = np.zeros((3, 8), dtype)
        x[1, 4] = value
        x = x[:, ::step]
        if 0 <= value <= 1:
            assert checks.images("x", x) is x
        else:
            with pytest.raises(ValueError, match="x must"):
                checks.images("x", x)


def test_what_has_one_sensible_meaning_is_converted(door):
    eps = nd.zeros((6, 2))
    expected = door.vae(nd.array(X), eps).asnumpy()
    np.testing.assert_array_equal(door.vae(X, eps).asnumpy(), expected)
    np.testing.assert_array_equal(door.vae(X.astype(np.float64), eps).asnumpy(), expected)
    labelled = door.cvae(nd.array(X), nd.array(Y), eps).asnumpy()
    for y in (Y, Y.tolist(), nd.array(Y, dtype="int64"), Y.astype(np.uint8)):
        np.testing.assert_array_equal(door.cvae(X, y, eps).asnumpy(), labelled)


def test_per_step_checks_can_be_turned_off_and_fit_checks_once():
    net = g.VAE(**SIZES, check_input=False)
    net.initialize()
    assert np.isfinite(net(nd.array(2 * X)).asnumpy()).all()  # at one's own risk
    with pytest.raises(ValueError, match="x_train"):
        g.fit(net, 2 * X, progress=False)
    watched = g.VAE(**SIZES)
    seen = []
    watched.register_forward_pre_hook(lambda block, inputs: seen.append(block.check_input))
    g.fit(watched, X, n_epochs=1, progress=False)
    assert seen == [False]
    assert watched.check_input


def test_every_public_name_is_tried():
    source = Path(__file__).read_text()
    for name in set(g.__all__) - {"default_device"}:  # which takes no argument
        assert f"g.{name}" in source, name
