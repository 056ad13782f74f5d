"""Lines and arcs between codes: where they begin, how they go on, where they end."""

import numpy as np
import pytest
from conftest import refused
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from gluon_vae import interpolate

SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 30))


def two(shape, seed):
    return np.random.default_rng(seed).standard_normal((2, *shape)).astype(np.float32)


@given(SHAPES, st.integers(2, 9), st.integers(0, 99), st.booleans())
def test_a_way_begins_and_ends_where_it_should_to_the_last_bit(shape, n_steps, seed, arc):
    start, end = two(shape, seed)
    path = interpolate(start, end, n_steps, arc=arc)
    assert path.shape == (shape[0], n_steps, shape[1])
    assert path.dtype == np.float32
    np.testing.assert_array_equal(path[:, 0], start)
    np.testing.assert_array_equal(path[:, -1], end)
    back = interpolate(end, start, n_steps, arc=arc)
    np.testing.assert_allclose(path, back[:, ::-1], atol=1e-5)


@given(SHAPES, st.integers(3, 9), st.integers(0, 99))
def test_steps_of_a_line_are_equal(shape, n_steps, seed):
    steps = np.diff(interpolate(*two(shape, seed), n_steps).astype(float), axis=1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1], steps.shape), atol=1e-5)


@given(SHAPES, st.integers(3, 9), st.integers(0, 99))
def test_an_arc_turns_by_equal_angles_and_grows_by_equal_steps(shape, n_steps, seed):
    start, end = two(shape, seed)
    path = interpolate(start, end, n_steps, arc=True).astype(float)
    lengths = np.linalg.norm(path, axis=2)
    np.testing.assert_allclose(lengths, np.linspace(lengths[:, 0], lengths[:, -1], n_steps, axis=1), atol=1e-4)
    u = path / lengths[..., None]
    chords = np.linalg.norm(np.diff(u, axis=1), axis=2)
    np.testing.assert_allclose(chords, np.broadcast_to(chords[:, :1], chords.shape), atol=1e-4)
    # In the plane of both ends: nothing is left beside it.
    plane = np.linalg.qr(np.stack([start, end], axis=2).astype(float))[0]
    inside = np.einsum("nij,nkj->nik", plane, plane)
    np.testing.assert_allclose(np.einsum("nij,nsj->nsi", inside, path), path, atol=1e-4)


@pytest.mark.parametrize("arc", [False, True])
def test_the_axes_are_of_no_consequence(arc):
    start, end = two((5, 8), 0)
    turn = ortho_group.rvs(8, random_state=0)
    path = interpolate(start, end, 7, arc=arc) @ turn
    np.testing.assert_allclose(interpolate(start @ turn, end @ turn, 7, arc=arc), path, atol=1e-5)


def test_the_middle_of_draws_from_the_prior_has_their_length_on_the_arc_only():
    start, end = two((400, 200), 0)
    for arc, length in ((False, np.sqrt(200 / 2)), (True, np.sqrt(200))):
        middle = interpolate(start, end, 3, arc=arc)[:, 1]
        assert np.linalg.norm(middle, axis=1).mean() == pytest.approx(length, rel=0.02)


def test_codes_in_one_direction_are_joined_by_a_line_either_way():
    start = two((3, 4), 0)[0]
    for end in (start, 3 * start):
        np.testing.assert_allclose(interpolate(start, end, 5, arc=True), interpolate(start, end, 5), atol=1e-6)


def test_what_has_no_way_is_refused():
    start, end = two((3, 4), 0)
    with refused("end must have the shape of start", "(3, 4)", "(2, 4)"):
        interpolate(start, end[:2])
    with refused("n_steps must be at least 2"):
        interpolate(start, end, 1)
    with refused("n_steps"):
        interpolate(start, end, 2.5)
    with refused("start must be finite"):
        interpolate(start * np.nan, end)
    with refused("opposite"):
        interpolate(start, -2 * start, arc=True)
    with refused("origin"):
        interpolate(start, 0 * end, arc=True)
    assert np.isfinite(interpolate(start, -2 * start)).all()
