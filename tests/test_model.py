"""What every model of the family keeps, in every execution mode: calls, gradients, settings, names, files."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import FAMILY, MODES, N_LATENT, N_OUTPUT, VAES, N, every_model, inputs, labels, make, refused
from scipy.special import expit

from gluon_vae.model import Setting

import mxnet as mx
from mxnet import autograd, gluon, nd

ATTRIBUTES = ("mu", "log_var", "output", "nll", "kl", "penalty")
CPUS = [mx.cpu(0), mx.cpu(1)]
every_mode = pytest.mark.parametrize("mode", MODES)
every_kind = pytest.mark.parametrize("kind", FAMILY)


def attributes(net):
    values = {name: getattr(net, name, None) for name in ATTRIBUTES}
    return {name: value for name, value in values.items() if value is not None}


def shapes(kind, n):
    """Return the shapes of what a call on ``n`` images is to leave."""
    kept = {"mu": (n, N_LATENT), "output": (n, N_OUTPUT), "nll": (n,)}
    if kind in VAES:
        kept |= {"log_var": (n, N_LATENT), "kl": (n,)}
    return kept | ({"penalty": (n,)} if "sparse" in kind or kind == "semi-supervised" else {})


@every_model
@every_mode
@pytest.mark.parametrize("first", [1, 7, 100])
def test_a_call_returns_the_loss_and_leaves_arrays_of_every_batch_size(kind, options, mode, first):
    net = make(kind, mode, **options)
    assert not attributes(net)
    for n in (first, 3, 1):  # smaller ones are last batches
        loss = net(nd.random.uniform(shape=(n, N_OUTPUT)), *labels(net, n))
        kept = attributes(net)
        assert all(isinstance(value, nd.NDArray) for value in kept.values())
        assert {name: value.shape for name, value in kept.items()} == shapes(kind, n)
        assert loss.shape == (n,)
        assert 0 <= net.output.min().asscalar() <= net.output.max().asscalar() <= 1
        weights = {"kl": getattr(net, "beta", 0), "penalty": getattr(net, "weight", getattr(net, "label_weight", 0))}
        others = sum(weights[name] * kept[name] for name in weights if name in kept)
        np.testing.assert_allclose(loss.asnumpy(), (net.nll + others).asnumpy(), rtol=1e-6)


@every_model
def test_modes_agree_to_the_last_bit_with_the_same_noise(kind, options, x):
    results = []
    for mode in MODES:
        net = make(kind, mode, **options)
        loss = net(*inputs(net, x))
        results.append({"loss": loss} | attributes(net))
    for result in results[1:]:
        assert result.keys() == results[0].keys()
        for name, value in result.items():
            np.testing.assert_array_equal(value.asnumpy(), results[0][name].asnumpy(), name)


@every_model
@every_mode
def test_attributes_agree_with_the_parts(kind, options, mode, x):
    net = make(kind, mode, **options)
    x, *more = inputs(net, x)
    net(x, *more)
    y, noise = more[: len(labels(net))], more[len(labels(net)) :]
    draws = getattr(net, "n_samples", 1)

    def tile(array):
        return nd.tile(array, (draws, 1)[: array.ndim])

    def averaged(array):
        return np.asarray(array).reshape(draws, N, -1).mean(axis=0)

    if kind == "semi-supervised":  # every label has noise of its own
        every = noise[0].asnumpy().reshape(draws, net.n_classes, N, -1)
        noise = [nd.array(every[:, labels(net)[0], range(N)].reshape(draws * N, -1))]
    if kind in VAES:
        encoded, z = net.encoder(x, *y), tile(net.mu) + (0.5 * tile(net.log_var)).exp() * noise[0]
        np.testing.assert_allclose(encoded.asnumpy(), np.hstack([net.mu.asnumpy(), net.log_var.asnumpy()]), rtol=1e-5)
        nll = net.nll_given(tile(x), z, *map(tile, y)).asnumpy()
        np.testing.assert_allclose(averaged(nll)[:, 0], net.nll.asnumpy(), rtol=1e-6)
    else:
        z = net.encoder(noise[0] if noise else x)
        np.testing.assert_allclose(z.asnumpy(), net.mu.asnumpy(), rtol=1e-5)
    output, logits = net.decoder(z, *map(tile, y)), net.decoder.logits(z, *map(tile, y))
    np.testing.assert_allclose(averaged(output.asnumpy()), net.output.asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(averaged(expit(logits.asnumpy()[:, :N_OUTPUT])), net.output.asnumpy(), rtol=1e-5)
    nll = net.likelihood(logits, tile(x)).asnumpy()
    np.testing.assert_allclose(averaged(nll)[:, 0], net.nll.asnumpy(), rtol=1e-6)


@every_model
@every_mode
def test_gradient_matches_finite_differences(kind, options, mode, x):
    net = make(kind, mode, **options, **({} if "composed" in kind else {"act_type": "tanh"}))
    net.cast("float64")
    given = inputs(net, x, dtype="float64")
    with autograd.record():
        loss = net(*given).sum()
    loss.backward()
    step, rng = 1e-5, np.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        values, gradient = parameter.data().asnumpy(), parameter.grad().asnumpy()
        for index in map(tuple, rng.integers(values.shape, size=(3, values.ndim))):
            sides = []
            for sign in (1, -1):
                shifted = values.copy()
                shifted[index] += sign * step
                parameter.set_data(nd.array(shifted, dtype="float64"))
                sides.append(net(*given).sum().asscalar())
            parameter.set_data(nd.array(values, dtype="float64"))
            slope = (sides[0] - sides[1]) / (2 * step)
            assert gradient[index] == pytest.approx(slope, rel=1e-4, abs=1e-7), name


@every_kind
@every_mode
def test_numpy_batches_are_taken(kind, mode, x):
    net = make(kind, mode)
    given, *more = inputs(net, x)
    expected = net(given, *more).asnumpy()
    for images in (x, x.astype(np.float64)):
        np.testing.assert_array_equal(net(images, *more).asnumpy(), expected)


class Twice(gluon.HybridBlock):
    """A block that holds a model."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def hybrid_forward(self, F, x, *more):
        return 2 * self.inner(x, *more)


@every_model
def test_a_model_that_another_block_holds_can_be_traced(kind, options, x):
    net = make(kind, **options)
    with_noise = inputs(net, x)
    for given in (with_noise, with_noise[: 1 + len(labels(net))]) if kind not in VAES else (with_noise,):
        outer = Twice(make(kind, **options))
        outer.hybridize()
        np.testing.assert_allclose(outer(*given).asnumpy(), 2 * net(*given).asnumpy(), rtol=1e-5)
        assert not attributes(outer.inner)  # it saw no arrays


def test_a_traced_model_draws_its_noise_in_the_graph(x):
    inner = make(n_samples=2)
    outer = Twice(inner)
    outer.hybridize()
    with_noise = np.mean([outer(nd.array(x)).asnumpy() for _ in range(300)], axis=0)
    assert (outer(nd.array(x)) != outer(nd.array(x))).asnumpy().any()
    assert inner.mu is None
    inner.hybridize(False)
    directly = np.mean([2 * inner(nd.array(x)).asnumpy() for _ in range(300)], axis=0)
    np.testing.assert_allclose(with_noise, directly, rtol=0.05)


@every_model
@every_mode
def test_parameters_are_saved_and_loaded_to_another_context(kind, options, mode, x, tmp_path):
    net, file = make(kind, mode, **options), str(tmp_path / "parameters")
    for parameter in net.collect_params().values():  # no longer as they are initialised
        parameter.set_data(parameter.data() - 0.1)
    net.save_parameters(file)
    for context in CPUS:
        again = make(kind, initialize=False, **options)
        again.load_parameters(file, ctx=context)
        loss = again(*inputs(again, x, context))
        assert loss.context == again.mu.context == context
        np.testing.assert_array_equal(loss.asnumpy(), net(*inputs(net, x)).asnumpy())


@every_model
@every_mode
def test_a_model_on_two_contexts_computes_on_each(kind, options, mode, x):
    net = make(kind, mode, **options)
    alone = net(*inputs(net, x)).asnumpy()
    net.collect_params().reset_ctx(CPUS)
    for context in CPUS:
        given = inputs(net, x, context)
        loss = net(*given)
        assert loss.context == net.mu.context == context
        np.testing.assert_array_equal(loss.asnumpy(), alone)
        without_noise = given[: 1 + len(labels(net))]
        assert net(*without_noise).context == context
        logits = net.decoder.logits(net.mu, *without_noise[1:])
        assert net.likelihood.sample(logits).context == net.likelihood.variance(logits).context == context


@every_model
@pytest.mark.parametrize("part", ["model", "encoder", "decoder"])
def test_an_export_computes_the_same_and_keeps_the_names(kind, options, part, x, tmp_path):
    net = make(kind, "static", **options)
    given = inputs(net, x)
    y = given[1 : 1 + len(labels(net))]
    block, given = {
        "model": (net, given),
        "encoder": (net.encoder, [given[0], *y]),
        "decoder": (net.decoder, [nd.random.normal(shape=(N, N_LATENT)), *y]),
    }[part]
    expected = [block(*given)]
    if part == "model":
        expected += [getattr(net, name) for name in net.output_names]
        assert set(net.output_names) == shapes(kind, N).keys()
    block.export(str(tmp_path / part))
    graph, parameters = (str(tmp_path / f"{part}-{ending}") for ending in ("symbol.json", "0000.params"))
    names = [f"data{i}" for i in range(len(given))] if len(given) > 1 else ["data"]
    if part == "model":  # in a graph the labels come last
        given = [given[0], *given[1 + len(y) :], *y]
    result = gluon.SymbolBlock.imports(graph, names, parameters)(*given)
    for ours, reference in zip([result] if part != "model" else result, expected, strict=True):
        np.testing.assert_array_equal(ours.asnumpy(), reference.asnumpy())
    assert set(mx.sym.load(graph).list_arguments()) == {*names, *block.collect_params()}


@pytest.mark.parametrize("variance", [None, "learned", "per-pixel"])
@pytest.mark.parametrize("kind", [kind for kind in FAMILY if kind not in ("composed", "composed conditional")])
def test_parameters_are_named_after_their_place_in_the_model(kind, variance):
    net = make(kind, likelihood="gaussian" if variance else "bernoulli", variance=variance)
    placed = []
    parts = ("encoder", "likelihood", "decoder", *["classifier"] * (kind == "semi-supervised"))
    for part in parts:
        found = list(net.collect_params(f".*_{part}_.*"))
        assert found == list(getattr(net, part).collect_params())
        assert all(name.startswith(f"{net.prefix}{part}_") for name in found)
        assert found or part == "likelihood"
        placed += found
    assert placed == list(net.collect_params())
    assert (f"{net.prefix}likelihood_raw" in placed) == (variance == "learned")


def test_networks_that_are_given_keep_their_names():
    net = make("composed")
    names = [*net.encoder.collect_params(), *net.decoder.logits.collect_params()]
    assert list(net.collect_params()) == names
    assert not any(name.startswith(net.prefix) for name in names)


def test_names_are_the_same_in_every_process():
    code = """
import gluon_vae as g
for name in ("VAE", "ConditionalVAE", "SemiSupervisedVAE", "ConvVAE", "Autoencoder", "SparseAutoencoder",
    "DenoisingAutoencoder", "VAE"):
    model = getattr(g, name)
    print(*model(n_latent=2, likelihood="gaussian").collect_params())
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in "12"
    ]
    assert printed[0] == printed[1]
    first, *_, last = printed[0].splitlines()
    ends = [
        f"{part}_dense{i}_{kind}" for part in ("encoder", "decoder") for i in (0, 1) for kind in ("weight", "bias")
    ]
    ends.insert(4, "likelihood_raw")
    assert first.split() == [f"vae0_{end}" for end in ends]
    assert last.split() == [f"vae1_{end}" for end in ends]


def in_training(net, x):
    """Return the results of a call in training mode and its gradients; what a model draws is the same every time."""
    mx.random.seed(5)
    with autograd.record():
        loss = net(nd.array(x), *labels(net))
    loss.backward()
    gradients = {name: parameter.grad() for name, parameter in net._collect_params_with_prefix().items()}
    return {name: value.asnumpy() for name, value in ({"loss": loss} | attributes(net) | gradients).items()}


def assert_same(results, expected):
    assert results.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(results[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


CHANGES = [
    *[(kind, name, value) for kind in VAES for name, value in (("beta", 4.0), ("n_samples", 3))],
    ("semi-supervised", "label_weight", 2.5),
    ("sparse l1", "weight", 2.5),
    ("sparse kl", "weight", 2.5),
    ("sparse kl", "rate", 0.3),
    ("denoising masking", "level", 0.2),
    ("denoising gaussian", "level", 0.2),
    ("denoising masking", "corruption", "gaussian"),
]
NUMBERS = (0, -1, float("nan"), float("inf"), "1", True, None)
REFUSED = {
    "beta": NUMBERS,
    "weight": NUMBERS,
    "label_weight": NUMBERS,
    "n_samples": (0, -1, 1.5, "3", True, None),
    "rate": (1, *NUMBERS),
    "level": (1, *NUMBERS),
    "corruption": ("blur", 1, None),
}
every_change = pytest.mark.parametrize(("kind", "name", "value"), CHANGES)


@every_change
@every_mode
def test_a_setting_takes_effect_at_the_next_call(kind, name, value, mode, x):
    net = make(kind, mode)
    before, first = in_training(net, x), getattr(net, name)
    setattr(net, name, value)
    now, another = in_training(net, x), make(kind, **{name: value})
    assert_same(now, in_training(another, x))
    assert (now["loss"] != before["loss"]).any()
    assert getattr(net, name) == net.config[name] == value
    assert net.config == another.config
    setattr(net, name, first)
    assert_same(in_training(net, x), before)
    assert net.config == make(kind).config


@every_change
@pytest.mark.parametrize("mode", ["imperative", "static"])
def test_a_bad_setting_is_named_and_leaves_the_old_one(kind, name, value, mode, x):
    net = make(kind, mode, **{name: value})
    before, config = in_training(net, x), net.config
    for bad in REFUSED[name]:
        with refused(name, repr(bad)):
            setattr(net, name, bad)
        assert getattr(net, name) == value
    assert net.config == config
    assert_same(in_training(net, x), before)


SIZES = {"n_latent", "n_output", "n_classes", "image_shape"}
MLP_SIZES = SIZES | {"n_hidden", "n_layers", "act_type"}


@every_kind
def test_what_the_architecture_is_cannot_be_set_again(kind):
    fixed = {"conv": SIZES | {"channels", "act_type"}}.get(kind, SIZES if "composed" in kind else MLP_SIZES)
    fixed = fixed | {"kind"} if "sparse" in kind else fixed
    net = make(kind)
    settings = {name for cls in type(net).__mro__ for name in vars(cls) if isinstance(vars(cls)[name], Setting)}
    assert settings == fixed | {name for another, name, _ in CHANGES if type(make(another)) is type(net)}
    config = net.config
    for name in fixed:
        value = getattr(net, name)
        for other in (value, 5, "tanh"):
            with refused(name, "make another model", error=AttributeError):
                setattr(net, name, other)
        assert getattr(net, name) == value
    assert net.config == config


@every_model
def test_the_configuration_is_what_makes_the_model_again(kind, options):
    net = make(kind, **options)
    assert options.items() <= net.config.items()
    if "composed" not in kind:
        assert type(net)(**net.config).config == net.config
