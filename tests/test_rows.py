"""Rows that are yet to be taken are those that MXNet takes at once."""

import numpy as np
import pytest

from gluon_vae.arrays import batches
from gluon_vae.rows import Rows, taken

from mxnet import nd


@pytest.fixture
def rows():
    array = nd.random.uniform(shape=(9, 3))
    return Rows(array, nd.array([4, 1, 8, 1, 0], dtype="int32")), array.asnumpy()[[4, 1, 8, 1, 0]]


def test_they_are_taken_where_they_are_wanted(rows):
    rows, expected = rows
    assert (len(rows), rows.shape, rows.dtype) == (5, (5, 3), np.float32)
    np.testing.assert_array_equal(taken(rows).asnumpy(), expected)
    place = nd.zeros((7, 3))
    rows.copyto(place[1:6])
    np.testing.assert_array_equal(place.asnumpy(), np.pad(expected, ((1, 1), (0, 0))))


def test_a_part_of_them_has_its_own_shape(rows):
    rows, expected = rows
    parts = [part for (part,) in batches([rows], 2)]
    assert [part.shape for part in parts] == [(2, 3), (2, 3), (1, 3)]
    np.testing.assert_array_equal(np.concatenate([taken(part).asnumpy() for part in parts]), expected)


def test_an_array_is_taken_as_it_is():
    array = nd.ones(3)
    assert taken(array) is array


def test_they_are_taken_when_they_are_wanted(rows):
    rows, expected = rows
    rows._array[:] += 1
    np.testing.assert_array_equal(taken(rows).asnumpy(), expected + 1)
