"""Operations queued by MXNet's C interface are those of its Python functions."""

import gc

import numpy as np
import pytest

from gluon_vae.queued import operation

from mxnet import MXNetError, nd


def test_the_result_is_that_of_mxnets_function():
    x, y = nd.random.uniform(shape=(2, 2, 3))
    expected = nd.broadcast_sub(x, y).asnumpy()
    np.testing.assert_array_equal(operation("broadcast_sub", x, y).asnumpy(), expected)
    place = nd.zeros((4, 3))
    assert operation("broadcast_sub", x, y, out=place[1:3]).shape == (2, 3)
    np.testing.assert_array_equal(place.asnumpy(), np.pad(expected, ((1, 1), (0, 0))))


def test_a_result_outlives_what_it_was_computed_from():
    result = operation("_copy", nd.arange(5) + 1)
    gc.collect()
    np.testing.assert_array_equal(result.asnumpy(), [1, 2, 3, 4, 5])


def test_nothing_is_left_to_the_garbage_collector():
    x, out = nd.ones(3), nd.ones(3)
    operation("_copy", x)
    gc.collect()
    try:
        gc.disable()
        for _ in range(100):
            operation("_copy", x)
            operation("_copy", x, out=out)
        assert gc.collect() < 50
    finally:
        gc.enable()


@pytest.mark.parametrize(("name", "shapes"), [("broadcast_sub", [(2, 3), (2, 4)]), ("no_such_operator", [(2,)])])
def test_what_mxnet_refuses_is_an_error(name, shapes):
    with pytest.raises(MXNetError):
        operation(name, *map(nd.ones, shapes))
