"""MXNet's global generator: used from a known seed, left where a script's own draws go on."""

import numpy as np
import pytest
from conftest import N_OUTPUT, make

import gluon_vae
from gluon_vae.generator import seeded

import mxnet as mx
from mxnet import nd


def draw():
    return nd.random.normal(shape=(3,)).asnumpy()


CALLS = {
    "elbo": lambda net, x: gluon_vae.elbo(net, x),
    "log_likelihood": lambda net, x: gluon_vae.log_likelihood(net, x, n_samples=5, progress=False),
    "generate": lambda net, x: gluon_vae.generate(net, gluon_vae.encode(net, x), pixels="sample"),
    "fit": lambda net, x: gluon_vae.fit(net, x, n_epochs=1, learning_rate=1e-9, progress=False),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_loop_that_evaluates_draws_new_noise_in_every_epoch(call, x):
    net = make()
    seen = []
    for seed in (5, 6):
        mx.random.seed(seed)
        for _ in range(3):
            CALLS[call](net, x)
            seen.append(draw())
    assert len(np.unique(seen)) == 3 * 6  # nothing twice, in no epoch and under no seed
    mx.random.seed(5)
    CALLS[call](net, x)
    np.testing.assert_array_equal(draw(), seen[0])  # and all of it follows from the script's seed


@pytest.mark.parametrize("call", ["elbo", "log_likelihood"])
def test_without_a_seed_the_generator_is_used_as_it_is(call, x):
    net = make()
    options = {} if call == "elbo" else {"n_samples": 5, "progress": False}
    function = getattr(gluon_vae, call)
    mx.random.seed(5)
    first, second = (function(net, x, seed=None, **options).per_image for _ in range(2))
    assert (first != second).all()
    mx.random.seed(5)
    np.testing.assert_array_equal(function(net, x, seed=None, **options).per_image, first)


def test_large_seeds_differ():
    seen = []
    for seed in (0, 2**31, 2**32, 2**63, 2**64):
        with seeded(seed):
            seen.append(draw())
    assert len(np.unique(seen)) == 3 * 5


def test_the_generator_moves_on_after_an_error():
    net = make()
    mx.random.seed(5)
    plain = draw()
    mx.random.seed(5)
    with pytest.raises(RuntimeError, match="on purpose"), seeded(0):
        raise RuntimeError("on purpose")
    assert (draw() != plain).all()
    assert gluon_vae.elbo(net, np.zeros((2, N_OUTPUT), "f4")).mean < 0
