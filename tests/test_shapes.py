"""The picture behind a row of numbers: any sides, one channel or three, in every model."""

import math

import numpy as np
import pytest
from conftest import FAMILY, MODES, N_LATENT, inputs, labels, make, refused
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate

import gluon_vae
from gluon_vae.shapes import as_pictures, shape_of

from mxnet import autograd, nd

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 9, 13), (3, 32, 32), (1, 28, 28), (3, 48, 64), (1, 128, 128)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
PER_PIXEL = {"likelihood": "gaussian", "variance": "per-pixel"}


def of_shape(shape, kind="conv", mode="imperative", **options):
    return make(kind, mode, n_output=math.prod(shape), image_shape=shape, **options)


def some_images(shape, n=3):
    return np.random.default_rng(0).random((n, math.prod(shape)), dtype=np.float32)


def gradients(net):
    return {name: parameter.grad().asnumpy() for name, parameter in net._collect_params_with_prefix().items()}


@every_shape
def test_convolutions_of_every_shape_agree_in_every_mode(shape):
    x, results = some_images(shape), []
    for mode in MODES:
        net = of_shape(shape, mode=mode)
        given = inputs(net, x)
        with autograd.record():
            loss = net(*given)
        loss.backward()
        assert net.output.shape == x.shape
        results.append({"loss": loss.asnumpy(), "output": net.output.asnumpy()} | gradients(net))
        assert net(*inputs(net, x[:1])).shape == (1,)  # a last batch
        assert net.decoder(nd.zeros((2, N_LATENT))).shape == (2, math.prod(shape))
    for result in results[1:]:
        for name, values in results[0].items():
            np.testing.assert_array_equal(result[name], values, name)


@every_shape
@pytest.mark.parametrize("options", [{}, PER_PIXEL], ids=["bernoulli", "per-pixel"])
def test_convolutions_of_every_shape_have_the_gradient_of_their_loss(shape, options):
    """Along one random direction through all parameters at once, in float64."""
    net = of_shape(shape, act_type="tanh", **options)
    net.cast("float64")
    given = inputs(net, some_images(shape, 2), dtype="float64")
    with autograd.record():
        loss = net(*given).sum()
    loss.backward()
    parameters, rng, step, slope = list(net.collect_params().values()), np.random.default_rng(1), 1e-6, 0.0
    before = [parameter.data().copy() for parameter in parameters]
    ways = [nd.array(rng.standard_normal(values.shape), dtype="float64") for values in before]
    for parameter, way in zip(parameters, ways):
        slope += (parameter.grad() * way).sum().asscalar()
    sides = []
    for sign in (1, -1):
        for parameter, values, way in zip(parameters, before, ways):
            parameter.set_data(values + sign * step * way)
        sides.append(net(*given).sum().asscalar())
    assert slope == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("channels", [(16,), (32, 64), (64, 32, 16)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 9, 13), (3, 16, 9)])
def test_fast_kernels_have_the_gradients_of_slow_ones(shape, channels):
    """Of float64 oneDNN computes nothing, and of these widths it cannot differentiate all that it computes."""
    results = []
    for dtype in ("float32", "float64"):
        # A ReLU would turn the rounding of a number near 0 into another slope.
        net = gluon_vae.ConvVAE(channels, N_LATENT, image_shape=shape, act_type="tanh")
        net.initialize(init="zeros")
        rng = np.random.default_rng(0)
        for parameter in net.collect_params().values():
            parameter.set_data(nd.array(0.1 * rng.standard_normal(parameter.shape)))
        net.cast(dtype)
        with autograd.record():
            loss = net(*inputs(net, some_images(shape), dtype=dtype))
        loss.backward()
        results.append(gradients(net))
    for name, expected in results[1].items():
        np.testing.assert_allclose(results[0][name], expected, rtol=0, atol=1e-4 * abs(expected).max(), err_msg=name)


def test_convolutions_see_the_picture_channel_by_channel_and_row_by_row():
    shape = 3, 9, 13
    net, x = of_shape(shape), some_images(shape, 1)
    layer = net.encoder[1]
    kernels, bias = layer.weight.data().asnumpy(), layer.bias.data().asnumpy()
    padded = np.pad(x[0].reshape(shape), [(0, 0), (2, 2), (2, 2)])
    expected = [correlate(padded, kernel, "valid")[0, ::2, ::2] + b for kernel, b in zip(kernels, bias)]
    seen = layer(net.encoder[0](nd.array(x)))[0].asnumpy()
    assert seen.shape == (4, 5, 7)
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-5)


def test_a_given_square_is_the_square_that_is_taken_for_granted():
    named, plain = of_shape((1, 8, 8)), make("conv")
    x = some_images((1, 8, 8))
    np.testing.assert_array_equal(named(*inputs(named, x)).asnumpy(), plain(*inputs(plain, x)).asnumpy())
    assert named.config == plain.config | {"image_shape": (1, 8, 8)}
    assert plain.image_shape is None


@pytest.mark.parametrize("kind", FAMILY)
def test_every_model_keeps_its_shape(kind, tmp_path):
    shape = (3, 8, 9)
    net = of_shape(shape, kind)
    assert net.image_shape == net.config["image_shape"] == shape
    x = some_images(shape, 4)
    y = dict(zip(("y_train",), labels(net, 4)))
    gluon_vae.fit(net, x, n_epochs=1, progress=False, checkpoint=tmp_path / "c", **y)
    if "composed" not in kind:
        assert type(net)(**net.config).config == net.config
        again = gluon_vae.load(tmp_path / "c")
        assert (again.image_shape, again.config) == (shape, net.config)
        np.testing.assert_array_equal(
            gluon_vae.encode(again, x, *labels(net, 4)), gluon_vae.encode(net, x, *labels(net, 4))
        )


def test_a_model_of_one_layer_is_loaded_with_its_shape(tmp_path):
    net = gluon_vae.VAE(4, image_shape=(3, 2, 2))
    gluon_vae.fit(net, some_images((3, 2, 2)), n_epochs=1, progress=False, checkpoint=tmp_path / "c")
    assert gluon_vae.load(tmp_path / "c").image_shape == (3, 2, 2)


@pytest.mark.parametrize("model", [gluon_vae.VAE, gluon_vae.ConvVAE, gluon_vae.Autoencoder])
def test_the_width_follows_from_the_shape(model):
    for options in ({}, {"n_output": 784}, {"n_output": 3 * 9 * 8}):
        net = model(n_latent=2, image_shape=[3, 9, np.int64(8)], **options)
        assert (net.n_output, net.image_shape) == (216, (3, 9, 8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_shape": (3, 8, 8), "n_output": 64}, ["n_output", "192", "64"]),
        ({"image_shape": (8, 8, 3)}, ["image_shape", "(channels, height, width)", "(3, 8, 8)"]),
        ({"image_shape": (4, 8, 8)}, ["image_shape", "1 or 3", "(4, 8, 8)"]),
        ({"image_shape": (1, 0, 8)}, ["image_shape", "(1, 0, 8)"]),
        ({"image_shape": (28, 28)}, ["image_shape", "(28, 28)"]),
        ({"image_shape": "1,28,28"}, ["image_shape", "'1,28,28'"]),
        ({"image_shape": 28}, ["image_shape", "28"]),
        ({"image_shape": (1, 7, 64)}, ["sides", "8 pixels", "3 levels", "image_shape=(1, 7, 64)"]),
        ({"n_output": 3072}, ["n_output", "image_shape", "(3, 32, 32)", "3072"]),
        ({"n_output": 105}, ["n_output", "image_shape=(channels, height, width)", "105"]),
    ],
)
def test_shapes_that_are_none_are_refused(options, words):
    with refused(*words):
        gluon_vae.ConvVAE(n_latent=2, **options)


@given(st.sampled_from((1, 3)), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_images_are_the_same_pictures_flat_or_not(channels, height, width, n):
    pictures = np.arange(n * channels * height * width, dtype=float).reshape(n, channels, height, width)
    shape = channels, height, width
    given = [pictures, pictures.reshape(n, -1)] + ([pictures[:, 0]] if channels == 1 else [])
    for images in given:
        np.testing.assert_array_equal(as_pictures("images", images, shape), pictures)
    assert shape_of("n_output", pictures[0].size, shape) == shape


@pytest.mark.parametrize(
    ("images", "image_shape", "words"),
    [
        ((2, 4, 8, 8), None, ["(2, 4, 8, 8)", "alpha channel", "x[:, :3]"]),
        ((2, 8, 8, 4), None, ["(2, 8, 8, 4)", "alpha channel", "x[..., :3].transpose(0, 3, 1, 2)"]),
        ((2, 8, 8, 3), None, ["(2, 8, 8, 3)", "channels come first", "x.transpose(0, 3, 1, 2)"]),
        ((2, 2, 8, 8), None, ["(2, 2, 8, 8)"]),
        ((2, 3, 8, 8), (3, 8, 9), ["image_shape", "(3, 8, 8)", "(3, 8, 9)"]),
        ((2, 8, 8), (3, 8, 8), ["image_shape", "(1, 8, 8)"]),
        ((2, 64), (1, 8, 9), ["image_shape", "width of x, 64", "72"]),
        ((2, 192), None, ["width of x", "image_shape", "(3, 8, 8)"]),
        ((2, 48), (16, 3, 1), ["image_shape", "1 or 3"]),
        ((2, 0), None, ["non-empty"]),
    ],
)
def test_images_of_another_shape_are_refused(images, image_shape, words):
    with refused(*words):
        as_pictures("x", np.zeros(images), image_shape)
