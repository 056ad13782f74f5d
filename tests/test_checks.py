"""Bad input is refused at the door, by an error that names the argument and what is accepted."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import MODES, N_OUTPUT, N, make, refused, unchanged

import gluon_vae as g
from gluon_vae import checks
from gluon_vae.contract import is_initialized

from mxnet import nd
from mxnet.gluon import nn

NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(0).random((N, N_OUTPUT), dtype=np.float32)
Z = np.zeros((N, 3), np.float32)
Y = np.arange(N)
WIDE = np.zeros((2, N_OUTPUT + 1), np.float32)


def spoiled(value):
    x = X.copy()
    x[3, 5] = value
    return x


def full(value):
    return nd.full((2, N_OUTPUT), value)


@pytest.fixture(scope="module")
def models():
    """Return the models that a case may need, in every mode; no case may change any of them."""
    return {
        mode: SimpleNamespace(
            vae=make("vae", mode),
            cvae=make("conditional", mode),
            plain=make("autoencoder", mode),
            draws=make("vae", mode, n_samples=2),
            new=make("vae", mode, initialize=False),
        )
        for mode in MODES
    }


def new(model, **arguments):
    return lambda m: model(**arguments)


def composed(**arguments):
    return lambda m: g.ComposedVAE(nn.Dense(6), nn.Dense(N_OUTPUT), 3, N_OUTPUT, **arguments)


def fit(**arguments):
    return lambda m: g.fit(m.new, **{"x_train": X, "n_epochs": 1, "progress": False} | arguments)


# What is tried, and words that the error must say: the argument's name, what came or what is accepted.
CONSTRUCTORS = {
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
    "channels empty": (new(g.ConvVAE, channels=()), "channels"),
    "channels a number": (new(g.ConvVAE, channels=16), "channels", "sequence", "16"),
    "channels zero": (new(g.ConvVAE, channels=(16, 0)), "channels", "0"),
    "label_weight zero": (new(g.SemiSupervisedVAE, label_weight=0), "label_weight", "positive", "0"),
    "penalty unknown": (new(g.SparseAutoencoder, penalty="l2"), "penalty", "l1", "'l2'"),
    "weight negative": (new(g.SparseAutoencoder, weight=-1), "weight", "-1"),
    "rate one": (new(g.SparseAutoencoder, rate=1), "rate", "between 0 and 1"),
    "corruption unknown": (new(g.DenoisingAutoencoder, corruption="blur"), "corruption", "masking", "'blur'"),
    "level above one": (new(g.DenoisingAutoencoder, level=1.5), "level", "1.5"),
    "encoder no block": (lambda m: g.ComposedVAE(3, m.vae.decoder, 2), "encoder", "HybridBlock", "int"),
    "encoder made no block": (lambda m: g.ComposedVAE(lambda: 3, m.vae.decoder, 2), "encoder", "HybridBlock", "int"),
    "decoder no block": (lambda m: g.ComposedVAE(m.vae.encoder, None, 2), "decoder", "NoneType"),
    "labels not taken": (lambda m: g.VAE(n_classes=10), "n_classes", "encoder", "ConditionalVAE"),
    "variance of a block": (lambda m: g.VAE(likelihood=m.vae.likelihood, variance=0.1), "variance", "0.1"),
    "min_std of a block": (lambda m: g.VAE(likelihood=m.vae.likelihood, min_std=0.1), "min_std", "0.1"),
}
LIKELIHOODS = {
    "likelihood unknown": ({"likelihood": "laplace"}, "likelihood", "gaussian", "'laplace'"),
    "likelihood None": ({"likelihood": None}, "likelihood", "NoneType"),
    "likelihood a number": ({"likelihood": 3}, "likelihood", "int"),
    "variance without a Gaussian": ({"variance": 0.1}, "variance", "bernoulli", "0.1"),
    "variance unknown": ({"likelihood": "gaussian", "variance": "all"}, "variance", "per-pixel", "'all'"),
    "min_std text": ({"likelihood": "gaussian", "min_std": "small"}, "min_std", "'small'"),
} | {
    f"{name} {value}": ({"likelihood": "gaussian", name: value}, name, "positive", repr(value))
    for name in ("variance", "min_std")
    for value in (0, -1.0, NAN, INF, True)
}
for case, (arguments, *words) in LIKELIHOODS.items():
    CONSTRUCTORS |= {case: (new(g.VAE, **arguments), *words), f"{case}, composed": (composed(**arguments), *words)}

CALLS = {
    "x a list": (lambda m: m.vae([[0.5] * N_OUTPUT]), "x ", "NDArray", "NumPy", "list"),
    "x integer": (lambda m: m.vae(nd.zeros((2, N_OUTPUT), dtype="uint8")), "x ", "floating point", "uint8"),
    "x integer NumPy": (lambda m: m.vae(np.zeros((2, N_OUTPUT), np.uint8)), "x ", "floating point", "uint8"),
    "x flat": (lambda m: m.vae(nd.zeros(N_OUTPUT)), "x ", "non-empty", "shape (n, 64)", "(64,)"),
    "x images": (lambda m: m.vae(nd.zeros((2, 1, 8, 8))), "x ", "shape", "(2, 1, 8, 8)"),
    "x empty": (lambda m: m.vae(np.zeros((0, N_OUTPUT), np.float32)), "x ", "non-empty"),
    "x wide": (lambda m: m.vae(nd.array(WIDE)), "x ", "shape", "(2, 65)"),
    "x wide NumPy": (lambda m: m.vae(WIDE), "x ", "shape", "(2, 65)"),
    "x NaN": (lambda m: m.vae(nd.array(spoiled(NAN))), "x ", "finite", "[0, 1]"),
    "x all NaN": (lambda m: m.vae(full(NAN)), "x ", "[0, 1]"),
    "x infinite": (lambda m: m.vae(full(INF)), "x ", "[0, 1]"),
    "x infinite NumPy": (lambda m: m.vae(spoiled(INF)), "x ", "finite"),
    "x 0 to 255": (lambda m: m.vae(nd.array(255 * X)), "x ", "[0, 1]"),
    "x all 255": (lambda m: m.vae(full(255)), "x ", "[0, 1]"),
    "x negative": (lambda m: m.vae(full(-0.1)), "x ", "[0, 1]"),
    "x negative, no VAE": (lambda m: m.plain(nd.array(spoiled(-1))), "x ", "[0, 1]"),
    "eps of another shape": (lambda m: m.vae(nd.array(X), nd.zeros((5, 3))), "eps", "(7, 3)", "(5, 3)"),
    "eps of one draw": (lambda m: m.draws(nd.array(X), nd.zeros((7, 3))), "eps", "(14, 3)", "(7, 3)"),
    "eps and more": (lambda m: m.vae(nd.array(X), nd.zeros((7, 3)), nd.zeros(7)), "net(x, eps)"),
}
FUNCTIONS = {
    "x_train empty": (fit(x_train=X[:0]), "x_train", "non-empty"),
    "x_train integer": (fit(x_train=(255 * X).astype(np.uint8)), "x_train", "floating point", "uint8"),
    "x_train text": (fit(x_train="mnist"), "x_train"),
    "x_train images": (fit(x_train=X.reshape(-1, 1, 8, 8)), "x_train", "(7, 1, 8, 8)"),
    "x_train NaN": (fit(x_train=spoiled(NAN)), "x_train", "finite"),
    "x_train above one": (fit(x_train=2 * X), "x_train", "[0, 1]"),
    "x_train 0 to 255": (fit(x_train=np.full((5, N_OUTPUT), 255.0)), "x_train", "[0, 1]", "255"),
    "x_train negative": (fit(x_train=spoiled(-1)), "x_train", "[0, 1]", "-1"),
    "x_train wide": (fit(x_train=WIDE), "x_train", "64", "(2, 65)"),
    "x_test wide": (fit(x_test=WIDE), "x_test", "(2, 65)"),
    "x_test infinite": (fit(x_test=spoiled(INF)), "x_test", "finite"),
    "elbo of an autoencoder": (lambda m: g.elbo(m.plain, X), "net", "Autoencoder"),
    "elbo wide": (lambda m: g.elbo(m.vae, WIDE), "x ", "(2, 65)"),
    "elbo above one": (lambda m: g.elbo(m.vae, 2 * X), "x ", "[0, 1]"),
    "elbo n_samples zero": (lambda m: g.elbo(m.vae, X, n_samples=0), "n_samples"),
    "elbo seed negative": (lambda m: g.elbo(m.vae, X, seed=-1), "seed", "-1"),
    "log_likelihood of an autoencoder": (lambda m: g.log_likelihood(m.plain, X), "net", "Autoencoder"),
    "log_likelihood narrow": (lambda m: g.log_likelihood(m.vae, X[:, 1:]), "x must", "(7, 63)"),
    "log_likelihood n_samples zero": (lambda m: g.log_likelihood(m.vae, X, n_samples=0), "n_samples"),
    "log_likelihood seed negative": (lambda m: g.log_likelihood(m.vae, X, seed=-1), "seed", "-1"),
    "KL of an autoencoder": (lambda m: g.kl_per_dimension(m.plain, X), "net", "Autoencoder"),
    "KL above one": (lambda m: g.kl_per_dimension(m.vae, X + 1), "x must", "[0, 1]"),
    "threshold zero": (lambda m: g.active_units(m.vae, X, threshold=0), "threshold"),
    "encode wide": (lambda m: g.encode(m.vae, WIDE), "x ", "64", "(2, 65)"),
    "encode integers": (lambda m: g.encode(m.vae, np.zeros((2, N_OUTPUT), int)), "x ", "floating point"),
    "reconstruct nothing": (lambda m: g.reconstruct(m.vae, X[:0]), "x ", "non-empty"),
    "reconstruct 0 to 255": (lambda m: g.reconstruct(m.plain, 255 * X), "x ", "[0, 1]"),
    "generate wide": (lambda m: g.generate(m.vae, np.zeros((2, 4), np.float32)), "z ", "3", "(2, 4)"),
    "generate NaN": (lambda m: g.generate(m.vae, np.full((2, 3), NAN)), "z ", "finite"),
    "generate integers": (lambda m: g.generate(m.vae, np.zeros((2, 3), int)), "z ", "floating point"),
    "generate pixels unknown": (lambda m: g.generate(m.vae, Z, pixels="mode"), "pixels", "sample", "'mode'"),
    "variance of codes that are NaN": (lambda m: g.pixel_variance(m.vae, np.full((2, 3), NAN)), "z ", "finite"),
    "label_probabilities of a VAE": (lambda m: g.label_probabilities(m.vae, X), "net", "SemiSupervisedVAE", "VAE"),
    "export of metadata that is no text": (
        lambda m: g.export_onnx(m.vae, "nowhere", metadata={"ELBO": -157}),
        "metadata",
        "str",
        "-157",
    ),
    "export to a number": (lambda m: g.export_onnx(m.vae, 1), "folder", "str"),
    "export of no values": (lambda m: g.export_onnx(m.new, "nowhere"), "net must have parameters"),
    "elbo under no prior": (lambda m: g.elbo(m.vae, X, prior="vamp"), "prior", "log_pdf", "'vamp'"),
    "posterior_draws of an autoencoder": (lambda m: g.posterior_draws(m.plain, X), "net", "Autoencoder"),
    "posterior_draws zero": (lambda m: g.posterior_draws(m.vae, X, n_samples=0), "n_samples"),
    "prior_draws zero": (lambda m: g.prior_draws(0, 2), "n must"),
    "prior_draws of no dimension": (lambda m: g.prior_draws(2, 0), "n_latent"),
    "latent_grid zero": (lambda m: g.latent_grid(0), "n must"),
    "latent_grid n_sigma zero": (lambda m: g.latent_grid(3, n_sigma=0), "n_sigma"),
    "latent_grid n_sigma negative": (lambda m: g.latent_grid(5, n_sigma=-1), "n_sigma", "-1"),
    "checkpoint foreign": (lambda m: g.load(__file__), "test_checks.py", "not a gluon-vae checkpoint"),
    "images unknown": (lambda m: g.load_images("fashion"), "source", "sample", "'fashion'"),
    "source unknown": (lambda m: g.load_mnist("fashion"), "source", "sample", "'fashion'"),
    "source another word": (lambda m: g.load_mnist("full"), "source", "'full'"),
    "source no folder": (lambda m: g.load_mnist("/no/such/folder"), "source", "'/no/such/folder'"),
    "source empty": (lambda m: g.load_mnist(""), "source", "''"),
    "binarize above one": (lambda m: g.binarize(2 * X), "x ", "[0, 1]"),
    "cov not symmetric": (lambda m: g.kl_gaussian([0, 0], [[1, 1], [0, 1]], [0, 0], np.eye(2)), "cov_q", "symmetric"),
    "var negative": (lambda m: g.kl_diagonal_gaussian(0, -1, 0, 1), "var_q", "-1"),
}
CASES = CONSTRUCTORS | CALLS | FUNCTIONS


@pytest.mark.parametrize(
    ("case", "mode"), [(case, mode) for case in CASES for mode in (MODES if case in CALLS else MODES[:1])]
)
def test_bad_input_is_named_and_nothing_changes(case, mode, models):
    attempt, *words = CASES[case]
    m = models[mode]
    with unchanged(m.vae, m.cvae, m.plain, m.draws), refused(*words):
        attempt(m)
    assert not is_initialized(m.new)


def test_every_public_name_refuses_something(models):
    """Some case ends in an error that passed through it."""
    passed = set()
    for attempt, *_ in CASES.values():
        with refused() as refusal:
            attempt(models["imperative"])
        passed |= {entry.frame.code.raw for entry in refusal.traceback}
    # The first takes no argument, the second holds what it is given.
    for name in set(g.__all__) - {"default_device", "Images"}:
        public = getattr(g, name)
        assert getattr(public.__init__ if isinstance(public, type) else public, "__code__", None) in passed, name


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


def test_per_step_checks_can_be_turned_off_and_fit_checks_once():
    net = make(check_input=False)
    assert np.isfinite(net(nd.array(2 * X)).asnumpy()).all()  # at one's own risk
    with pytest.raises(ValueError, match="x_train"):
        g.fit(net, 2 * X, progress=False)
    watched = make()
    seen = []
    watched.register_forward_pre_hook(lambda block, inputs: seen.append(block.check_input))
    g.fit(watched, X, n_epochs=1, progress=False)
    assert seen == [False]
    assert watched.check_input
