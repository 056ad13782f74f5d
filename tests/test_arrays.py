"""Arrays of every kind that MXNet has: those that a model takes, and those that it refuses."""

import numpy as np
import pytest

import gluon_vae
from gluon_vae import arrays
from gluon_vae.layers import conv_decoder

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

X = np.random.default_rng(0).random((6, 12), dtype=np.float32)
Y = np.arange(6)
EPS = np.random.default_rng(1).standard_normal((6, 2)).astype(np.float32)
PLACES = [mx.Context("cpu_shared", 0), mx.cpu_pinned()]


@pytest.fixture(params=[False, True], ids=["imperative", "hybrid"])
def net(request):
    net = gluon_vae.ConditionalVAE(n_hidden=4, n_output=12)
    net.initialize()
    if request.param:
        net.hybridize(static_alloc=True, static_shape=True)
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (2, arrays.SMALL)], ids=str)
def test_what_comes_back_is_the_same_and_a_copy(shape, dtype):
    values = np.random.default_rng(0).integers(-9, 9, shape).astype(dtype)
    array = nd.array(values, dtype=dtype)
    back = arrays.to_numpy(array)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array.asnumpy())
    if values.size:
        back += 1
        np.testing.assert_array_equal(arrays.to_numpy(array), back - 1)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("check_input", [True, False])
def test_a_batch_may_come_from_shared_or_pinned_memory(place, check_input, net):
    """A DataLoader with processes of its own puts batches into the one, and one that pins them into the other."""
    net.check_input = check_input
    expected = net(nd.array(X), nd.array(Y), nd.array(EPS)).asnumpy()
    for moved in ((0, 1, 2), (0,), (1,), (2,)):
        batch = [nd.array(array, ctx=place if i in moved else mx.cpu()) for i, array in enumerate((X, Y, EPS))]
        loss = net(*batch)
        assert loss.context == mx.cpu()
        np.testing.assert_array_equal(loss.asnumpy(), expected)


def test_images_in_shared_memory_are_trained_on_and_evaluated(net):
    def outcome(x, y):
        mx.random.seed(0)
        model = gluon_vae.ConditionalVAE(n_hidden=4, n_output=12)
        history = gluon_vae.fit(model, x, x, y_train=y, y_test=y, n_epochs=1, progress=False)
        history.pop("seconds")
        return history, gluon_vae.encode(model, x, y).tolist(), gluon_vae.elbo(model, x, y).mean

    expected = outcome(X, Y)
    assert outcome(nd.array(X, ctx=PLACES[0]), nd.array(Y, ctx=PLACES[0])) == expected
    assert outcome(mx.np.array(X), mx.np.array(Y)) == expected


@pytest.mark.parametrize("check_input", [True, False])
def test_an_array_of_mx_np_is_as_good_as_one_of_mx_nd(check_input, net):
    net.check_input = check_input
    expected = net(nd.array(X), nd.array(Y), nd.array(EPS)).asnumpy()
    np.testing.assert_array_equal(net(mx.np.array(X), mx.np.array(Y), mx.np.array(EPS)).asnumpy(), expected)
    code = gluon_vae.generate(net, nd.array(EPS), 3)
    np.testing.assert_array_equal(gluon_vae.generate(net, mx.np.array(EPS), 3), code)


@pytest.mark.parametrize(
    "use",
    [
        lambda net: gluon_vae.fit(gluon_vae.VAE(n_hidden=4, n_output=12), X, n_epochs=1, progress=False),
        lambda net: gluon_vae.fit(net, X, y_train=Y, n_epochs=1, progress=False),
        lambda net: net(nd.array(X), nd.array(Y)),
        lambda net: net(mx.np.array(X), Y),
        lambda net: gluon_vae.elbo(net, X, Y),
        lambda net: gluon_vae.log_likelihood(net, X, Y, n_samples=2),
        lambda net: gluon_vae.encode(net, X, Y),
        lambda net: gluon_vae.generate(net, EPS, 3),
    ],
)
def test_numpy_semantics_are_refused_with_what_to_do(use, net):
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    mx.npx.set_np()
    try:
        with pytest.raises(ValueError, match=r"npx.set_np\(\) was called, .* call mx.npx.reset_np\(\)") as refused:
            use(net)
    finally:
        mx.npx.reset_np()
    assert "\n" not in str(refused.value)
    for name, p in net.collect_params().items():
        np.testing.assert_array_equal(p.data().asnumpy(), before[name])
    use(net)  # as before


def test_no_checkpoint_is_loaded_under_numpy_semantics(net, tmp_path):
    path = tmp_path / "checkpoint"
    gluon_vae.fit(net, X, y_train=Y, n_epochs=1, checkpoint=path, progress=False)
    for given in (None, net):
        mx.npx.set_np()
        try:
            with pytest.raises(ValueError, match=r"npx.set_np\(\) was called"):
                gluon_vae.load(path, given)
        finally:
            mx.npx.reset_np()
        gluon_vae.load(path, given)  # as before


class Called(gluon.HybridBlock):
    """A block with a call of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Dense(4, in_units=3)

    def hybrid_forward(self, F, x):
        return self.layer(x)

    def __call__(self, x):
        return super().__call__(x) + 1


BLOCKS = {
    "dense": lambda: nn.Dense(4, in_units=3, activation="sigmoid"),
    "convolution": lambda: conv_decoder(3, (1, 8, 8), (2, 4), 1, "relu"),
    "its input": lambda: nn.HybridLambda(lambda F, x: x),
    "a view of its input": lambda: nn.HybridLambda(lambda F, x: F.reshape(x, shape=(-1, 3, 1))),
    "a copy of its input": lambda: nn.HybridLambda(lambda F, x: F.identity(x)),
    "with a call": Called,
}


@pytest.mark.parametrize("flags", [None, {}, {"static_alloc": True, "static_shape": True}], ids=str)
@pytest.mark.parametrize("kind", BLOCKS)
def test_many_rows_are_computed_as_a_few_are(kind, flags, monkeypatch):
    # So that what is not written shows.
    monkeypatch.setattr(arrays.np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    for device, n in ((mx.cpu(0), 2 * arrays.BATCH_SIZE + 7), (mx.cpu(1), 2 * arrays.BATCH_SIZE)):
        mx.random.seed(0)
        block = BLOCKS[kind]()
        block.initialize(ctx=device)
        if flags is not None:
            block.hybridize(**flags)
        x = nd.random.normal(shape=(n, 3), ctx=device)
        given = x.asnumpy()
        expected = np.concatenate([block(batch).asnumpy() for (batch,) in arrays.batches([x], arrays.BATCH_SIZE)])
        with autograd.record():
            np.testing.assert_array_equal(arrays.in_batches(block, x), expected)
        found = arrays.in_batches(block, x)
        np.testing.assert_array_equal(found, expected)
        found += 1
        np.testing.assert_array_equal(x.asnumpy(), given)


def test_a_graph_writes_to_the_result_itself(monkeypatch):
    block = nn.Dense(4, in_units=3)
    block.initialize()
    block.hybridize()
    x = nd.random.normal(shape=(3 * arrays.BATCH_SIZE, 3))
    expected = block(x).asnumpy()
    copies, copyto = [], nd.NDArray.copyto
    monkeypatch.setattr(nd.NDArray, "copyto", lambda *arguments: copies.append(1) or copyto(*arguments))
    np.testing.assert_array_equal(arrays.in_batches(block, x), expected)
    assert len(copies) == 1  # of the first batch, which tells how wide the result is


def test_a_hook_sees_every_batch():
    block, seen = nn.Dense(4, in_units=3), []
    block.initialize()
    block.hybridize()
    block.register_forward_hook(lambda block, inputs, output: seen.append(output))
    arrays.in_batches(block, nd.ones((2 * arrays.BATCH_SIZE + 1, 3)))
    assert [len(output) for output in seen[-3:]] == [arrays.BATCH_SIZE, arrays.BATCH_SIZE, 1]
