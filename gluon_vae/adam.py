"""Adam with its moments at hand, and fast on a CPU."""

from __future__ import annotations

import atexit
import ctypes
import math
from functools import cache
from typing import Any

import numpy as np

from mxnet import nd
from mxnet.base import _LIB, NDArrayHandle, check_call
from mxnet.gluon import HybridBlock, Parameter

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# Pixels that are almost never on have almost no gradient, and Adam's moments for them decay into
# denormal floats, which the CPU handles many times slower. This much weight decay keeps them normal.
WEIGHT_DECAY = 1e-9
COMPILED = (np.float32, np.float64)  # that Numba computes with
# What the compiled code is given: where the arrays of each parameter are, and the numbers of one step.
ARRAYS = np.dtype([(name, np.uintp) for name in ("weight", "gradient", "mean", "square", "size")])
STEP = np.dtype([("table", np.uintp), ("n", np.uintp), ("rate", np.float64), ("scale", np.float64)])
PRIORITIZED = 3  # FnProperty::kCPUPrioritized of MXNet's engine, which has threads of their own for it


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), applied to the parameters of a block.

    ``gluon.Trainer`` runs MXNet's operator, but it saves its moments by pickling and gives no other
    access to them; here they are plain arrays that a checkpoint can keep. On a CPU, where that
    operator takes its square roots one at a time and almost as long as a backward pass, the same
    arithmetic is compiled by Numba, if it is installed, and queued among MXNet's operations.

    Parameters
    ----------
    net : HybridBlock
        An initialised block; its parameters are updated in place, where they are.
    """

    def __init__(self, net: HybridBlock) -> None:
        names: dict[Parameter, str] = {}
        for name, parameter in net._collect_params_with_prefix().items():
            if parameter.grad_req != "null":
                names.setdefault(parameter, name)  # one that several blocks share has a name in each
        self._parameters, self._names = list(names), list(names.values())
        self._mean = [nd.zeros_like(parameter.data()) for parameter in self._parameters]
        self._square = [nd.zeros_like(parameter.data()) for parameter in self._parameters]
        self.n_steps = 0
        self.settle()

    def settle(self) -> None:
        """Wait for all that is queued, and find out where the arrays are.

        To be called when anything but training may have touched the block: its arrays may have been replaced,
        and inference leaves the weights of convolutions in an order of its own, which is undone here. While
        operations are under way MXNet changes such things without asking whether anybody looks.
        """
        nd.waitall()
        groups: dict[Any, list[tuple[nd.NDArray, ...]]] = {}
        for parameter, mean, square in zip(self._parameters, self._mean, self._square):
            arrays = parameter.data(), parameter.grad(), mean, square
            groups.setdefault(_compiled_for(arrays[0]), []).append(arrays)
        self._left_to_mxnet = groups.pop(None, [])
        # Gradients are ready from the last layer to the first. All but the first layer's weight and bias are
        # updated by another thread, while the one that computes is still at the first layer's gradient.
        self._compiled = [
            _CompiledUpdate(compiled, some, prioritized)
            for compiled, group in groups.items()
            for some, prioritized in ((group[2:], True), (group[:2], False))
            if some
        ]

    def step(self, learning_rate: float, batch_size: int) -> None:
        """Move the parameters by the mean gradient of a batch whose summed loss was differentiated."""
        self.n_steps += 1
        rate = learning_rate * math.sqrt(1 - BETA2**self.n_steps) / (1 - BETA1**self.n_steps)
        for update in self._compiled:
            update.queue(rate, 1 / batch_size)
        for arrays in self._left_to_mxnet:
            nd.adam_update(
                *arrays,
                out=arrays[0],
                lr=rate,
                beta1=BETA1,
                beta2=BETA2,
                epsilon=EPSILON,
                wd=WEIGHT_DECAY,
                rescale_grad=1 / batch_size,
            )

    def gradients(self) -> dict[str, nd.NDArray]:
        """Return the gradients that the next step will use, by name, not copied."""
        return {name: parameter.grad() for name, parameter in zip(self._names, self._parameters)}

    def weights(self) -> dict[str, nd.NDArray]:
        """Return the parameters that are updated, by name, not copied."""
        return {name: parameter.data() for name, parameter in zip(self._names, self._parameters)}

    def moments(self) -> dict[str, np.ndarray]:
        """Return copies of the moments, two per parameter."""
        means = {f"{name}/mean": array.asnumpy() for name, array in zip(self._names, self._mean)}
        return means | {f"{name}/square": array.asnumpy() for name, array in zip(self._names, self._square)}

    def restore(self, moments: dict[str, np.ndarray], n_steps: int) -> None:
        """Go on from moments saved after ``n_steps`` steps."""
        for kind, arrays in (("mean", self._mean), ("square", self._square)):
            for name, array in zip(self._names, arrays):
                array[:] = nd.array(moments[f"{name}/{kind}"], dtype=array.dtype)
        self.n_steps = n_steps


def _update(
    weight: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    rate: float,
    gain1: float,
    gain2: float,
    epsilon: float,
    decay: float,
    scale: float,
) -> None:
    """Do what MXNet's ``adam_update`` does, in one pass over the memory."""
    for i in range(weight.size):
        g = scale * gradient[i] + decay * weight[i]
        mean[i] += gain1 * (g - mean[i])
        square[i] += gain2 * (g * g - square[i])
        weight[i] -= rate * mean[i] / (np.sqrt(square[i]) + epsilon)


def _compiled_for(array: nd.NDArray) -> Any:
    """Return the compiled update of an array like this one, or None where MXNet's operator has to do."""
    on_cpu = array.context.device_type.startswith("cpu")
    return _compiled(array.dtype) if on_cpu and array.dtype in COMPILED else None


@cache
def _compiled(dtype: type[np.floating]) -> Any:
    """Return ``_update`` as a C function of ``ARGUMENTS`` that MXNet's engine can call, or None without Numba."""
    try:
        import numba  # here, since it takes a third of a second and only training needs it
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

    update = numba.njit(_update, error_model="numpy")
    constants = tuple(map(dtype, (1 - BETA1, 1 - BETA2, EPSILON, WEIGHT_DECAY)))

    @numba.cfunc(types.void(types.voidptr, types.CPointer(numba.from_dtype(STEP))))
    def called(run_context: Any, step: Any) -> None:
        s = numba.carray(step, 1)[0]
        for a in numba.carray(pointer(s.table), s.n, ARRAYS):
            weight = numba.carray(pointer(a.weight), a.size, dtype)
            gradient = numba.carray(pointer(a.gradient), a.size, dtype)
            mean = numba.carray(pointer(a.mean), a.size, dtype)
            square = numba.carray(pointer(a.square), a.size, dtype)
            update(weight, gradient, mean, square, dtype(s.rate), *constants, dtype(s.scale))

    atexit.register(nd.waitall)  # what is queued must not outlive the code that it calls
    return called


class _CompiledUpdate:
    """The update of several parameters as one operation of MXNet's engine, behind all that they wait for."""

    def __init__(self, compiled: Any, parameters: list[tuple[nd.NDArray, ...]], prioritized: bool) -> None:
        weights, gradients, means, squares = map(list, zip(*parameters))
        table = [(*map(_address, arrays), arrays[0].size) for arrays in parameters]
        kept = _queued_memory(np.array(table, dtype=ARRAYS))
        self._compiled, self._table, self._n = compiled, _address(kept), len(table)
        self._reads, self._writes = [*gradients, kept], weights + means + squares
        self._property = ctypes.c_int(PRIORITIZED if prioritized else 0)
        self._device = (ctypes.c_int * 2)(weights[0].context.device_typeid, weights[0].context.device_id)

    def queue(self, rate: float, scale: float) -> None:
        step = _queued_memory(np.array((self._table, self._n, rate, scale), dtype=STEP))
        reads = [*self._reads, step]
        check_call(
            _LIB.MXEnginePushSyncND(
                ctypes.c_void_p(self._compiled.address),
                ctypes.c_void_p(_address(step)),
                None,
                self._device,
                _handles(reads),
                len(reads),
                _handles(self._writes),
                len(self._writes),
                ctypes.byref(self._property),
                0,
                b"adam",
            )
        )


def _queued_memory(values: np.ndarray) -> nd.NDArray:
    """Copy to an NDArray, whose memory the engine keeps until what is queued on it is done."""
    kept = nd.empty(values.nbytes, dtype=np.uint8)
    ctypes.memmove(_address(kept), values.ctypes.data, values.nbytes)
    return kept


def _handles(arrays: list[nd.NDArray]) -> ctypes.Array:
    return (NDArrayHandle * len(arrays))(*(array.handle for array in arrays))


def _address(array: nd.NDArray) -> int:
    """Return where an array's values are, in their plain order."""
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    return address.value
