"""The contract that every model keeps, in every execution mode."""

import numpy as np
import pytest

import gluon_vae
from gluon_vae import checkpoint
from gluon_vae.layers import Conditioned, mlp

import mxnet as mx
from mxnet import autograd, gluon, nd

N_OUTPUT, N_LATENT, N = 64, 3, 7
MODES = ("imperative", "hybrid", "static")
ATTRIBUTES = ("mu", "log_var", "output", "nll", "kl", "penalty")
GAUSSIAN = {"likelihood": "gaussian"}


def composed(**options):
    encoder, decoder = mlp(N_OUTPUT, 8, 1, 2 * N_LATENT, "tanh"), mlp(N_LATENT, 5, 2, N_OUTPUT, "softrelu")
    return gluon_vae.ComposedVAE(encoder, decoder, N_LATENT, N_OUTPUT, **options)


def composed_conditional(**options):
    encoder = Conditioned(mlp(N_OUTPUT + 10, 8, 1, 2 * N_LATENT, "tanh"), 10)
    decoder = Conditioned(mlp(N_LATENT + 10, 5, 1, N_OUTPUT, "softrelu"), 10)
    return gluon_vae.ComposedVAE(encoder, decoder, N_LATENT, N_OUTPUT, n_classes=10, **options)


def sized(kind):
    return lambda **options: kind(n_hidden=8, n_latent=N_LATENT, n_output=N_OUTPUT, **options)


MAKERS = {
    "vae": sized(gluon_vae.VAE),
    "conditional": sized(gluon_vae.ConditionalVAE),
    "conv": lambda **options: gluon_vae.ConvVAE((4, 6, 3), N_LATENT, N_OUTPUT, **options),
    "composed": composed,
    "composed conditional": composed_conditional,
    "autoencoder": sized(gluon_vae.Autoencoder),
    "sparse l1": sized(gluon_vae.SparseAutoencoder),
    "sparse kl": lambda **options: sized(gluon_vae.SparseAutoencoder)(penalty="kl", **options),
    "denoising masking": sized(gluon_vae.DenoisingAutoencoder),
    "denoising gaussian": lambda **options: sized(gluon_vae.DenoisingAutoencoder)(corruption="gaussian", **options),
}
OPTIONS = {
    "": {},
    "3 draws": {"n_samples": 3, "beta": 0.5},
    "fixed": GAUSSIAN | {"variance": 0.1},
    "learned": GAUSSIAN,
    "per-pixel": GAUSSIAN | {"variance": "per-pixel"},
}
CASES = [
    (kind, option)
    for kind in MAKERS
    for option in OPTIONS
    if not (option == "3 draws" and ("sparse" in kind or "denois" in kind or "auto" in kind))
    and not (option == "per-pixel" and "composed" in kind)  # those decoders give one map
]
every_model = pytest.mark.parametrize(("kind", "option"), CASES)


def make(kind, option="", mode="imperative", **more):
    mx.random.seed(1)
    net = MAKERS[kind](**OPTIONS[option], **more)
    net.initialize(mx.init.Xavier(magnitude=6))
    if mode != "imperative":
        net.hybridize(**({"static_alloc": True, "static_shape": True} if mode == "static" else {}))
    return net


@pytest.fixture
def x():
    x = np.random.default_rng(0).random((N, N_OUTPUT), dtype=np.float32)
    x[0, :3], x[1, :3] = 0, 1
    return x


Y = np.array([3, 1, 4, 1, 5, 9, 2])


def labels(net, n=N):
    return () if getattr(net, "n_classes", None) is None else (Y[:n],)


def noise(net, dtype="float32", n=N):
    if net.log_var is None and not isinstance(net, gluon_vae.ComposedVAE):
        return ()
    draws = net.n_samples * n
    return (nd.array(np.random.default_rng(2).standard_normal((draws, N_LATENT)), dtype=dtype),)


def attributes(net):
    values = {name: getattr(net, name, None) for name in ATTRIBUTES}
    return {name: value for name, value in values.items() if value is not None}


@every_model
@pytest.mark.parametrize("mode", MODES)
def test_a_call_returns_the_loss_and_leaves_arrays_of_every_batch_size(kind, option, mode):
    net = make(kind, option, mode)
    assert not attributes(net)
    for n in (N, 1, 3):
        loss = net(nd.random.uniform(shape=(n, N_OUTPUT)), *labels(net, n))
        kept = attributes(net)
        assert all(isinstance(value, nd.NDArray) for value in kept.values())
        assert loss.shape == net.nll.shape == (n,)
        assert net.mu.shape == (n, N_LATENT)
        assert net.output.shape == (n, N_OUTPUT)
        assert 0 <= net.output.min().asscalar() <= net.output.max().asscalar() <= 1
        weight = getattr(net, "beta", getattr(net, "weight", 0))
        other = kept.get("kl", kept.get("penalty", nd.zeros(n)))
        np.testing.assert_allclose(loss.asnumpy(), (net.nll + weight * other).asnumpy(), rtol=1e-5, atol=1e-4)


@every_model
def test_modes_agree_with_the_same_noise(kind, option, x):
    results = []
    for mode in MODES:
        net = make(kind, option, mode)
        loss = net(nd.array(x), *labels(net), *noise(net))
        results.append({"loss": loss} | attributes(net))
    for result in results[1:]:
        assert result.keys() == results[0].keys()
        for name, value in result.items():
            np.testing.assert_allclose(value.asnumpy(), results[0][name].asnumpy(), rtol=2e-5, atol=1e-5)


@every_model
@pytest.mark.parametrize("mode", ["imperative", "static"])
def test_gradient_matches_finite_differences(kind, option, mode, x):
    net = make(kind, option, mode, **({} if "composed" in kind else {"act_type": "tanh"}))
    net.cast("float64")
    x, eps = nd.array(x, dtype="float64"), noise(net, "float64")
    if "denoising" in kind:
        eps = (net.corrupt(x),)  # the corruption is drawn anew at every call otherwise
    with autograd.record():
        loss = net(x, *labels(net), *eps).sum()
    loss.backward()
    step, rng = 1e-5, np.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        values, gradient = parameter.data().asnumpy(), parameter.grad().asnumpy()
        index = tuple(rng.integers(values.shape))
        sides = []
        for sign in (1, -1):
            shifted = values.copy()
            shifted[index] += sign * step
            parameter.set_data(nd.array(shifted, dtype="float64"))
            sides.append(net(x, *labels(net), *eps).sum().asscalar())
        parameter.set_data(nd.array(values, dtype="float64"))
        slope = (sides[0] - sides[1]) / (2 * step)
        assert gradient[index] == pytest.approx(slope, rel=2e-4, abs=1e-5), name


@every_model
def test_fit_lowers_the_loss_and_one_seed_gives_the_same_bits(kind, option, x):
    def train():
        net = MAKERS[kind](**OPTIONS[option])
        net.hybridize(static_alloc=True, static_shape=True)
        y = dict(zip(("y_train",), labels(net)))
        history = gluon_vae.fit(net, x, n_epochs=15, batch_size=4, learning_rate=0.02, progress=False, **y)
        return net, history["train_loss"]

    (first, loss), (second, again) = train(), train()
    assert loss[-1] < loss[0]
    assert loss == again
    for name, values in checkpoint.parameters_of(first).items():
        np.testing.assert_array_equal(values, checkpoint.parameters_of(second)[name])


@every_model
def test_a_checkpoint_rebuilds_the_model(kind, option, x, tmp_path):
    net, path = MAKERS[kind](**OPTIONS[option]), tmp_path / "checkpoint"
    y = dict(zip(("y_train",), labels(net)))
    gluon_vae.fit(net, x, n_epochs=1, checkpoint=path, progress=False, **y)
    if "composed" in kind:
        with pytest.raises(ValueError, match="build it"):
            gluon_vae.load(path)
    again = gluon_vae.load(path, MAKERS[kind](**OPTIONS[option])) if "composed" in kind else gluon_vae.load(path)
    eps = noise(net)
    np.testing.assert_array_equal(
        again(nd.array(x), *labels(net), *eps).asnumpy(), net(nd.array(x), *labels(net), *eps).asnumpy()
    )
    assert again.config == net.config


@every_model
def test_evaluation_takes_every_model(kind, option, x):
    net = make(kind, option, "static")
    mu = gluon_vae.encode(net, x, *labels(net))
    output = gluon_vae.reconstruct(net, x, *labels(net))
    net(nd.array(x), *labels(net))
    np.testing.assert_allclose(mu, net.mu.asnumpy(), rtol=1e-5, atol=1e-6)
    if net.log_var is None:
        np.testing.assert_allclose(output, net.output.asnumpy(), rtol=1e-5)
        for function in (gluon_vae.elbo, gluon_vae.log_likelihood, gluon_vae.kl_per_dimension):
            with pytest.raises(ValueError, match="net must be a VAE"):
                function(net, x)
    else:
        bound = gluon_vae.elbo(net, x, *labels(net), n_samples=100)
        likelihood = gluon_vae.log_likelihood(net, x, *labels(net), n_samples=2000, progress=False)
        assert bound.mean < likelihood.mean
        np.testing.assert_allclose(
            gluon_vae.kl_per_dimension(net, x, *labels(net)).sum(), net.kl.mean().asscalar(), rtol=1e-4
        )
    mean = gluon_vae.generate(net, mu, *labels(net))
    np.testing.assert_array_equal(mean, output)
    variance = gluon_vae.pixel_variance(net, mu, *labels(net))
    often = [np.concatenate([inputs] * 400) for inputs in (mu, *labels(net))]
    drawn = gluon_vae.generate(net, *often, pixels="sample").reshape(400, N, N_OUTPUT)
    error = (drawn.mean(axis=0) - mean) / np.sqrt(variance / len(drawn))
    assert np.abs(error).max() < 5
    assert np.square(error).mean() == pytest.approx(1, abs=0.2)


@every_model
def test_a_model_that_another_block_holds_can_be_traced(kind, option, x):
    class Twice(gluon.HybridBlock):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def hybrid_forward(self, F, x, *more):
            return 2 * self.inner(x, *more)

    net = make(kind, option)
    inputs = (nd.array(x), *(nd.array(y) for y in labels(net)), *noise(net))
    expected = 2 * net(*inputs).asnumpy()
    outer = Twice(net)
    outer.hybridize()
    np.testing.assert_allclose(outer(*inputs).asnumpy(), expected, rtol=1e-5)


@every_model
def test_parameters_are_saved_loaded_and_moved_to_another_context(kind, option, x, tmp_path):
    net, file = make(kind, option), str(tmp_path / "parameters")
    eps = noise(net)
    expected = net(nd.array(x), *labels(net), *eps).asnumpy()
    net.save_parameters(file)
    again = MAKERS[kind](**OPTIONS[option])
    again.load_parameters(file, ctx=mx.cpu(1))
    eps = [e.as_in_context(mx.cpu(1)) for e in eps]
    loss = again(nd.array(x, ctx=mx.cpu(1)), *labels(net), *eps)
    assert loss.context == again.mu.context == mx.cpu(1)
    np.testing.assert_array_equal(loss.asnumpy(), expected)


@every_model
def test_encoder_and_decoder_are_exported_and_imported(kind, option, x, tmp_path):
    net = make(kind, option, "static")
    y = [nd.array(labels(net)[0])] if labels(net) else []
    for part, value in (("encoder", nd.array(x)), ("decoder", nd.array(np.ones((N, N_LATENT))))):
        block = getattr(net, part)
        expected = block(value, *y).asnumpy()
        block.export(str(tmp_path / part))
        names = ["data0", "data1"] if y else ["data"]
        imported = gluon.SymbolBlock.imports(
            str(tmp_path / f"{part}-symbol.json"), names, str(tmp_path / f"{part}-0000.params")
        )
        np.testing.assert_allclose(imported(value, *y).asnumpy(), expected, rtol=1e-6)


def test_numpy_batches_are_taken(x):
    net = make("conditional")
    eps = noise(net)
    np.testing.assert_array_equal(net(x, Y, *eps).asnumpy(), net(nd.array(x), nd.array(Y), *eps).asnumpy())


def test_the_mlp_constructor_is_a_special_case_of_composition(x):
    net = make("vae")
    again = gluon_vae.ComposedVAE(net.encoder, net.decoder.logits, N_LATENT, N_OUTPUT)
    eps = noise(net)
    np.testing.assert_array_equal(again(nd.array(x), *eps).asnumpy(), net(nd.array(x), *eps).asnumpy())


def test_the_published_convolutional_configuration():
    net = gluon_vae.ConvVAE()
    net.initialize()
    with autograd.record():
        loss = net(nd.random.uniform(shape=(2, 784)))
    loss.backward()  # a transposed convolution to one channel would fail here
    weights = [
        w.shape for name, w in checkpoint.parameters_of(net).items() if name.endswith("weight") and w.ndim == 4
    ]
    assert weights == [(16, 1, 4, 4), (32, 16, 4, 4), (64, 32, 4, 4), (64, 32, 4, 4), (32, 16, 4, 4), (16, 2, 4, 4)]
    assert net.mu.shape == (2, 100)


@pytest.mark.parametrize(("side", "halved"), [(8, [4, 2, 1]), (9, [5, 3, 2]), (11, [6, 3, 2]), (28, [14, 7, 4])])
def test_convolutions_halve_every_side_rounding_up_and_find_back(side, halved):
    net = gluon_vae.ConvVAE((2, 3, 4), N_LATENT, side**2)
    net.initialize()
    h, sides = nd.random.uniform(shape=(1, side**2)), []
    for layer in net.encoder:
        h = layer(h)
        if isinstance(layer, gluon.nn.Conv2D):
            sides.append(h.shape[2])
    assert sides == halved
    assert net.decoder(nd.zeros((1, N_LATENT))).shape == (1, side**2)


def test_a_leaky_layer_never_stops_learning():
    """Where every unit of an ordinary one is off, no gradient comes back."""
    slopes = {}
    for act_type in ("relu", "leaky"):
        net = gluon_vae.VAE(4, N_LATENT, 1, N_OUTPUT, act_type=act_type)
        net.initialize()
        net.encoder[0].bias.set_data(nd.full(4, -100))
        with autograd.record():
            loss = net(nd.random.uniform(shape=(2, N_OUTPUT)))
        loss.backward()
        slopes[act_type] = net.encoder[0].weight.grad().abs().max().asscalar()
    assert slopes["relu"] == 0 < slopes["leaky"]


@pytest.mark.parametrize("corruption", ["masking", "gaussian"])
def test_images_are_corrupted_in_training_mode_only_and_measured_against_clean_ones(corruption, x):
    net = make(f"denoising {corruption}", level=0.3)
    x = nd.array(x)
    np.testing.assert_array_equal(net(x).asnumpy(), net(x, x).asnumpy())
    mx.random.seed(5)
    corrupted = net.corrupt(x)
    mx.random.seed(5)
    with autograd.record():
        noisy = net(x)
    assert (noisy != net(x)).asnumpy().any()
    clean_target = net(x, corrupted)
    np.testing.assert_array_equal(noisy.asnumpy(), clean_target.asnumpy())
    logits = net.decoder.logits(net.encoder(corrupted))
    np.testing.assert_allclose(net.likelihood(logits, x).asnumpy(), clean_target.asnumpy(), rtol=1e-6)


def test_corruptions_are_what_they_say():
    x = nd.full((100, N_OUTPUT), 0.5)
    masked = make("denoising masking", level=0.3).corrupt(x).asnumpy()
    assert set(np.unique(masked)) == {0, 0.5}
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.02)
    noisy = make("denoising gaussian", level=0.1).corrupt(x).asnumpy()
    assert noisy.std() == pytest.approx(0.1, rel=0.05)
    assert make("denoising gaussian", level=0.9).corrupt(x).asnumpy().min() == 0


def test_sparsity_penalties_against_numpy(x):
    net = make("sparse l1", weight=2.0)
    loss = net(nd.array(x))
    code = net.encoder(nd.array(x)).asnumpy()
    assert (code == 0).any()
    np.testing.assert_allclose(net.penalty.asnumpy(), code.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(loss.asnumpy(), net.nll.asnumpy() + 2 * code.sum(axis=1), rtol=1e-6)
    net = make("sparse kl", rate=0.2)
    net(nd.array(x))
    m = net.encoder(nd.array(x)).asnumpy().mean(axis=0)
    divergence = (0.2 * np.log(0.2 / m) + 0.8 * np.log(0.8 / (1 - m))).sum()
    np.testing.assert_allclose(net.penalty.asnumpy(), np.full(N, divergence), rtol=1e-5)


def test_binarized_training_sees_fresh_binary_images_with_the_grey_means(x):
    seen = []

    class Watched(gluon_vae.VAE):
        def forward(self, x, *args):
            if autograd.is_recording():
                seen.append(x.asnumpy())
            return super().forward(x, *args)

    net = Watched(n_hidden=4, n_latent=N_LATENT, n_output=N_OUTPUT)
    gluon_vae.fit(net, x[:1], n_epochs=400, binarize=True, progress=False)
    seen = np.concatenate(seen)
    assert set(np.unique(seen)) == {0, 1}
    error = (seen.mean(axis=0) - x[0]) / np.sqrt(np.maximum(x[0] * (1 - x[0]), 1e-6) / len(seen))
    assert np.abs(error).max() < 5
    assert (seen[0] != seen[1]).any()
