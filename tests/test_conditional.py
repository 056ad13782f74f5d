"""What a conditional model does with its labels."""

import re
from functools import partial

import numpy as np
import pytest
from conftest import MODES, N_LATENT, make, refused, unchanged

import gluon_vae
from gluon_vae.contract import is_initialized

from mxnet import nd

N_CLASSES = 4
LABELS = np.array([0, 3, 1, 2, 2, 0, 1])
# What may not come in as labels, and what the error says of it.
Y_IS_BAD = {
    "too large": (LABELS + 1, "values from 1 to 4"),
    "negative": (LABELS - 1, "values from -1 to 2"),
    "too short": (LABELS[:-1], "(6,)"),
    "too long": ([*LABELS, 0], "(8,)"),
    "of rank 2": (LABELS[:, None], "(7, 1)"),
    "one-hot": (np.eye(N_CLASSES, dtype=int)[LABELS], "(7, 4)"),
    "floating": (LABELS.astype(float), "float64"),
    "boolean": (LABELS > 1, "bool"),
    "strings": (LABELS.astype(str), "dtype <U"),
    "fractions": (nd.array(LABELS + 0.5), "float32"),
    "NaN": (nd.array([np.nan] * len(LABELS)), "float32"),
    "too short, an NDArray": (nd.array(LABELS[:-1]), "(6,)"),
}
WANTED = "must be 7 integer labels from 0 to 3"

make_conditional = partial(make, "conditional", n_classes=N_CLASSES)


def draw_eps(n_samples=1):
    return np.random.default_rng(2).standard_normal((n_samples * len(LABELS), N_LATENT)).astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_samples", [2, 3])
def test_draws_of_a_batch_equal_draws_image_by_image(x, mode, n_samples):
    net, eps = make_conditional(mode, n_samples=n_samples), draw_eps(n_samples)
    together = net(nd.array(x), LABELS, nd.array(eps)).asnumpy()
    n = len(x)
    alone = [net(x[i : i + 1], LABELS[i : i + 1], nd.array(eps[i::n])).asscalar() for i in range(n)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_label_changes_what_comes_out(x, mode):
    net, x, eps = make_conditional(mode), nd.array(x), draw_eps()
    other = (LABELS + 1) % N_CLASSES
    for part, given in ((net.encoder, x), (net.decoder, nd.array(eps))):
        ours, theirs = (part(given, nd.array(y, dtype=np.int32)).asnumpy() for y in (LABELS, other))
        assert (ours != theirs).any(axis=1).all()
    ours, theirs = (net(x, y, nd.array(eps)).asnumpy() for y in (LABELS, other))
    assert (ours != theirs).all()


@pytest.mark.parametrize("mode", MODES)
def test_labels_may_come_in_any_integer_form(x, mode):
    net, eps = make_conditional(mode), nd.array(draw_eps())
    expected = net(nd.array(x), LABELS, eps).asnumpy()
    forms = [
        LABELS.tolist(),
        list(LABELS),
        LABELS.astype(np.uint8),
        *(nd.array(LABELS, dtype=d) for d in ("float32", "int32", "int64", "uint8")),
    ]
    for y in forms:
        np.testing.assert_array_equal(net(nd.array(x), y, eps).asnumpy(), expected)
        np.testing.assert_array_equal(gluon_vae.encode(net, x, y), gluon_vae.encode(net, x, LABELS))


@pytest.mark.parametrize(("y", "came"), Y_IS_BAD.values(), ids=Y_IS_BAD)
def test_bad_labels_are_refused_by_name(x, y, came):
    net = make_conditional("static")
    codes = draw_eps()
    calls = [
        lambda: net(nd.array(x), y),
        lambda: gluon_vae.elbo(net, x, y),
        lambda: gluon_vae.log_likelihood(net, x, y, n_samples=2, progress=False),
        lambda: gluon_vae.encode(net, x, y),
        lambda: gluon_vae.reconstruct(net, x, y),
        lambda: gluon_vae.active_units(net, x, y),
        lambda: gluon_vae.generate(net, codes, y),
        lambda: gluon_vae.pixel_variance(net, codes, y),
    ]
    message = rf"^y {WANTED}, got [^\n]*{re.escape(came)}[^\n]*$"
    for call in calls:
        with unchanged(net), pytest.raises(ValueError, match=message):
            call()


def test_missing_labels_are_asked_for_by_name(x):
    net, codes = make_conditional(), draw_eps()
    with unchanged(net), refused("net(x, y)"):
        net(nd.array(x))
    with unchanged(net), refused("net(x, y, eps), got 4 arguments"):
        net(nd.array(x), LABELS, nd.array(codes), LABELS)
    message = rf"^y {WANTED} for a conditional model, got None$"
    functions = gluon_vae.elbo, gluon_vae.encode, gluon_vae.reconstruct, gluon_vae.kl_per_dimension
    of_codes = gluon_vae.generate, gluon_vae.pixel_variance
    for function, given in (*((f, x) for f in functions), *((f, codes) for f in of_codes)):
        with (
            unchanged(net),
            pytest.raises(ValueError, match=message),
        ):
            function(net, given)


def test_a_model_without_labels_refuses_them_by_name(x):
    net, codes = make(), draw_eps()
    message = r"must be None for a model that takes no labels, got \w+$"
    for function in (gluon_vae.elbo, gluon_vae.encode, gluon_vae.reconstruct, gluon_vae.kl_per_dimension):
        with unchanged(net), pytest.raises(ValueError, match=f"^y {message}"):
            function(net, x, LABELS)
    for y in (LABELS, 3):
        with unchanged(net), pytest.raises(ValueError, match=f"^y {message}"):
            gluon_vae.generate(net, codes, y)
    with unchanged(net), pytest.raises(ValueError, match=f"^y_train {message}"):
        gluon_vae.fit(net, x, y_train=LABELS, n_epochs=1, progress=False)
    with unchanged(net), refused("net(x) or net(x, eps)"):
        net(nd.array(x), nd.array(LABELS), nd.array(codes))


@pytest.mark.parametrize("digit", range(N_CLASSES))
def test_one_digit_for_all_codes(digit):
    net, codes = make_conditional("static"), draw_eps()
    asked = gluon_vae.generate(net, codes, digit)
    np.testing.assert_array_equal(asked, gluon_vae.generate(net, codes, np.full(len(codes), digit)))
    np.testing.assert_array_equal(asked, gluon_vae.generate(net, codes, np.int64(digit)))
    spread = gluon_vae.pixel_variance(net, codes, digit)
    np.testing.assert_allclose(spread, asked * (1 - asked), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("digit", [-1, N_CLASSES, 1.0, True, "1"])
def test_one_digit_that_is_none_is_refused(digit):
    net = make_conditional()
    with unchanged(net), pytest.raises(ValueError, match=f"^y {WANTED}, got .*$"):
        gluon_vae.generate(net, draw_eps(), digit)


def test_evaluation_hands_every_image_its_own_label(x):
    """Shuffling images and labels together shuffles the answers, across the borders of batches too."""
    net = make_conditional("static")
    many, y = np.tile(x, (200, 1)), np.tile(LABELS, 200)
    order = np.random.default_rng(0).permutation(len(many))
    for function in (gluon_vae.encode, gluon_vae.reconstruct):
        answers = function(net, many, y)
        np.testing.assert_allclose(answers[:7], function(net, x, LABELS), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(function(net, many[order], y[order]), answers[order], rtol=1e-5, atol=1e-6)


def test_fit_learns_what_only_the_label_tells():
    """The image is its label: a model that is told it needs no code, one that is not told pays for it."""
    y = np.random.default_rng(0).integers(N_CLASSES, size=400)
    x = np.repeat(np.eye(N_CLASSES, dtype=np.float32), 3, axis=1)[y]
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
def test_fit_refuses_bad_labels_before_anything_happens(x, tmp_path, labels, name, initialize):
    net = make_conditional(initialize=initialize)
    called, file = [], tmp_path / "checkpoint"
    with unchanged(*[net] * initialize), pytest.raises(ValueError, match=f"^{name} {WANTED}"):
        gluon_vae.fit(net, x, x, **labels, n_epochs=1, checkpoint=file, on_epoch=called.append)
    assert not called
    assert not file.exists()
    assert is_initialized(net) == initialize


def test_resuming_needs_the_same_labels(x, tmp_path):
    file = tmp_path / "checkpoint"
    run = {"n_epochs": 1, "checkpoint": file, "progress": False}
    gluon_vae.fit(make_conditional(initialize=False), x, y_train=LABELS, **run)
    with pytest.raises(ValueError, match="training labels"):
        gluon_vae.fit(make_conditional(initialize=False), x, y_train=LABELS[::-1], resume=True, **run)
    gluon_vae.fit(make_conditional(initialize=False), x, y_train=list(LABELS), resume=True, **run)
