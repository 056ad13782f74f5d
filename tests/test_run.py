"""What a run is: settings that check themselves and stay, and the batches that follow from them."""

import json
import zlib
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from conftest import N_LATENT, N_OUTPUT, make, refused

import gluon_vae
from gluon_vae.contract import is_initialized
from gluon_vae.run import Run, facts

import mxnet as mx
from mxnet import autograd

OTHERS = {
    "n_epochs": 3,
    "batch_size": 7,
    "learning_rate": 0.1,
    "schedule": "constant",
    "seed": 5,
    "binarize": True,
    "rate_warmup": 6,
    "kl_warmup": 4,
    "patience": 2,
    "clip_norm": 0.5,
}


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("n_epochs", 0, "positive integer"),
        ("n_epochs", 2.5, "positive integer"),
        ("batch_size", 0, "positive integer"),
        ("batch_size", -1, "positive integer"),
        ("learning_rate", 0, "positive finite number"),
        ("learning_rate", float("inf"), "positive finite number"),
        ("learning_rate", float("nan"), "positive finite number"),
        ("learning_rate", "fast", "positive finite number"),
        ("schedule", "step", "cosine, constant"),
        ("schedule", None, "cosine, constant"),
        ("seed", -1, "non-negative integer"),
        ("seed", 0.5, "non-negative integer"),
        ("binarize", 1, "True or False"),
        ("rate_warmup", -1, "non-negative integer"),
        ("kl_warmup", -1, "non-negative integer"),
        ("kl_warmup", 0.5, "non-negative integer"),
        ("patience", 0, "positive integer"),
        ("patience", True, "positive integer"),
        ("clip_norm", 0, "positive finite number"),
        ("clip_norm", float("inf"), "positive finite number"),
    ],
)
def test_a_bad_setting_is_named_before_anything_is_trained(name, value, accepted, x):
    net = make(initialize=False)
    for use in (lambda: Run(**{name: value}), lambda: gluon_vae.fit(net, x, progress=False, **{name: value})):
        with refused(name, accepted, repr(value)):
            use()
    assert not is_initialized(net)


def test_an_unknown_setting_is_named_before_anything_is_trained(x):
    net = make(initialize=False)
    for use in (lambda: Run(epochs=3), lambda: gluon_vae.fit(net, x, epochs=3, progress=False)):
        with refused("'epochs'", error=TypeError):
            use()
    assert not is_initialized(net)


def test_settings_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        Run(20)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_step_size_rises_in_proportion_to_the_steps_and_is_then_as_without(schedule):
    run, without = (Run(n_epochs=8, rate_warmup=epochs, schedule=schedule) for epochs in (2, 0))
    for epochs in (0, 0.25, 1, 2, 3.5, 8):
        assert run.rate(epochs / 8) == pytest.approx(min(epochs / 2, 1) * without.rate(epochs / 8), rel=1e-12)
    assert [rate for _, rate, _ in run.batches([mx.nd.zeros((4, 3))], 1)] == [0]


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_stays_as_it_is_and_equals_those_with_the_same_settings(name):
    run, other = Run(), Run(**{name: OTHERS[name]})
    with pytest.raises(FrozenInstanceError, match=name):
        setattr(run, name, OTHERS[name])
    assert run == Run() != other
    assert asdict(other) == asdict(run) | {name: OTHERS[name]}
    assert replace(other, **{name: getattr(run, name)}) == run
    assert asdict(run).keys() == OTHERS.keys()


def test_numbers_of_numpy_become_those_of_python():
    run = Run(n_epochs=np.int64(3), learning_rate=np.float32(0.5), seed=np.uint8(4), binarize=np.bool_(True))
    assert json.loads(json.dumps(asdict(run))) == asdict(
        Run(n_epochs=3, learning_rate=0.5, seed=4, binarize=True),
    )


def test_what_was_not_asked_for_is_not_among_the_facts_that_older_checkpoints_lack(x):
    net = make()
    old = {"model", "config", "n_epochs", "batch_size", "learning_rate", "schedule", "seed", "binarize"}
    assert facts(net, Run(), (x,), None).keys() == old | {"training images"}
    net.encoder[0].weight.lr_mult = 0.5
    now = facts(net, Run(rate_warmup=1, kl_warmup=2, patience=3, clip_norm=1), (x,), (x,))
    assert {name: now[name] for name in now.keys() - old} == {
        "rate_warmup": 1,
        "kl_warmup": 2,
        "patience": 3,
        "clip_norm": 1.0,
        "lr_mult": {"encoder.0.weight": 0.5},
        **dict.fromkeys(("training images", "test images"), zlib.crc32(x)),
    }


def test_binarized_training_sees_fresh_binary_images_with_the_grey_means(x):
    seen, evaluated = [], []

    class Watched(gluon_vae.VAE):
        def forward(self, x, *args):
            (seen if autograd.is_recording() else evaluated).append(x.asnumpy())
            return super().forward(x, *args)

    net = Watched(n_hidden=4, n_latent=N_LATENT, n_output=N_OUTPUT)
    gluon_vae.fit(net, np.repeat(x[:1], 200, axis=0), x, n_epochs=2, batch_size=50, binarize=True, progress=False)
    seen = np.concatenate(seen)
    assert set(np.unique(seen)) == {0, 1}
    error = (seen.mean(axis=0) - x[0]) / np.sqrt(np.maximum(x[0] * (1 - x[0]), 1e-6) / len(seen))
    assert np.abs(error).max() < 5
    assert (seen[0] != seen[1]).any()
    assert (seen[:200] != seen[200:]).any(axis=1).all()  # the second epoch's are others
    np.testing.assert_array_equal(evaluated[0], x)  # grey as they came
