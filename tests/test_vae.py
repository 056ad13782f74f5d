"""The contract of the VAE, in every execution mode."""

import numpy as np
import pytest
from conftest import N_LATENT, N_OUTPUT
from scipy.special import expit, log_expit

import gluon_vae

import mxnet as mx
from mxnet import autograd, gluon, nd

MODES = ("imperative", "hybrid", "static")
ATTRIBUTES = ("mu", "log_var", "output", "nll", "kl")


def draw_eps(n, n_samples=1, dtype="float32"):
    eps = np.random.default_rng(2).standard_normal((n_samples * n, N_LATENT))
    return nd.array(eps, dtype=dtype)


def numpy_loss(net, x, eps):
    """The negative ELBO written out in float64 NumPy, one image and one draw at a time."""

    def mlp(block, h):
        for i, layer in enumerate(block):
            h = layer.weight.data().asnumpy().astype(float) @ h + layer.bias.data().asnumpy()
            if i < len(block) - 1:
                h = np.maximum(h, 0)
        return h

    losses = []
    for i, image in enumerate(x.astype(float)):
        mu, log_var = np.split(mlp(net.encoder, image), 2)
        kl = sum((m**2 + np.exp(s) - 1 - s) / 2 for m, s in zip(mu, log_var))
        nll = []
        for draw in range(net.n_samples):
            z = mu + np.exp(log_var / 2) * eps[draw * len(x) + i]
            logits = mlp(net.decoder.logits, z)
            nll.append(-(image * log_expit(logits) + (1 - image) * log_expit(-logits)).sum())
        losses.append(np.mean(nll) + net.beta * kl)
    return np.array(losses)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_loss_is_the_negative_elbo(make_vae, pixels, mode, n_samples, beta):
    net = make_vae(mode, n_samples=n_samples, beta=beta)
    eps = draw_eps(len(pixels), n_samples)
    loss = net(nd.array(pixels), eps)
    np.testing.assert_allclose(loss.asnumpy(), numpy_loss(net, pixels, eps.asnumpy()), rtol=1e-5)
    np.testing.assert_allclose((net.nll + beta * net.kl).asnumpy(), loss.asnumpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_attributes_hold_arrays_of_the_last_call(make_vae, mode, batch):
    net = make_vae(mode)
    assert all(getattr(net, name) is None for name in ATTRIBUTES)
    for size in (batch, 3):  # the second is a ragged last batch
        loss = net(nd.random.uniform(shape=(size, N_OUTPUT)))
        assert loss.shape == net.nll.shape == net.kl.shape == (size,)
        assert net.mu.shape == net.log_var.shape == (size, N_LATENT)
        assert net.output.shape == (size, N_OUTPUT)
        assert 0 <= net.output.min().asscalar() <= net.output.max().asscalar() <= 1
        assert all(isinstance(getattr(net, name), nd.NDArray) for name in ATTRIBUTES)


@pytest.mark.parametrize("n_samples", [1, 3])
def test_same_eps_gives_the_same_numbers_in_every_mode(make_vae, pixels, n_samples):
    eps = draw_eps(len(pixels), n_samples)
    results = []
    for mode in MODES:
        net = make_vae(mode, n_samples=n_samples)
        loss = net(nd.array(pixels), eps)
        results.append([loss.asnumpy()] + [getattr(net, name).asnumpy() for name in ATTRIBUTES])
    for result in results[1:]:
        for ours, reference in zip(result, results[0]):
            np.testing.assert_array_equal(ours, reference)


def test_attributes_agree_with_the_parts(make_vae, pixels):
    net = make_vae("static")
    x, eps = nd.array(pixels), draw_eps(len(pixels))
    net(x, eps)
    encoded = net.encoder(x).asnumpy()
    np.testing.assert_allclose(encoded, np.hstack([net.mu.asnumpy(), net.log_var.asnumpy()]), rtol=1e-5)
    z = net.mu + (0.5 * net.log_var).exp() * eps
    np.testing.assert_allclose(net.decoder(z).asnumpy(), net.output.asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(expit(net.decoder.logits(z).asnumpy()), net.output.asnumpy(), rtol=1e-5)


def test_output_of_several_draws_is_their_average(make_vae, pixels):
    net, eps = make_vae(n_samples=3), draw_eps(len(pixels), 3)
    net(nd.array(pixels), eps)
    z = nd.tile(net.mu, (3, 1)) + nd.tile((0.5 * net.log_var).exp(), (3, 1)) * eps
    average = net.decoder(z).asnumpy().reshape(3, len(pixels), N_OUTPUT).mean(axis=0)
    np.testing.assert_allclose(net.output.asnumpy(), average, rtol=1e-5)


def test_more_draws_leave_the_mean_and_shrink_the_spread(make_vae, pixels):
    def losses(n_samples):
        mx.random.seed(3)
        net = make_vae("static", n_samples=n_samples)
        return np.array([net(nd.array(pixels[:1])).asscalar() for _ in range(400)])

    one, many = losses(1), losses(16)
    assert abs(one.mean() - many.mean()) < 4 * np.hypot(one.std(), many.std()) / 20
    assert many.std() == pytest.approx(one.std() / 4, rel=0.25)


@pytest.mark.parametrize("mode", MODES)
def test_gradient_matches_finite_differences(make_vae, pixels, mode):
    net = make_vae(mode, act_type="tanh")
    net.cast("float64")
    x, eps = nd.array(pixels, dtype="float64"), draw_eps(len(pixels), dtype="float64")
    with autograd.record():
        loss = net(x, eps).sum()
    loss.backward()
    step, rng = 1e-5, np.random.default_rng(0)
    for parameter in net.collect_params().values():
        values, gradient = parameter.data().asnumpy(), parameter.grad().asnumpy()
        for index in map(tuple, rng.integers(values.shape, size=(3, values.ndim))):
            sides = []
            for sign in (1, -1):
                shifted = values.copy()
                shifted[index] += sign * step
                parameter.set_data(nd.array(shifted, dtype="float64"))
                sides.append(net(x, eps).sum().asscalar())
            parameter.set_data(nd.array(values, dtype="float64"))
            assert gradient[index] == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("mode", MODES)
def test_parameters_survive_saving_and_loading(make_vae, pixels, tmp_path, mode):
    net, eps = make_vae(mode), draw_eps(len(pixels))
    file = str(tmp_path / "vae.params")
    net.save_parameters(file)
    again = gluon_vae.VAE(8, N_LATENT, 2, N_OUTPUT)
    again.load_parameters(file)
    np.testing.assert_array_equal(again(nd.array(pixels), eps).asnumpy(), net(nd.array(pixels), eps).asnumpy())


@pytest.mark.parametrize("part", ["vae", "encoder", "decoder"])
def test_export_and_import(make_vae, pixels, tmp_path, part):
    net = make_vae("static")
    eps = draw_eps(len(pixels))
    block, inputs = {
        "vae": (net, (nd.array(pixels), eps)),
        "encoder": (net.encoder, (nd.array(pixels),)),
        "decoder": (net.decoder, (eps,)),
    }[part]
    expected = block(*inputs)
    block.export(str(tmp_path / part))
    names = ["data0", "data1"] if part == "vae" else ["data"]
    imported = gluon.SymbolBlock.imports(
        str(tmp_path / f"{part}-symbol.json"), names, str(tmp_path / f"{part}-0000.params")
    )
    result = imported(*inputs)
    if part == "vae":
        result, expected = [r.asnumpy() for r in result], [expected] + [getattr(net, n) for n in ATTRIBUTES]
        for ours, reference in zip(result, expected):
            np.testing.assert_array_equal(ours, reference.asnumpy())
    else:
        np.testing.assert_array_equal(result.asnumpy(), expected.asnumpy())


@pytest.mark.parametrize("mode", MODES)
def test_two_contexts(make_vae, pixels, mode):
    net, eps = make_vae(mode), draw_eps(len(pixels))
    alone = net(nd.array(pixels), eps).asnumpy()
    contexts = [mx.cpu(0), mx.cpu(1)]
    net.collect_params().reset_ctx(contexts)
    for context in contexts:
        loss = net(nd.array(pixels, ctx=context), eps.as_in_context(context))
        assert loss.context == net.mu.context == context
        np.testing.assert_array_equal(loss.asnumpy(), alone)
        assert net(nd.array(pixels, ctx=context)).context == context


def test_training_on_two_contexts_equals_training_on_one(make_vae, pixels):
    def train(contexts):
        net = make_vae("static")
        net.collect_params().reset_ctx(contexts)
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
        eps = draw_eps(6)
        for _ in range(3):
            xs = gluon.utils.split_and_load(nd.array(pixels[:6]), contexts)
            noise = gluon.utils.split_and_load(eps, contexts)
            with autograd.record():
                losses = [net(x, e) for x, e in zip(xs, noise)]
            autograd.backward(losses)
            trainer.step(6)
        return {name: p.data(contexts[0]).asnumpy() for name, p in net._collect_params_with_prefix().items()}

    one, two = train([mx.cpu(0)]), train([mx.cpu(0), mx.cpu(1)])
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-6)


def test_code_for_the_published_tutorial_runs(pixels):
    """Constructor with a batch size, Xavier, hybridize, Trainer, attributes after the call."""
    batch_size = 4
    net = gluon_vae.VAE(n_hidden=8, n_latent=2, n_layers=2, n_output=N_OUTPUT, batch_size=batch_size)
    net.collect_params().initialize(mx.init.Xavier(), ctx=mx.cpu())
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.001})
    losses = []
    for batch in mx.io.NDArrayIter(data=pixels, label=np.arange(7), batch_size=batch_size):
        data = batch.data[0].as_in_context(mx.cpu())
        with autograd.record():
            loss = net(data)
        loss.backward()
        trainer.step(data.shape[0])
        losses.append(nd.mean(loss).asscalar())
    assert np.isfinite(losses).all()
    assert net.mu.asnumpy().shape == (batch_size, 2)
    assert net.output.asnumpy().shape == (batch_size, N_OUTPUT)
    assert net.decoder(nd.zeros((5, 2))).shape == (5, N_OUTPUT)
    positional = gluon_vae.VAE(8, 2, 2, N_OUTPUT, batch_size, "tanh")
    assert positional.n_output == N_OUTPUT


def test_a_block_that_holds_a_vae_can_be_traced(make_vae, pixels):
    class Twice(gluon.HybridBlock):
        def __init__(self, vae):
            super().__init__()
            self.vae = vae

        def hybrid_forward(self, F, x):
            return 2 * self.vae(x)

    inner = make_vae(n_samples=2)
    outer = Twice(inner)
    outer.hybridize()
    with_noise = np.mean([outer(nd.array(pixels)).asnumpy() for _ in range(300)], axis=0)
    assert inner.mu is None
    inner.hybridize(False)
    directly = np.mean([2 * inner(nd.array(pixels)).asnumpy() for _ in range(300)], axis=0)
    np.testing.assert_allclose(with_noise, directly, rtol=0.05)


def test_noise_differs_between_calls_and_follows_the_seed(make_vae, pixels):
    net = make_vae("static")
    mx.random.seed(5)
    first, second = net(nd.array(pixels)).asnumpy(), net(nd.array(pixels)).asnumpy()
    mx.random.seed(5)
    assert (first != second).any()
    np.testing.assert_array_equal(net(nd.array(pixels)).asnumpy(), first)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("x", "reason"),
    [
        ([[0.5] * N_OUTPUT], "NumPy"),
        (np.zeros((2, N_OUTPUT), np.uint8), "floating point"),
        (np.zeros((2, N_OUTPUT + 1), np.float32), "shape"),
        (nd.zeros(N_OUTPUT), "non-empty"),
        (nd.zeros((2, N_OUTPUT + 1)), "shape"),
        (nd.zeros((2, 1, 3, 4)), "shape"),
        (nd.zeros((2, N_OUTPUT), dtype="uint8"), "floating point"),
        (nd.full((2, N_OUTPUT), -0.1), r"\[0, 1\]"),
        (nd.full((2, N_OUTPUT), 255.0), r"\[0, 1\]"),
        (nd.full((2, N_OUTPUT), np.nan), r"\[0, 1\]"),
        (nd.full((2, N_OUTPUT), np.inf), r"\[0, 1\]"),
    ],
)
def test_bad_batches_are_refused(make_vae, mode, x, reason):
    with pytest.raises(ValueError, match=reason):
        make_vae(mode)(x)


def test_bad_eps_is_refused(make_vae, pixels):
    with pytest.raises(ValueError, match="eps"):
        make_vae(n_samples=2)(nd.array(pixels), draw_eps(len(pixels)))
