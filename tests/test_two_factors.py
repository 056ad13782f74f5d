"""experiments/two_factors.py: moons that are what they are said to be, and information where it is known."""

import numpy as np
import two_factors


def test_moons_wax_with_the_phase_and_move_with_the_place():
    x, factors = two_factors.moons(500, seed=1)
    assert x.shape == (500, two_factors.SIDE**2)
    assert x.min() >= 0
    assert x.max() <= 1
    light = x.sum(axis=1)
    assert np.corrcoef(np.argsort(np.argsort(light)), np.argsort(np.argsort(factors[:, 0])))[0, 1] > 0.99
    disc = (x > 0.1).reshape(-1, two_factors.SIDE, two_factors.SIDE).any(axis=1)
    middle = (disc * np.arange(two_factors.SIDE)).sum(axis=1) / disc.sum(axis=1) - (two_factors.SIDE - 1) / 2
    assert abs(middle - factors[:, 1]).max() < 0.8


def test_information_is_that_of_a_gaussian_channel():
    # z = factor + noise, the factor Gaussian: log(1 + signal / noise) / 2, less what the bins of the factor hide.
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((4000, 2))
    mean = np.stack([factors[:, 0], np.zeros(4000)], axis=1) * np.sqrt(0.6)
    told = two_factors.information(mean, np.full((4000, 2), np.sqrt([0.4, 1])), factors)
    assert abs(told[0, 0] - 0.5 * np.log(1 + 0.6 / 0.4)) < 0.03
    assert abs(told[0, 1]) < 1e-9
    assert 0 <= told[1, 0] < 0.01  # independent, but for the chance of 4000 draws


def test_information_is_the_entropy_of_the_bins_where_they_are_told_apart():
    factors = np.arange(1000.0)[:, None]
    bins = np.floor(np.arange(1000) / 1000 * two_factors.N_BINS)
    told = two_factors.information((bins / 2 - 5)[:, None], np.full((1000, 1), 0.05), factors)
    np.testing.assert_allclose(told, np.log(two_factors.N_BINS), rtol=1e-3)


def test_the_gap_is_1_for_axes_of_their_own_and_0_for_shared_ones():
    full = np.log(two_factors.N_BINS)
    np.testing.assert_allclose(two_factors.gap(np.array([[full, 0, 0], [0, 0, full]])), 1)
    np.testing.assert_allclose(two_factors.gap(np.array([[0.4, 0.4, 0.1], [0.2, 0.7, 0.7]])), 0)
    np.testing.assert_allclose(two_factors.gap(np.array([[0.5, 0.2], [0, 0]])), 0.15 / full)
