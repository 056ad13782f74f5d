"""The ruler for samples, where the answers are known."""

import numpy as np
import pytest
from conftest import refused
from scipy.linalg import sqrtm

import gluon_vae
from gluon_vae.sample_quality import (
    classify,
    features,
    frechet_distance,
    kernel_distance,
    precision_recall,
    sample_quality,
)

FUNCTIONS = (frechet_distance, kernel_distance, precision_recall)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def data():
    return gluon_vae.load_mnist()


def gaussians(rng, n, k, shift=0.0):
    factors = rng.standard_normal((2, k, k))
    return [rng.standard_normal((n, k)) @ factor + i * shift for i, factor in enumerate(factors)]


def test_frechet_distance_is_the_closed_form_of_means_and_covariances(rng):
    a, b = gaussians(rng, 50, 6, shift=0.7)
    covariances = np.cov(a.T), np.cov(b.T)
    shift = a.mean(axis=0) - b.mean(axis=0)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_two_gaussians_on_a_line(rng):
    a, b = rng.standard_normal((200_000, 1)), 2 + 3 * rng.standard_normal((200_000, 1))
    assert frechet_distance(a, b) == pytest.approx(2**2 + (3 - 1) ** 2, rel=0.02)


def test_frechet_distance_sees_a_shift_and_nothing_else_in_a_shifted_copy(rng):
    a = rng.standard_normal((30, 5))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, a + 0.5) == pytest.approx(5 * 0.25)
    # Fewer rows than columns: covariances without an inverse.
    few = rng.standard_normal((4, 9))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(few, 2 * few) == pytest.approx(np.sum(few.mean(axis=0) ** 2) + np.trace(np.cov(few.T)))


def test_frechet_distance_of_equal_distributions_falls_with_n(rng):
    means = [np.mean([frechet_distance(*rng.standard_normal((2, n, 8))) for _ in range(40)]) for n in (100, 200, 400)]
    # In proportion to 1/n, by the delta rule.
    assert means[0] / means[1] == pytest.approx(2, rel=0.1)
    assert means[1] / means[2] == pytest.approx(2, rel=0.1)


def test_kernel_distance_is_that_of_a_slow_double_loop(rng):
    a, b = rng.standard_normal((7, 4)), rng.standard_normal((5, 4)) + 0.3
    k = lambda x, y: (x @ y / 4 + 1) ** 3  # noqa: E731
    within = [np.mean([k(c[i], c[j]) for i in range(len(c)) for j in range(len(c)) if i != j]) for c in (a, b)]
    between = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_many_rows_are_compared_in_parts(rng, monkeypatch):
    a, b = rng.standard_normal((23, 4)), rng.standard_normal((17, 4))
    whole = [function(a, b) for function in FUNCTIONS]
    monkeypatch.setattr("gluon_vae.sample_quality.ROWS", 5)
    np.testing.assert_allclose(np.hstack([function(a, b) for function in FUNCTIONS]), np.hstack(whole), rtol=1e-12)


def test_kernel_distance_is_unbiased(rng):
    equal = [kernel_distance(*rng.standard_normal((2, 12, 3))) for _ in range(2000)]
    assert abs(np.mean(equal)) < 4 * np.std(equal) / np.sqrt(2000)
    # Of N(0, 1) and N(1, 1) with k(x, y) = (xy + 1)^3: E k = 1 + 3 m m' + 3 (1 + m^2) (1 + m'^2) + E x^3 E y^3.
    shifts = np.array([0, 1])[:, None, None]
    shifted = [kernel_distance(*(shifts + rng.standard_normal((2, 12, 1)))) for _ in range(4000)]
    expected = (1 + 3) + (1 + 3 + 3 * 4 + 4**2) - 2 * (1 + 3 * 2)
    assert abs(np.mean(shifted) - expected) < 4 * np.std(shifted) / np.sqrt(4000)
    assert np.std(shifted) / np.sqrt(4000) < 0.05 * expected


def test_precision_and_recall_are_those_of_balls_around_points_on_a_line():
    real, generated = np.array([0.0, 1, 2, 3])[:, None], np.array([0.5, 1.9, 10, 30])[:, None]
    # Radii with k = 1: 1 everywhere; 1.4, 1.4, 8.1, 20.
    assert precision_recall(real, generated, k=1) == (0.5, 1.0)
    # What lies on the rim is covered, also by a ball of radius 0.
    assert precision_recall(real, np.full((3, 1), 4.0), k=1) == (1.0, 0.0)
    assert precision_recall(real, np.full((3, 1), 2.0), k=1) == (1.0, 0.25)


def test_copies_of_a_few_are_precise_and_leave_out_the_rest(rng):
    real = rng.standard_normal((300, 8))
    assert precision_recall(real, real) == (1, 1)
    precision, recall = precision_recall(real, np.tile(real[:3], (100, 1)))
    assert precision == 1
    assert recall == 3 / 300


def test_noise_covers_everything_and_is_covered_by_little(rng):
    real, noise = 0.1 * rng.standard_normal((300, 8)), 3 * rng.standard_normal((300, 8))
    precision, recall = precision_recall(real, noise)
    assert precision < 0.02
    assert recall > 0.98


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros(4), np.zeros((4, 2)), ["at least", "(4,)"]),
        (np.zeros((1, 2)), np.zeros((4, 2)), ["at least", "(1, 2)"]),
        (np.zeros((4, 2)), np.full((4, 2), np.nan), ["finite"]),
        (np.zeros((4, 2)), np.zeros((4, 3)), ["2 columns", "got 3"]),
    ],
)
def test_what_are_no_two_sets_of_features_is_refused_by_name(function, a, b, words):
    with refused("real" if function is precision_recall else "a", *words) if a.size != 8 else refused(*words):
        function(a, b)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_bootstrap": 1}, ["n_bootstrap", "at least 2"]),
        ({"seed": -1}, ["seed"]),
        ({"x": np.zeros((7, 784), np.float32)}, ["x must", "8", "(7, 64)"]),
        ({"x_real": np.zeros((9, 783), np.float32)}, ["x", "784", "(9, 783)"]),
        ({"x": np.full((9, 784), 255.0)}, ["x", "[0, 1]"]),
    ],
)
def test_what_is_not_two_sets_of_images_is_refused(arguments, words):
    images = np.zeros((9, 784), np.float32)
    with refused(*words):
        sample_quality(**{"x": images, "x_real": images} | arguments)


def test_precision_recall_refuses_a_neighbour_that_there_is_not():
    with refused("generated", "at least 5", "(4, 2)"):
        precision_recall(np.zeros((5, 2)), np.zeros((4, 2)), k=4)
    with refused("k", "0"):
        precision_recall(np.zeros((5, 2)), np.zeros((4, 2)), k=0)


def test_stated_errors_are_the_spread_over_new_images(monkeypatch):
    """Images are stood in for by their features; each stated error is held against 100 further pairs of sets."""
    monkeypatch.setattr("gluon_vae.sample_quality.features", lambda x: np.asarray(x, float))
    rng = np.random.default_rng(0)
    draw = lambda: (1.2 * rng.standard_normal((120, 5)) + [1, 0, 0, 0, 0], rng.standard_normal((120, 5)))  # noqa: E731
    measured = [sample_quality(*draw(), n_bootstrap=10, seed=seed) for seed in range(100)]
    means, errors = np.array(measured).transpose(2, 1, 0)
    ratios = np.sqrt((errors**2).mean(axis=1)) / means.std(axis=1, ddof=1)
    # A spread of 100 is known to 7 %.
    assert ((ratios > 0.75) & (ratios < 1.5)).all(), ratios


def test_the_same_seed_chooses_the_same_halves(data):
    x, x_real = data.x_test[:60], data.x_test[60:120]
    quality = sample_quality(x, x_real, n_bootstrap=3)
    assert sample_quality(x, x_real, n_bootstrap=3) == quality
    assert sample_quality(x, x_real, n_bootstrap=3, seed=1) != quality
    real, drawn = features(x_real), features(x)
    assert quality.frechet.mean == frechet_distance(drawn, real)
    assert quality.kernel.mean == kernel_distance(drawn, real)
    assert (quality.precision.mean, quality.recall.mean) == precision_recall(real, drawn)
    assert str(quality).startswith(f"frechet {quality.frechet.mean:.2f} ± {quality.frechet.standard_error:.2f}, kern")


def blurred(x):
    images = x.reshape(-1, 28, 28)
    return sum(np.roll(images, (i, j), axis=(1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)).reshape(x.shape) / 9


def test_digits_left_out_show_in_recall_and_not_in_precision(data):
    x = data.x_test
    real, others = features(x), features(data.x_train[:1000])
    few = features(data.x_train[data.y_train < 5][:1000])
    whole, part = precision_recall(real, others), precision_recall(real, few)
    assert min(whole) > 0.75
    assert part[0] > whole[0] - 0.05
    assert part[1] < 0.65 * whole[1]
    assert frechet_distance(real, few) > 5 * frechet_distance(real, others)


def test_damage_grows_the_distances_and_lowers_precision(data):
    x = data.x_train[:1000]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(x.shape).astype(np.float32)
    once = blurred(x)
    blurs = [x, once, blurred(once)]
    noises = [np.clip(x + strength * noise, 0, 1) for strength in (0, 0.2, 0.4)]
    real = features(data.x_test)
    for steps in (blurs, noises):
        seen = [features(images) for images in steps]
        for distance in (frechet_distance, kernel_distance):
            values = [distance(real, one) for one in seen]
            assert values[0] < values[1] < values[2], (distance, values)
        assert precision_recall(real, seen[0])[0] > precision_recall(real, seen[2])[0] + 0.1


def test_real_digits_are_as_far_from_each_other_as_the_error_says(data):
    quality = sample_quality(data.x_train[:1000], data.x_test)
    assert abs(quality.kernel.mean) < 4 * quality.kernel.standard_error
    assert quality.frechet.mean < 3
    assert classify(data.x_test).shape == (1000, 10)
