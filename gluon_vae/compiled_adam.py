"""Adam's rule compiled by Numba and queued among MXNet's operations.

MXNet's own operator takes its square roots one at a time, and on a CPU almost as long as a backward pass: 5.3 ms
for a step of the 784-400-400-2 VAE, for which the compiled rule takes 1.3 between the other operations
(benchmarks/NOTES.md). Where it cannot be had (no Numba, ``NUMBA_DISABLE_JIT=1``, a GPU, half precision) MXNet's
operator does the same.
"""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mxnet import nd
from mxnet.base import _LIB, check_call

from . import openmp
from .queued import handles

COMPILED = (np.float32, np.float64)  # that Numba computes with
# What the compiled code is given: where the arrays of each parameter are, and the numbers of one step.
ADDRESSES = ("weight", "gradient", "mean", "square")
ARRAYS = np.dtype([(name, np.uintp) for name in (*ADDRESSES, "size")] + [("rate_mult", "f8"), ("decay", "f8")])
STEP = np.dtype([("table", np.uintp), ("n", np.uintp), ("rate", np.float64), ("scale", np.float64)])
N_STEPS = 64  # that are queued before the first of them has to be done


class Arrays(NamedTuple):
    """What the rule changes of a parameter, and the numbers of its own."""

    weight: nd.NDArray
    gradient: nd.NDArray
    mean: nd.NDArray
    square: nd.NDArray
    rate_mult: float
    decay: float


def updates(
    rule: Callable[..., None], constants: tuple[float, ...], arrays: list[Arrays]
) -> tuple[list[Update], list[Arrays]]:
    """Return the compiled updates of parameters, to be queued at every step, and the parameters left out.

    To be called when nothing is queued: an update is bound to where its arrays are in memory. Inference leaves the
    weights of convolutions in an order of its own, which is undone here; while operations are under way MXNet
    changes such things without asking whether anybody looks.
    """
    groups: dict[Any, list[Arrays]] = {}
    for of_parameter in arrays:
        dtype = of_parameter[0].dtype
        on_cpu = of_parameter[0].context.device_type.startswith("cpu")
        compiled = _compiled(rule, constants, dtype) if on_cpu and dtype in COMPILED else None
        groups.setdefault(compiled, []).append(of_parameter)
    left_out = groups.pop(None, [])
    return [Update(compiled, group) for compiled, group in groups.items()], left_out


@cache
def _compiled(rule: Callable[..., None], constants: tuple[float, ...], dtype: type[np.floating]) -> Any:
    """Return the rule as a C function of a run context and a ``STEP``, for MXNet's engine to call, and what it needs.

    None without Numba, or where Numba was told not to compile.
    """
    try:
        import numba  # here, since it takes a third of a second and only training needs it
        from llvmlite import ir
        from numba.core import cgutils, types
        from numba.extending import intrinsic
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None

    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def convert(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], cgutils.voidptr_t)

        return types.voidptr(types.uintp), convert

    @intrinsic
    def number(context: Any, function: Any) -> Any:
        def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = ir.FunctionType(ir.IntType(32), [])
            return builder.call(builder.inttoptr(values[0], kind.as_pointer()), [])

        return types.int32(types.uintp), call

    @intrinsic
    def in_parallel(context: Any, parallel: Any, function: Any, step: Any) -> Any:
        def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            unsigned = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, cgutils.voidptr_t, unsigned, unsigned])
            arguments = [builder.inttoptr(values[1], cgutils.voidptr_t), values[2]]
            arguments += [unsigned(0), unsigned(0)]  # as many threads as a region of this thread has, nothing special
            builder.call(builder.inttoptr(values[0], kind.as_pointer()), arguments)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, types.voidptr), call

    step_of = numba.njit(rule, error_model="numpy")
    numbers = tuple(map(dtype, constants))

    @numba.njit
    def take_share(step: Any, i: int, n: int) -> None:
        s = numba.carray(step, 1, STEP)[0]
        for a in numba.carray(pointer(s.table), s.n, ARRAYS):
            size = np.intp(a.size)
            first, last = size * i // n, size * (i + 1) // n
            weight = numba.carray(pointer(a.weight), a.size, dtype)[first:last]
            gradient = numba.carray(pointer(a.gradient), a.size, dtype)[first:last]
            mean = numba.carray(pointer(a.mean), a.size, dtype)[first:last]
            square = numba.carray(pointer(a.square), a.size, dtype)[first:last]
            rate, decay = dtype(s.rate * a.rate_mult), dtype(a.decay)
            step_of(weight, gradient, mean, square, rate, decay, dtype(s.scale), *numbers)

    atexit.register(nd.waitall)  # what is queued must not outlive the code that it calls
    team = openmp.team(_LIB)  # the threads that share MXNet's products share the update
    if team is None:

        @numba.cfunc(types.void(types.voidptr, types.voidptr))
        def alone(run_context: Any, step: Any) -> None:
            take_share(step, 0, 1)

        return (alone,)
    parallel, thread, n_threads = team

    @numba.cfunc(types.void(types.voidptr))
    def share(step: Any) -> None:
        take_share(step, number(thread), number(n_threads))

    address = share.address

    @numba.cfunc(types.void(types.voidptr, types.voidptr))
    def together(run_context: Any, step: Any) -> None:
        in_parallel(parallel, address, step)

    return together, share


class Update:
    """The update of several parameters as one operation of MXNet's engine, behind all that they wait for."""

    def __init__(self, compiled: Any, parameters: list[Arrays]) -> None:
        weights, gradients, means, squares, _, _ = map(list, zip(*parameters))
        self._parameters, self._addresses = parameters, _table(parameters)
        table, _ = _queued_memory(self._addresses)
        empty_steps = np.array([(_address(table), len(parameters), 0, 0)] * N_STEPS, dtype=STEP)
        steps, queued_steps = _queued_memory(empty_steps)
        self._rates, self._scales = queued_steps["rate"], queued_steps["scale"]
        self._compiled, self._first_step, self._n_queued = compiled, _address(steps), 0
        self._reads, self._writes = [*gradients, table, steps], weights + means + squares
        self._arguments = (
            None,
            (ctypes.c_int * 2)(weights[0].context.device_typeid, weights[0].context.device_id),
            handles(self._reads),
            len(self._reads),
            handles(self._writes),
            len(self._writes),
            ctypes.byref(ctypes.c_int(0)),
            0,
            b"adam",
        )

    def queue(self, rate: float, scale: float) -> None:
        """Have the engine take a step when the gradients are there, before anything reads the parameters."""
        i = self._n_queued % N_STEPS
        if i == 0:
            self._writes[0].wait_to_read()  # for every step before: what is written here is read when a step is taken
        self._n_queued += 1
        self._rates[i], self._scales[i] = rate, scale
        step = ctypes.c_void_p(self._first_step + i * STEP.itemsize)
        check_call(_LIB.MXEnginePushSyncND(ctypes.c_void_p(self._compiled[0].address), step, *self._arguments))

    def moved(self) -> bool:
        """Tell whether an array is elsewhere in memory than when the update was bound; nothing may be queued."""
        return bool((_table(self._parameters) != self._addresses).any())


def _table(parameters: list[Arrays]) -> np.ndarray:
    rows = [
        (*(_address(getattr(of, name)) for name in ADDRESSES), of.weight.size, of.rate_mult, of.decay)
        for of in parameters
    ]
    return np.array(rows, dtype=ARRAYS)


def _queued_memory(values: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
    """Copy to an NDArray, whose memory the engine keeps until what is queued on it is done; return it and a view."""
    kept = nd.empty(values.nbytes, dtype=np.uint8)
    view = np.frombuffer((ctypes.c_byte * values.nbytes).from_address(_address(kept)), dtype=values.dtype)
    view[:] = values
    return kept, view


def _address(array: nd.NDArray) -> int:
    """Return where an array's values are, in their plain order."""
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    return address.value or 0
