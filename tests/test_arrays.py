"""Arrays of every kind that MXNet has: those that a model takes, and those that it refuses."""

import numpy as np
import pytest

import gluon_vae
from gluon_vae import arrays

import mxnet as mx
from mxnet import nd

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
