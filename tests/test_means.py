"""The means over an epoch are those of all steps, however many are read at once; a step that fails is named."""

import numpy as np
import pytest

from gluon_vae.distributed import Alone
from gluon_vae.means import LOOKAHEAD, Means

from mxnet import nd

SIZES = (0, 1, LOOKAHEAD, 2 * LOOKAHEAD - 1, 2 * LOOKAHEAD, 5 * LOOKAHEAD + 3)


@pytest.mark.parametrize("n_steps", SIZES)
def test_every_step_counts_once(n_steps):
    rng, means = np.random.default_rng(0), Means("epoch 1")
    values = rng.random((n_steps, 2, 3)).astype(np.float32)
    for value in values:
        means.add(["loss", "kl"], nd.array(value))
    expected = values.sum(axis=(0, 2), dtype=np.float64) / 7
    found = means.over(7, Alone())
    assert list(found) == ["train_loss", "train_kl"] * (n_steps > 0)
    np.testing.assert_allclose(list(found.values()), expected[: len(found)], rtol=1e-12)
    assert means.where == f"epoch 1, step {n_steps}"


@pytest.mark.parametrize("step", SIZES[1:])
def test_the_step_that_is_not_finite_is_named(step):
    def over_all():
        means = Means("epoch 4")
        for i in range(SIZES[-1]):
            means.add(["loss"], nd.full((1, 3), np.nan if i >= step - 1 else 1))
        means.over(1, Alone())

    with pytest.raises(FloatingPointError, match=f"epoch 4, step {step}$"):
        over_all()


def test_no_more_steps_are_under_way_than_two_times_those_ahead():
    means = Means("epoch 1")
    for i in range(SIZES[-1]):
        means.add(["loss"], nd.ones((1, 2)))
        assert i + 1 - int(means.where.split()[-1]) <= 2 * LOOKAHEAD
