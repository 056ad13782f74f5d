"""Adam: the compiled update against MXNet's operator, and what it does with the memory that it is lent."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make, refused

import gluon_vae
from gluon_vae import adam, checkpoint, compiled_adam

import mxnet as mx
from mxnet import autograd, gluon, nd

N_STEPS, BATCH = 12, 5
RATE = 0.01
NOT_COMPILED = lambda rule, constants, dtype: None  # noqa: E731


def one_layer(dtype="float32"):
    net = gluon.nn.Dense(4, in_units=3)
    net.initialize()
    net.cast(dtype)
    rng = np.random.default_rng(0)
    net.weight.set_data(nd.array(rng.standard_normal((4, 3)), dtype=dtype))
    return net


def take_steps(net, optimizer, n=N_STEPS):
    dtype = next(iter(net.collect_params().values())).dtype
    for i in range(n):
        x = nd.array(np.random.default_rng(i).standard_normal((BATCH, 3)), dtype=dtype)
        with autograd.record():
            loss = (net(x) ** 2).sum(axis=1)
        loss.backward()
        optimizer.step(RATE, BATCH)


def trainer_of(net):
    """Gluon's own optimizer, called as ours is."""
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": RATE})
    return SimpleNamespace(step=lambda rate, batch_size: trainer.step(batch_size))


def state(net, optimizer):
    return [net.weight.data().asnumpy(), net.bias.data().asnumpy(), *optimizer.moments().values()]


@pytest.mark.parametrize("mode", ["imperative", "static"])
def test_the_compiled_update_is_mxnets(mode, monkeypatch):
    results = []
    for compiled in (compiled_adam._compiled, NOT_COMPILED):
        monkeypatch.setattr(compiled_adam, "_compiled", compiled)
        net = one_layer()
        if mode == "static":
            net.hybridize(static_alloc=True, static_shape=True)
        optimizer = adam.Adam(net)
        take_steps(net, optimizer)
        results.append(state(net, optimizer))
    for ours, theirs in zip(*results, strict=True):
        # MXNet rounds beta2 before it takes it from 1.
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_the_update_is_the_papers(dtype, tolerance):
    """Algorithm 1, with the moments corrected for their start at zero."""
    net = one_layer(dtype)
    optimizer = adam.Adam(net)
    weight = net.weight.data().asnumpy().astype("float64")
    mean = square = np.zeros_like(weight)
    for t in range(1, N_STEPS + 1):
        gradient = np.random.default_rng(t).standard_normal(weight.shape)
        net.weight.grad()[:] = nd.array(BATCH * gradient, dtype=dtype)
        net.bias.grad()[:] = 0
        optimizer.step(RATE, BATCH)
        g = gradient + adam.WEIGHT_DECAY * weight
        mean = adam.BETA1 * mean + (1 - adam.BETA1) * g
        square = adam.BETA2 * square + (1 - adam.BETA2) * g**2
        corrected = mean / (1 - adam.BETA1**t), square / (1 - adam.BETA2**t)
        # Epsilon stands where MXNet has it, beside the root that is not corrected yet.
        epsilon = adam.EPSILON / np.sqrt(1 - adam.BETA2**t)
        weight = weight - RATE * corrected[0] / (np.sqrt(corrected[1]) + epsilon)
    np.testing.assert_allclose(net.weight.data().asnumpy(), weight, rtol=tolerance)


def test_the_compiled_update_is_gluons():
    """Which has no weight decay, 1e-9 here."""
    net, reference = one_layer(), one_layer()
    take_steps(net, adam.Adam(net))
    take_steps(reference, trainer_of(reference))
    np.testing.assert_allclose(net.weight.data().asnumpy(), reference.weight.data().asnumpy(), rtol=1e-5)


def test_a_shared_parameter_is_updated_once():
    results = []
    for train in (adam.Adam, trainer_of):
        first = one_layer()
        net = gluon.nn.HybridSequential()
        net.add(first, gluon.nn.Dense(3, in_units=4), gluon.nn.Dense(4, in_units=3, params=first.params))
        net[1].initialize(mx.init.One())
        take_steps(net, train(net))
        assert net[0].weight is net[2].weight
        results.append(first.weight.data().asnumpy())
    np.testing.assert_allclose(*results, rtol=1e-3)


def test_half_precision_is_left_to_mxnet():
    net = one_layer("float16")
    before = net.weight.data().asnumpy()
    net.weight.grad()[:] = 1
    net.bias.grad()[:] = 1
    adam.Adam(net).step(RATE, BATCH)
    moved = before - net.weight.data().asnumpy()
    np.testing.assert_allclose(moved, RATE, rtol=0.1)  # Adam's first step, whatever the gradient


def test_parameters_set_between_steps_are_what_is_updated():
    net = one_layer()
    optimizer = adam.Adam(net)
    take_steps(net, optimizer)
    net.weight.set_data(nd.full((4, 3), 7))
    take_steps(net, optimizer, 1)
    moved = np.abs(net.weight.data().asnumpy() - 7)
    assert (moved > 0).all()
    assert (moved < 10 * RATE).all()


def test_replaced_parameters_are_what_is_updated():
    net = one_layer()
    optimizer = adam.Adam(net)
    take_steps(net, optimizer, 1)
    old = net.weight.data()
    net.initialize(force_reinit=True)
    assert net.weight.data() is not old
    before, unused = net.weight.data().asnumpy(), old.asnumpy()
    optimizer.settle()
    take_steps(net, optimizer, 1)
    assert (net.weight.data().asnumpy() != before).all()
    np.testing.assert_array_equal(old.asnumpy(), unused)


REPLACE = {
    "initialised again": lambda net: net.initialize(force_reinit=True),
    "moved": lambda net: net.collect_params().reset_ctx(mx.cpu(1)),
    "moved to where they are": lambda net: net.collect_params().reset_ctx(mx.cpu()),
    "given another type": lambda net: net.cast("float64"),
    "given other gradients": lambda net: setattr(net.weight, "grad_req", "add"),
}
LEAVE = {
    "nothing": lambda net: None,
    "values are set": lambda net: net.weight.set_data(nd.full((4, 3), 7)),
    "a prediction": lambda net: net(nd.ones((BATCH, 3))),
    "gradients are cleared": lambda net: net.collect_params().zero_grad(),
    "compilation": lambda net: net.hybridize(static_alloc=True, static_shape=True),
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("act", [*REPLACE, *LEAVE])
def test_arrays_that_were_replaced_under_way_are_found_and_nothing_else_is(act, compiled, monkeypatch):
    if not compiled:
        by_mxnet(monkeypatch)
    net = one_layer()
    optimizer = adam.Adam(net)
    take_steps(net, optimizer)
    optimizer.check()
    (REPLACE | LEAVE)[act](net)
    if act in REPLACE:
        with refused("replaced or moved", error=RuntimeError):
            optimizer.check()
    else:
        optimizer.check()
        take_steps(net, optimizer)
        optimizer.check()


@pytest.mark.parametrize("compiled", [True, False])
def test_fit_stops_where_arrays_were_replaced_in_the_middle_of_an_epoch(compiled, x, tmp_path, monkeypatch):
    if not compiled:
        by_mxnet(monkeypatch)
    calls = []

    def replace_at_the_sixth(net, inputs):
        calls.append(len(inputs))
        if len(calls) == 6:
            with autograd.pause():
                net.initialize(force_reinit=True)

    net = make()
    net.register_forward_pre_hook(replace_at_the_sixth)
    with refused("replaced or moved", error=RuntimeError):
        gluon_vae.fit(net, x, n_epochs=3, batch_size=2, checkpoint=tmp_path / "c", progress=False)
    assert len(calls) == 8  # to the end of the second epoch
    assert checkpoint.read(tmp_path / "c").meta["history"]["epoch"] == [1]


def test_between_epochs_arrays_may_be_replaced(x):
    net = make()
    replaced = []

    def replace(history):
        replaced.append(net.encoder[0].weight.data())
        net.initialize(force_reinit=True)

    gluon_vae.fit(net, x, n_epochs=3, progress=False, on_epoch=replace)
    assert len(replaced) == 3
    assert replaced[0] is not replaced[1]


def test_frozen_parameters_stay():
    net = one_layer()
    net.bias.grad_req = "null"
    before = net.bias.data().asnumpy()
    take_steps(net, adam.Adam(net))
    np.testing.assert_array_equal(net.bias.data().asnumpy(), before)


def test_nothing_becomes_denormal_where_gradients_vanish():
    net = one_layer()
    optimizer = adam.Adam(net)
    take_steps(net, optimizer, 1)
    for _ in range(3000):
        for gradient in optimizer.gradients().values():
            gradient[:] = 0
        optimizer.step(0, BATCH)
    for array in optimizer.moments().values():
        sizes = np.abs(array[array != 0])
        assert (sizes >= np.finfo(np.float32).tiny).all()


def without_numba(monkeypatch):
    monkeypatch.setattr(compiled_adam, "_compiled", compiled_adam._compiled.__wrapped__)  # which asks again
    monkeypatch.setitem(sys.modules, "numba", None)


def with_jit_disabled(monkeypatch):
    monkeypatch.setattr(compiled_adam, "_compiled", compiled_adam._compiled.__wrapped__)
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)  # as NUMBA_DISABLE_JIT=1 sets it


def by_mxnet(monkeypatch):
    monkeypatch.setattr(compiled_adam, "_compiled", NOT_COMPILED)


@pytest.mark.parametrize("make_plain", [without_numba, with_jit_disabled, by_mxnet])
def test_fit_reaches_the_same_in_the_compiled_and_in_the_plain_form(make_plain, sample, monkeypatch):
    forms = []

    def updates(*arguments, original=compiled_adam.updates):
        compiled, left_to_mxnet = original(*arguments)
        forms.append((bool(compiled), bool(left_to_mxnet)))
        return compiled, left_to_mxnet

    def train():
        net = gluon_vae.VAE(n_hidden=32)
        history = gluon_vae.fit(net, sample.x_train[:500], n_epochs=2, progress=False)
        return history["train_loss"], checkpoint.parameters_of(net)

    monkeypatch.setattr(compiled_adam, "updates", updates)
    losses, parameters = train()
    assert set(forms) == {(True, False)}
    forms.clear()
    make_plain(monkeypatch)
    plain_losses, plain_parameters = train()
    assert set(forms) == {(False, True)}
    assert losses == pytest.approx(plain_losses, rel=1e-5)
    for name, values in parameters.items():
        np.testing.assert_allclose(values, plain_parameters[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_the_rule_run_by_python_is_the_compiled_update():
    net = one_layer("float64")
    optimizer = adam.Adam(net)
    weight = net.weight.data().asnumpy().ravel()
    mean, square = np.zeros((2, weight.size))
    for t in range(1, N_STEPS + 1):
        gradient = np.random.default_rng(t).standard_normal(weight.size)
        net.weight.grad()[:] = nd.array(gradient.reshape((4, 3)), dtype="float64")
        net.bias.grad()[:] = 0
        optimizer.step(RATE, BATCH)
        rate = RATE * np.sqrt(1 - adam.BETA2**t) / (1 - adam.BETA1**t)
        constants = 1 - adam.BETA1, 1 - adam.BETA2, adam.EPSILON
        adam.rule(weight, gradient, mean, square, rate, adam.WEIGHT_DECAY, 1 / BATCH, *constants)
    moments = optimizer.moments()
    for ours, reference in ((net.weight.data().asnumpy(), weight), (moments["weight/mean"], mean)):
        np.testing.assert_allclose(ours.ravel(), reference, rtol=1e-12)
    np.testing.assert_allclose(moments["weight/square"].ravel(), square, rtol=1e-12)


SHARED = """
import hashlib
import numpy as np
import gluon_vae
from gluon_vae import compiled_adam, openmp
from gluon_vae.adam import Adam
from mxnet import gluon, nd, random

for alone in {alone}:
    if alone:
        openmp.team = lambda library: None
    compiled_adam._compiled.cache_clear()
    random.seed(0)
    net = gluon.nn.HybridSequential()
    net.add(*(gluon.nn.Dense(n) for n in (1, 2, 7, 300)))  # fewer numbers than threads, and more
    net.initialize()
    net(nd.zeros((5, 11)))
    optimizer = Adam(net)
    assert len(compiled_adam._compiled(*{key})) == (1 if alone else 2)
    for i in range(3):
        for gradient in optimizer.gradients().values():
            gradient[:] = nd.array(np.random.default_rng(i).standard_normal(gradient.shape))
        optimizer.step(0.01, 5)
    values = [array.asnumpy().tobytes() for array in optimizer.weights().values()]
    print(hashlib.md5(b"".join(values + [array.tobytes() for array in optimizer.moments().values()])).hexdigest())
"""


def test_threads_that_share_an_update_leave_nothing_out():
    key = "(__import__('gluon_vae').adam.rule, (1 - 0.9, 1 - 0.999, 1e-8), np.float32)"
    outcomes = set()
    for n_threads, alone in ((1, (False, True)), (2, (False,)), (3, (False,))):
        command = [sys.executable, "-c", SHARED.format(alone=alone, key=key)]
        environment = os.environ | {"OMP_NUM_THREADS": str(n_threads), "OMP_WAIT_POLICY": "passive"}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
        assert len(result.stdout.split()) == len(alone)
        outcomes.update(result.stdout.split())
    assert len(outcomes) == 1


def test_without_numba_there_is_nothing_compiled(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert compiled_adam._compiled.__wrapped__(adam.rule, (), np.float32) is None


def test_without_compilation_there_is_nothing_compiled(monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert compiled_adam._compiled.__wrapped__(adam.rule, (), np.float32) is None


def test_updates_keep_their_place_in_the_queue():
    """Nothing is waited for, and everything happens in the order in which it was asked for, in every layer."""

    def layers():
        net = gluon.nn.HybridSequential()
        net.add(one_layer(), one_layer())
        for layer in net:
            layer.bias.grad()[:] = 0
        return net, adam.Adam(net)

    net, optimizer = layers()
    seen = []
    for i in range(200):
        slow = nd.dot(nd.ones((300, 300)), nd.ones((300, 300)))  # 300 everywhere, after a while
        for layer in net:
            layer.weight.grad()[:] = (slow[0, 0] - 300).reshape((1, 1)) + (-1) ** i
        optimizer.step(RATE, 1)
        seen.append([layer.weight.data().copy() for layer in net])
        for layer in net:
            layer.weight.grad()[:] = np.nan  # read before this, or ruined
    net, optimizer = layers()
    for i, weights in enumerate(seen):
        for layer in net:
            layer.weight.grad()[:] = (-1) ** i
        optimizer.step(RATE, 1)
        nd.waitall()
        for values, layer in zip(weights, net):
            np.testing.assert_array_equal(values.asnumpy(), layer.weight.data().asnumpy())


def test_steps_keep_their_sizes_however_many_are_queued():
    """The places that hold what is queued are used again, and not before they were read."""
    weights = []
    for held_up in (False, True):
        net = one_layer()
        optimizer = adam.Adam(net)
        net.bias.grad()[:] = 0
        slow = nd.dot(nd.ones((2000, 2000)), nd.ones((2000, 2000)))  # 2000 everywhere, after a while
        net.weight.grad()[:] = slow[0, 0].reshape((1, 1)) / 2000
        for i in range(compiled_adam.N_STEPS + 5):
            optimizer.step(RATE * (i + 1), 1)
            if not held_up:
                nd.waitall()
        weights.append(net.weight.data().asnumpy())
    np.testing.assert_array_equal(*weights)


def test_what_inference_did_to_the_layout_of_weights_is_undone(monkeypatch):
    """MXNet keeps the weights of a convolution in another order after it has predicted with them."""
    x = nd.array(np.random.default_rng(0).random((20, 784)))
    results = []
    for compiled in (compiled_adam._compiled, NOT_COMPILED):
        monkeypatch.setattr(compiled_adam, "_compiled", compiled)
        net = gluon_vae.ConvVAE((16, 32), 4)
        net.hybridize(static_alloc=True, static_shape=True)
        mx.random.seed(0)
        net.initialize(gluon_vae.training.INITIALIZER)
        optimizer = adam.Adam(net)
        for i in range(6):
            net(x)
            optimizer.settle()
            for _ in range(3):
                with autograd.record():
                    loss = net(x, nd.ones((20, 4)) * i)
                loss.backward()
                optimizer.step(RATE, 20)
        results.append(net(x, nd.zeros((20, 4))).asnumpy())
    np.testing.assert_allclose(*results, rtol=1e-3)


def lengths(gradients):
    """Return each gradient in double precision, and the length of all together."""
    exact = {name: gradient.asnumpy().astype("f8") for name, gradient in gradients.items()}
    return exact, np.sqrt(sum((gradient**2).sum() for gradient in exact.values()))


@pytest.mark.parametrize("share", [1e-3, 0.5, 0.999])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("float32", 1e-6), ("float64", 1e-14)])
def test_a_longer_gradient_is_shortened_to_the_norm_of_all_parameters(dtype, tolerance, share):
    net = one_layer(dtype)
    optimizer = adam.Adam(net)
    rng = np.random.default_rng(0)
    for gradient in optimizer.gradients().values():
        gradient[:] = nd.array(100 * rng.standard_normal(gradient.shape), dtype=dtype)
    exact, length = lengths(optimizer.gradients())  # of the sum over the batch
    optimizer.clip(share * length / BATCH, BATCH)
    clipped, now = lengths(optimizer.gradients())
    assert now == pytest.approx(share * length, rel=tolerance)
    for name, gradient in exact.items():
        np.testing.assert_allclose(clipped[name], share * gradient, rtol=2 * tolerance)


@pytest.mark.parametrize("longest", [1.001, 1e30])
def test_a_gradient_that_is_short_enough_keeps_its_bits(longest):
    net = one_layer()
    optimizer = adam.Adam(net)
    for scale in (0, 1):  # a gradient of 0 has no direction, and needs none
        net.weight.grad()[:] = scale * nd.random.normal(shape=(4, 3))
        net.bias.grad()[:] = 0
        exact, length = lengths(optimizer.gradients())
        optimizer.clip(longest * (length or 1) / BATCH, BATCH)
        for name, gradient in optimizer.gradients().items():
            np.testing.assert_array_equal(gradient.asnumpy(), exact[name])


def test_clipping_waits_for_nothing(monkeypatch):
    net = one_layer()
    optimizer = adam.Adam(net)
    with monkeypatch.context() as patch:
        for name in ("asnumpy", "wait_to_read"):
            patch.setattr(nd.NDArray, name, None)
        optimizer.clip(1, BATCH)


@pytest.mark.parametrize("compiled", [True, False])
def test_fit_steps_by_the_shortened_gradient(compiled, x, monkeypatch):
    """Which one step of Adam shows in its moment: a tenth of the gradient."""
    if not compiled:
        by_mxnet(monkeypatch)
    means, step = [], adam.Adam.step

    def noted(self, rate, batch_size):
        step(self, rate, batch_size)
        means.append({name: array for name, array in self.moments().items() if name.endswith("/mean")})

    monkeypatch.setattr(adam.Adam, "step", noted)
    for clip_norm in (None, 1e30, 0.5):
        gluon_vae.fit(make(), x, n_epochs=1, clip_norm=clip_norm, progress=False)
    free, loose, short = means
    for name, mean in free.items():
        np.testing.assert_array_equal(loose[name], mean)
    length = np.sqrt(sum((mean.astype("f8") ** 2).sum() for mean in free.values()))
    assert length > 0.1  # a tenth of a gradient that is longer than 0.5
    for name, mean in free.items():
        np.testing.assert_allclose(short[name], 0.05 / length * mean, rtol=1e-5, atol=1e-9)


def test_rates_are_multiplied_by_part_and_the_longest_name_counts():
    net = make(n_layers=2)
    adam.multiply_rates(net, {"encoder.0.bias": 3, "encoder": 0.5, "decoder.logits.1": 0})
    rates = {name: p.lr_mult for name, p in net._collect_params_with_prefix().items() if p.lr_mult != 1}
    assert rates == {
        **{f"encoder.{i}.{what}": 0.5 for i in range(3) for what in ("weight", "bias")},
        "encoder.0.bias": 3,
        "decoder.logits.1.weight": 0,
        "decoder.logits.1.bias": 0,
    }
    for name in ("encode", "encoder.", "", "encoder.3"):
        with refused("lr_mult", "decoder.logits.0", "encoder, encoder.0", repr(name)):
            adam.multiply_rates(net, {name: 1})
    for factor in (-1, float("nan"), float("inf"), "1", True):
        with refused("lr_mult of encoder", "from 0 up"):
            adam.multiply_rates(net, {"encoder": factor})
