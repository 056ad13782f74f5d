"""What a step of training puts into MXNet's queue, by its C interface.

MXNet's Python functions take 10 to 20 us more for each call, and leave the garbage collector a cycle of references.
It is time of the caller's thread, for which one of the threads that compute has to wait where there is no core more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from mxnet import nd
from mxnet.base import _LIB, NDArrayHandle, check_call
from mxnet.executor import Executor

Handles = ctypes.Array[NDArrayHandle]
IN_TRAINING = 1
Outputs = ctypes.POINTER(NDArrayHandle)


def handles(arrays: Sequence[nd.NDArray]) -> Handles:
    """Return what the C interface knows arrays by, which have to be kept elsewhere."""
    return (NDArrayHandle * len(arrays))(*(array.handle for array in arrays))


def operation(name: str, *inputs: nd.NDArray, out: nd.NDArray | None = None) -> nd.NDArray:
    """Queue an operation with one output.

    Parameters
    ----------
    name : str
        Of the operator in MXNet; its parameters have their defaults.
    inputs : NDArray
    out : NDArray, optional
        Where the result goes.

    Returns
    -------
    NDArray
        ``out``, or a new one.
    """
    n_outputs = ctypes.c_int(out is not None)
    outputs = Outputs() if out is None else ctypes.pointer(out.handle)
    storage_types = ctypes.POINTER(ctypes.c_int)()
    check_call(
        _LIB.MXImperativeInvokeEx(
            _operator(name),
            len(inputs),
            handles(inputs),
            ctypes.byref(n_outputs),
            ctypes.byref(outputs),
            0,
            None,
            None,
            ctypes.byref(storage_types),
        )
    )
    return nd.NDArray(NDArrayHandle(outputs[0])) if out is None else out


def forward_and_backward(executor: Executor, heads: Handles) -> None:
    """Queue a bound graph in training, and its gradients given those of its outputs."""
    check_call(_LIB.MXExecutorForward(executor.handle, IN_TRAINING))
    check_call(_LIB.MXExecutorBackwardEx(executor.handle, len(heads), heads, IN_TRAINING))


@cache
def _operator(name: str) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    check_call(_LIB.NNGetOpHandle(name.encode(), ctypes.byref(handle)))
    return handle
