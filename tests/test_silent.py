"""What would go wrong without a word: settings and values that MXNet, Gluon or NumPy pass over in silence."""

import numpy as np
import pytest
from conftest import N_LATENT, N_OUTPUT, make
from scipy.stats import norm

import gluon_vae
from gluon_vae import adam, arrays, compiled_adam, plotting
from gluon_vae.checkpoint import parameters_of

import mxnet as mx
from mxnet import autograd, gluon, nd

TRAINED = {"n_epochs": 2, "batch_size": 4, "progress": False}


def moved(net, before):
    return {name: bool((values != before[name]).any()) for name, values in parameters_of(net).items()}


@pytest.mark.parametrize("compiled", [True, False])
def test_frozen_and_slowed_parameters_are_trained_as_gluon_trains_them(compiled, x, monkeypatch):
    """Beside Gluon's own Trainer: a few steps of the same gradients, one parameter with weight decay."""
    if not compiled:
        monkeypatch.setattr(compiled_adam, "_compiled", lambda *arguments: None)
    x, eps = nd.array(x), nd.random.normal(shape=(len(x), N_LATENT))
    results = []
    for ours in (True, False):
        net = make()
        net.encoder.collect_params().setattr("lr_mult", 0)
        net.decoder.logits[0].weight.lr_mult = 0.1
        net.collect_params().setattr("wd_mult", 0)
        net.decoder.logits[0].bias.wd_mult = 1e6
        before = parameters_of(net)
        if ours:
            step = adam.Adam(net).step
        else:
            settings = {"learning_rate": 0.01, "wd": adam.WEIGHT_DECAY}
            trainer = gluon.Trainer(net.collect_params(), "adam", settings)
            step = lambda rate, batch_size, trainer=trainer: trainer.step(batch_size)  # noqa: E731
        for _ in range(5):
            with autograd.record():
                loss = net(x, eps)
            loss.backward()
            step(0.01, len(x))
        changed = moved(net, before)
        assert not any(change for name, change in changed.items() if name.startswith("encoder"))
        assert all(change for name, change in changed.items() if name.startswith("decoder"))
        results.append(parameters_of(net))
    for name, values in results[0].items():
        np.testing.assert_allclose(values, results[1][name], rtol=1e-4, atol=1e-6)


def test_fit_leaves_a_frozen_encoder_alone_also_when_frozen_between_epochs(x):
    for freeze in (
        lambda net: net.encoder.collect_params().setattr("lr_mult", 0),
        lambda net: net.encoder.collect_params().setattr("grad_req", "null"),
    ):
        net, kept = make(), []

        def on_epoch(history, net=net, freeze=freeze, kept=kept):
            if len(history["epoch"]) == 1:
                freeze(net)
                kept.append(parameters_of(net))

        gluon_vae.fit(net, x, on_epoch=on_epoch, **TRAINED | {"n_epochs": 3})
        changed = moved(net, kept[0])
        assert not any(change for name, change in changed.items() if name.startswith("encoder"))
        assert any(change for name, change in changed.items() if name.startswith("decoder"))


def test_what_is_freed_between_epochs_is_trained_from_then_on(x):
    net = make()
    net.encoder.collect_params().setattr("grad_req", "null")
    before = parameters_of(net)

    def on_epoch(history):
        if len(history["epoch"]) == 1:
            assert not any(change for name, change in moved(net, before).items() if name.startswith("encoder"))
            net.encoder.collect_params().setattr("grad_req", "write")

    gluon_vae.fit(net, x, on_epoch=on_epoch, **TRAINED)
    assert any(change for name, change in moved(net, before).items() if name.startswith("encoder"))


def test_mxnet_leaves_the_bias_of_a_frozen_weight_without_a_gradient():
    """If this fails, MXNet has learned it, and what is refused below need not be."""
    layer = gluon.nn.Dense(3, in_units=5)
    layer.initialize()
    layer.weight.grad_req = "null"
    layer.bias.grad()[:] = 7
    with autograd.record():
        loss = layer(nd.ones((4, 5))).sum()
    loss.backward()
    np.testing.assert_array_equal(layer.bias.grad().asnumpy(), 7)  # which should be 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda net: net.collect_params().setattr("grad_req", "add"), ("grad_req", "'add'", "encoder.0.weight")),
        (lambda net: net.collect_params().setattr("grad_req", "null"), ("parameter to train", "'null'")),
        (lambda net: setattr(net.encoder[0].weight, "grad_req", "null"), ("frozen weight", "encoder.0.bias")),
        (lambda net: net.collect_params().reset_ctx([mx.cpu(0), mx.cpu(1)]), ("one device", "cpu(1)")),
    ],
)
def test_what_fit_cannot_train_right_is_refused_by_name(spoil, words, x):
    net = make()
    spoil(net)
    before = parameters_of(net) if "cpu(1)" not in words else None
    with pytest.raises(ValueError, match="net must") as refused:
        gluon_vae.fit(net, x, **TRAINED)
    for word in words:
        assert word in str(refused.value)
    assert before is None or not any(moved(net, before).values())


CALLS = {
    "encode": lambda net, x: gluon_vae.encode(net, x),
    "generate": lambda net, x: gluon_vae.generate(net, gluon_vae.prior_draws(3, net.n_latent)),
    "pixel_variance": lambda net, x: gluon_vae.pixel_variance(net, gluon_vae.prior_draws(3, net.n_latent)),
    "reconstruct": lambda net, x: gluon_vae.reconstruct(net, x),
    "elbo": lambda net, x: gluon_vae.elbo(net, x),
    "log_likelihood": lambda net, x: gluon_vae.log_likelihood(net, x, n_samples=3, progress=False),
    "kl_per_dimension": lambda net, x: gluon_vae.kl_per_dimension(net, x),
    "active_units": lambda net, x: gluon_vae.active_units(net, x),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_network_with_spoiled_parameters_or_none_is_refused(call, x):
    net = make()
    weight = net.decoder.logits[0].weight
    weight.set_data(nd.full(weight.shape, np.nan))  # which a ReLU turns into 0
    with pytest.raises(ValueError, match=r"finite parameters.*decoder\.logits\.0\.weight"):
        CALLS[call](net, x)
    with pytest.raises(ValueError, match="net must have parameters"):
        CALLS[call](gluon_vae.VAE(8, N_LATENT, 1, N_OUTPUT), x)
    with pytest.raises(ValueError, match="net must be a Gluon block, got str"):
        gluon_vae.encode("net", x)


@pytest.mark.parametrize("value", [1e39, -1e39, np.nan, np.inf])
def test_codes_and_noise_are_finite_in_the_type_that_is_computed_in(value, x):
    net = make()
    codes = np.full((2, N_LATENT), value)  # 1e39 is a float64 and no float32
    with pytest.raises(ValueError, match="z must be finite"):
        gluon_vae.generate(net, codes)
    with pytest.raises(ValueError, match="eps must be finite"):
        net(x[:2], codes)
    net.cast("float64")
    if np.isfinite(value):
        assert np.isfinite(gluon_vae.generate(net, np.full((2, N_LATENT), value / 1e30))).all()


@pytest.mark.parametrize("n_draws", [1, 3])
def test_the_elbo_is_that_of_the_model_whatever_weight_and_when_it_was_set(n_draws, x):
    plain, weighted = make(mode="static"), make(mode="static", beta=4)
    expected = gluon_vae.elbo(plain, x, n_samples=n_draws).per_image
    np.testing.assert_allclose(gluon_vae.elbo(weighted, x, n_samples=n_draws).per_image, expected, rtol=1e-6)
    weighted.beta = 0.5
    np.testing.assert_allclose(gluon_vae.elbo(weighted, x, n_samples=n_draws).per_image, expected, rtol=1e-6)


def test_masked_values_are_refused_and_an_empty_mask_is_none(x):
    net = make()
    masked = np.ma.masked_array(x, mask=x > 0.9)
    with pytest.raises(ValueError, match="masked"):
        gluon_vae.encode(net, masked)
    labels = np.ma.masked_array([0, 1, 2], mask=[0, 1, 0])
    with pytest.raises(ValueError, match="y_train must have no masked"):
        gluon_vae.fit(gluon_vae.ConditionalVAE(n_output=N_OUTPUT), x[:3], y_train=labels)
    unmasked = np.ma.masked_array(x)
    np.testing.assert_array_equal(gluon_vae.encode(net, unmasked), gluon_vae.encode(net, x))


def test_test_labels_without_test_images_are_refused(x):
    net = gluon_vae.ConditionalVAE(n_output=N_OUTPUT)
    y = np.zeros(len(x), int)
    with pytest.raises(ValueError, match="y_test must come with x_test"):
        gluon_vae.fit(net, x, y_train=y, y_test=y)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cpu"}, ("device", "Context", "'cpu'")),
        ({"on_epoch": 5}, ("on_epoch", "callable", "5")),
        ({"progress": "no"}, ("progress", "True or False", "'no'")),
        ({"resume": "no"}, ("resume", "True or False")),
        ({"binarize": "no"}, ("binarize", "True or False")),
        ({"learning_rate": 10**400}, ("learning_rate", "finite")),
        ({"n_epochs": -(10**5000)}, ("n_epochs", "many digits")),
        ({"schedule": np.array(["cosine", "constant"])}, ("schedule", "cosine, constant", "array")),
        ({"seed": np.arange(1000)}, ("seed", "...")),
    ],
)
def test_arguments_of_fit_are_named_on_one_short_line(options, words, x):
    with pytest.raises(ValueError, match="must") as refused:
        gluon_vae.fit(make(), x, **TRAINED | options)
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 250
    for word in words:
        assert word in message


def test_fit_of_no_network_is_refused(x):
    with pytest.raises(ValueError, match="net must be Block, got None"):
        gluon_vae.fit(None, x)


def sequence(*layers):
    net = gluon.nn.HybridSequential()
    net.add(*layers)
    return net


def deferred():
    """Layers without ``in_units``, which is Gluon's ordinary way."""
    encoder = sequence(gluon.nn.Dense(8, activation="relu"), gluon.nn.Dense(2 * N_LATENT))
    decoder = sequence(gluon.nn.Dense(8, activation="relu"), gluon.nn.Dense(N_OUTPUT))
    return gluon_vae.ComposedVAE(encoder, decoder, N_LATENT, N_OUTPUT)


@pytest.mark.parametrize("mode", ["imperative", "static"])
def test_layers_that_find_out_their_sizes_are_trained_saved_and_loaded(mode, x, tmp_path):
    def train(net, **options):
        if mode == "static":
            net.hybridize(static_alloc=True, static_shape=True)
        gluon_vae.fit(net, x, checkpoint=tmp_path / "checkpoint", **TRAINED | options)
        return net

    net = train(deferred())
    again = gluon_vae.load(tmp_path / "checkpoint", deferred())
    np.testing.assert_array_equal(gluon_vae.encode(again, x), gluon_vae.encode(net, x))
    resumed = train(deferred(), resume=True)
    np.testing.assert_array_equal(gluon_vae.encode(resumed, x), gluon_vae.encode(net, x))


@pytest.mark.parametrize(
    ("encoder", "decoder", "words"),
    [
        (sequence(gluon.nn.Dense(5)), sequence(gluon.nn.Dense(N_OUTPUT)), ("encoder", "(batch, 6)", "(batch, 5)")),
        (sequence(gluon.nn.Dense(8)), sequence(gluon.nn.Dense(N_OUTPUT)), ("encoder", "(batch, 6)", "(batch, 8)")),
        (sequence(gluon.nn.Dense(6)), sequence(gluon.nn.Dense(9)), ("decoder", f"(batch, {N_OUTPUT})", "(batch, 9)")),
    ],
)
def test_networks_of_another_width_are_refused_when_they_are_composed(encoder, decoder, words):
    with pytest.raises(ValueError, match="must map") as refused:
        gluon_vae.ComposedVAE(encoder, decoder, N_LATENT, N_OUTPUT)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("side", [28, 64, 128])
def test_calls_are_as_large_as_memory_allows(side):
    net = gluon_vae.ConvVAE((4, 8), 3, side**2)
    x = nd.zeros((2000, side**2))
    rows = arrays.rows_per_call(net, [x], at_most=10**9)
    # Twice the picture, four channels of a quarter, eight of a sixteenth, on either side; activations apart.
    assert 4 * side**2 * rows * 4 < arrays.BUDGET < 40 * side**2 * rows * 4
    assert arrays.rows_per_call(net, [x]) == min(rows, 1000)


def test_results_do_not_depend_on_how_large_the_calls_are(x, monkeypatch):
    net = make(mode="static")
    calls = (gluon_vae.encode, gluon_vae.reconstruct, lambda net, x: gluon_vae.elbo(net, x).per_image.shape)
    expected = [call(net, x) for call in calls]
    monkeypatch.setattr(arrays, "BUDGET", 1)  # one row at a time
    for call, whole in zip(calls, expected):
        np.testing.assert_allclose(call(net, x), whole, rtol=1e-5)


def test_a_network_that_cannot_be_traced_is_called_all_the_same(x):
    class Shaped(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return nd.concat(x[:, : 2 * N_LATENT] * x.shape[1], dim=1)

    net = gluon_vae.ComposedVAE(Shaped(), sequence(gluon.nn.Dense(N_OUTPUT, in_units=N_LATENT)), N_LATENT, N_OUTPUT)
    net.initialize()
    expected = N_OUTPUT * x[:, :N_LATENT]
    np.testing.assert_allclose(gluon_vae.encode(net, x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("n", "n_sigma"), [(1, 3), (2, 9), (3, 9), (20, 3), (21, 37), (4, 0.1), (1, None), (2, None), (9, None)]
)
def test_the_grid_is_symmetric_finite_and_as_wide_as_asked(n, n_sigma):
    z, ticks = gluon_vae.latent_grid(n, n_sigma)
    assert np.isfinite(z).all()
    np.testing.assert_array_equal(ticks, -ticks[::-1])
    widest = norm.ppf(1 - 0.5 / n) if n_sigma is None else n_sigma
    np.testing.assert_allclose(ticks[-1], widest if n > 1 else 0, rtol=1e-12)
    assert (np.diff(ticks) > 0).all()


def test_a_grid_beyond_all_probability_is_refused():
    with pytest.raises(ValueError, match="n_sigma must be at most 37"):
        gluon_vae.latent_grid(3, 38)


def test_pictures_of_bytes_are_refused():
    ax = plotting.Axes  # nothing is drawn
    for draw in (
        lambda x: plotting.plot_images(x, ax, title=""),
        lambda x: plotting.plot_reconstructions(x, x, ax),
        lambda x: plotting.plot_latent_grid(x, np.arange(2), ax),
    ):
        with pytest.raises(ValueError, match="images must be floating point"):
            draw(np.full((4, 16), 200, np.uint8))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"pad": -1}, "pad"),
        ({"pad": 1.5}, "pad"),
        ({"pad_value": "white"}, "pad_value"),
        ({"n_columns": 0}, "n_columns"),
    ],
)
def test_arguments_of_a_sheet_are_named(arguments, word):
    with pytest.raises(ValueError, match=f"{word} must"):
        plotting.image_grid(np.zeros((4, 16)), **arguments)


@pytest.mark.parametrize("ticks", [3, np.zeros((2, 2)), ["a", "b"], [0.0, np.nan]])
def test_ticks_of_a_grid_are_named(ticks):
    with pytest.raises(ValueError, match="ticks must"):
        plotting.plot_latent_grid(np.zeros((4, 16)), ticks, plotting.Axes)
