"""What a conditional model does with its labels."""

import numpy as np
import pytest
from conftest import N_LATENT, N_OUTPUT
from scipy.special import expit, log_expit

import gluon_vae

import mxnet as mx
from mxnet import nd

N_CLASSES = 4
MODES = ("imperative", "hybrid", "static")
LABELS = np.array([0, 3, 1, 2, 2, 0, 1])
Y_IS_BAD = {
    "too large": LABELS + 1,
    "negative": LABELS - 1,
    "too short": LABELS[:-1],
    "too long": [*LABELS, 0],
    "of rank 2": LABELS[:, None],
    "one-hot": np.eye(N_CLASSES, dtype=int)[LABELS],
    "floating": LABELS.astype(float),
    "boolean": LABELS > 1,
    "strings": LABELS.astype(str),
    "fractions": nd.array(LABELS + 0.5),
    "NaN": nd.array([np.nan] * len(LABELS)),
}


@pytest.fixture
def make():
    """Return a function that makes a small initialised conditional VAE, the same one for the same arguments."""

    def make(mode="imperative", initialize=True, **kwargs):
        mx.random.seed(1)
        net = gluon_vae.ConditionalVAE(8, N_LATENT, 2, N_OUTPUT, N_CLASSES, **kwargs)
        if initialize:
            net.initialize(mx.init.Xavier(magnitude=6))
        if mode != "imperative":
            net.hybridize(**({"static_alloc": True, "static_shape": True} if mode == "static" else {}))
        return net

    return make


def draw_eps(n_samples=1):
    return np.random.default_rng(2).standard_normal((n_samples * len(LABELS), N_LATENT)).astype(np.float32)


def values_of(net):
    return {name: parameter.data().asnumpy() for name, parameter in net._collect_params_with_prefix().items()}


def numpy_mlp(conditioned, h, label):
    """Append the one-hot label to a vector and send it through the layers, in float64."""
    h = np.concatenate([h, np.arange(N_CLASSES) == label])
    layers = list(conditioned.network)
    for layer in layers:
        h = layer.weight.data().asnumpy().astype(float) @ h + layer.bias.data().asnumpy()
        if layer is not layers[-1]:
            h = np.maximum(h, 0)
    return h


def numpy_loss(net, x, y, eps):
    """Loss and reconstruction, one image and one draw at a time."""
    losses, outputs = [], []
    for i, (image, label) in enumerate(zip(x.astype(float), y)):
        mu, log_var = np.split(numpy_mlp(net.encoder, image, label), 2)
        kl = sum((m**2 + np.exp(s) - 1 - s) / 2 for m, s in zip(mu, log_var))
        z = mu + np.exp(log_var / 2) * eps[i :: len(x)]
        logits = np.array([numpy_mlp(net.decoder.logits, draw, label) for draw in z])
        nll = -(image * log_expit(logits) + (1 - image) * log_expit(-logits)).sum(axis=1)
        losses.append(nll.mean() + net.beta * kl)
        outputs.append(expit(logits).mean(axis=0))
    return np.array(losses), np.array(outputs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_loss_equals_an_oracle_in_numpy(make, pixels, mode, n_samples, beta):
    net, eps = make(mode, n_samples=n_samples, beta=beta), draw_eps(n_samples)
    loss = net(nd.array(pixels), nd.array(LABELS), nd.array(eps))
    expected, output = numpy_loss(net, pixels, LABELS, eps)
    np.testing.assert_allclose(loss.asnumpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(net.output.asnumpy(), output, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_samples", [2, 3])
def test_draws_of_a_batch_equal_draws_image_by_image(make, pixels, mode, n_samples):
    net, eps = make(mode, n_samples=n_samples), draw_eps(n_samples)
    together = net(nd.array(pixels), LABELS, nd.array(eps)).asnumpy()
    n = len(pixels)
    alone = [net(pixels[i : i + 1], LABELS[i : i + 1], nd.array(eps[i::n])).asscalar() for i in range(n)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_label_changes_what_comes_out(make, pixels, mode):
    net, x, eps = make(mode), nd.array(pixels), draw_eps()
    other = (LABELS + 1) % N_CLASSES
    for part, given in ((net.encoder, x), (net.decoder, nd.array(eps))):
        ours, theirs = (part(given, nd.array(y, dtype=np.int32)).asnumpy() for y in (LABELS, other))
        assert (ours != theirs).any(axis=1).all()
    ours, theirs = (net(x, y, nd.array(eps)).asnumpy() for y in (LABELS, other))
    assert (ours != theirs).all()


@pytest.mark.parametrize("mode", MODES)
def test_labels_may_come_in_any_integer_form(make, pixels, mode):
    net, eps = make(mode), nd.array(draw_eps())
    expected = net(nd.array(pixels), LABELS, eps).asnumpy()
    forms = [
        list(LABELS),
        LABELS.astype(np.uint8),
        *(nd.array(LABELS, dtype=d) for d in ("float32", "int32", "uint8")),
    ]
    for y in forms:
        np.testing.assert_array_equal(net(nd.array(pixels), y, eps).asnumpy(), expected)
        np.testing.assert_array_equal(gluon_vae.encode(net, pixels, y), gluon_vae.encode(net, pixels, LABELS))


@pytest.mark.parametrize("y", Y_IS_BAD.values(), ids=Y_IS_BAD)
def test_bad_labels_are_refused_by_name(make, pixels, y):
    net = make("static")
    codes = draw_eps()
    calls = [
        lambda: net(nd.array(pixels), y),
        lambda: gluon_vae.elbo(net, pixels, y),
        lambda: gluon_vae.log_likelihood(net, pixels, y, n_samples=2, progress=False),
        lambda: gluon_vae.encode(net, pixels, y),
        lambda: gluon_vae.reconstruct(net, pixels, y),
        lambda: gluon_vae.active_units(net, pixels, y),
        lambda: gluon_vae.generate(net, codes, y),
        lambda: gluon_vae.pixel_variance(net, codes, y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^y must be 7 integer labels from 0 to 3"):
            call()


def test_missing_labels_are_asked_for_by_name(make, pixels):
    net, codes = make(), draw_eps()
    with pytest.raises(ValueError, match=r"net\(x, y\)"):
        net(nd.array(pixels))
    with pytest.raises(ValueError, match=r"net\(x, y, eps\), got 4 arguments"):
        net(nd.array(pixels), LABELS, nd.array(codes), LABELS)
    for function in (gluon_vae.elbo, gluon_vae.encode, gluon_vae.reconstruct, gluon_vae.kl_per_dimension):
        with pytest.raises(ValueError, match=r"^y must be 7 integer labels"):
            function(net, pixels)
    for function in (gluon_vae.generate, gluon_vae.pixel_variance):
        with pytest.raises(ValueError, match=r"^y must be 7 integer labels"):
            function(net, codes)


def test_a_model_without_labels_refuses_them_by_name(make_vae, pixels):
    net, codes = make_vae(), draw_eps()
    before = values_of(net)
    for function in (gluon_vae.elbo, gluon_vae.encode, gluon_vae.reconstruct, gluon_vae.kl_per_dimension):
        with pytest.raises(ValueError, match=r"^y must be None"):
            function(net, pixels, LABELS)
    for y in (LABELS, 3):
        with pytest.raises(ValueError, match=r"^y must be None"):
            gluon_vae.generate(net, codes, y)
    with pytest.raises(ValueError, match=r"^y_train must be None"):
        gluon_vae.fit(net, pixels, y_train=LABELS, n_epochs=1, progress=False)
    with pytest.raises(ValueError, match=r"net\(x\) or net\(x, eps\)"):
        net(nd.array(pixels), nd.array(LABELS), nd.array(codes))
    assert all((values == before[name]).all() for name, values in values_of(net).items())


@pytest.mark.parametrize("digit", range(N_CLASSES))
def test_one_digit_for_all_codes(make, digit):
    net, codes = make("static"), draw_eps()
    asked = gluon_vae.generate(net, codes, digit)
    np.testing.assert_array_equal(asked, gluon_vae.generate(net, codes, np.full(len(codes), digit)))
    np.testing.assert_array_equal(asked, gluon_vae.generate(net, codes, np.int64(digit)))
    spread = gluon_vae.pixel_variance(net, codes, digit)
    np.testing.assert_allclose(spread, asked * (1 - asked), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("digit", [-1, N_CLASSES, 1.0, True, "1"])
def test_one_digit_that_is_none_is_refused(make, digit):
    with pytest.raises(ValueError, match=r"^y must be 7 integer labels from 0 to 3"):
        gluon_vae.generate(make(), draw_eps(), digit)


def test_evaluation_hands_every_image_its_own_label(make, pixels):
    """Shuffling images and labels together shuffles the answers, across the borders of batches too."""
    net = make("static")
    x, y = np.tile(pixels, (200, 1)), np.tile(LABELS, 200)
    order = np.random.default_rng(0).permutation(len(x))
    for function in (gluon_vae.encode, gluon_vae.reconstruct):
        answers = function(net, x, y)
        np.testing.assert_allclose(answers[:7], function(net, pixels, LABELS), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(function(net, x[order], y[order]), answers[order], rtol=1e-5, atol=1e-6)


def test_importance_sampling_approaches_the_integral_given_the_label(pixels):
    """With one latent dimension log p(x|y) is a sum on a fine grid."""
    mx.random.seed(1)
    net = gluon_vae.ConditionalVAE(8, 1, 1, N_OUTPUT, N_CLASSES)
    net.initialize(mx.init.Xavier(magnitude=6))
    z = np.linspace(-8, 8, 4001, dtype=np.float32)[:, None]
    exact = []
    for image, label in zip(pixels, LABELS):
        nll = net.nll_given(nd.array(np.tile(image, (len(z), 1))), nd.array(z), nd.full(len(z), label))
        log_joint = -nll.asnumpy().astype(float) - z[:, 0] ** 2 / 2 - np.log(2 * np.pi) / 2
        exact.append(np.log(np.exp(log_joint).sum() * 0.004))
    estimate = gluon_vae.log_likelihood(net, pixels, LABELS, n_samples=4000, progress=False)
    np.testing.assert_allclose(estimate.per_image, exact, atol=0.1)


def test_fit_learns_what_only_the_label_tells():
    """The image is its label: a model that is told it needs no code, one that is not told pays for it."""
    y = np.random.default_rng(0).integers(N_CLASSES, size=400)
    x = np.repeat(np.eye(N_CLASSES, dtype=np.float32), 3, axis=1)[y]
    mx.random.seed(0)
    told, untold = gluon_vae.ConditionalVAE(16, 2, 1, 12, N_CLASSES), gluon_vae.VAE(16, 2, 1, 12)
    settings = {"n_epochs": 30, "batch_size": 50, "learning_rate": 0.02, "progress": False}
    history = gluon_vae.fit(told, x, x[:100], y_train=y, y_test=y[:100], **settings)
    without = gluon_vae.fit(untold, x, x[:100], **settings)
    assert history["test_loss"][-1] < 0.3
    assert without["test_loss"][-1] > np.log(4) - 0.1
    drawn = gluon_vae.generate(told, gluon_vae.prior_draws(50, 2), 2).round()
    np.testing.assert_array_equal(drawn, np.tile(np.repeat(np.eye(4)[2], 3), (50, 1)))


@pytest.mark.parametrize("initialize", [True, False])
@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({}, "y_train"),
        ({"y_test": LABELS}, "y_train"),
        ({"y_train": LABELS}, "y_test"),
        ({"y_train": LABELS[:-1], "y_test": LABELS}, "y_train"),
        ({"y_train": LABELS, "y_test": LABELS + 1}, "y_test"),
        ({"y_train": LABELS.astype(float), "y_test": LABELS}, "y_train"),
    ],
)
def test_fit_refuses_bad_labels_before_anything_happens(make, pixels, tmp_path, labels, name, initialize):
    net = make(initialize=initialize)
    before = values_of(net) if initialize else None
    called, file = [], tmp_path / "checkpoint"
    with pytest.raises(ValueError, match=rf"^{name} must be 7 integer labels from 0 to 3"):
        gluon_vae.fit(net, pixels, pixels, **labels, n_epochs=1, checkpoint=file, on_epoch=called.append)
    assert not called
    assert not file.exists()
    if initialize:
        assert all((values == before[key]).all() for key, values in values_of(net).items())
    else:
        with pytest.raises(RuntimeError, match="not been initialized"):
            values_of(net)


def test_resuming_needs_the_same_labels(make, pixels, tmp_path):
    file = tmp_path / "checkpoint"
    run = {"n_epochs": 1, "checkpoint": file, "progress": False}
    gluon_vae.fit(make(initialize=False), pixels, y_train=LABELS, **run)
    with pytest.raises(ValueError, match="training labels"):
        gluon_vae.fit(make(initialize=False), pixels, y_train=LABELS[::-1], resume=True, **run)
    gluon_vae.fit(make(initialize=False), pixels, y_train=list(LABELS), resume=True, **run)
