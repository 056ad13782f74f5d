"""Adam with its moments at hand, and fast on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# Pixels that are almost never on have almost no gradient, and Adam's moments for them decay into
# denormal floats, which the CPU handles many times slower. This much weight decay keeps them normal.
WEIGHT_DECAY = 1e-9
SHAREABLE = (np.float32, np.float64)  # that Numba computes with


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), applied to the parameters of a block.

    ``gluon.Trainer`` runs MXNet's operator, but it saves its moments by pickling and gives no other
    access to them; here they are plain arrays that a checkpoint can keep. On a CPU, where that
    operator takes its square roots one at a time and almost as long as a backward pass, the same
    arithmetic is compiled by Numba, if it is installed.

    Parameters
    ----------
    net : HybridBlock
        An initialised block; its parameters are updated in place, where they are.
    """

    def __init__(self, net: HybridBlock) -> None:
        parameters = net._collect_params_with_prefix()
        self._names = [name for name, parameter in parameters.items() if parameter.grad_req != "null"]
        self._parameters = [parameters[name] for name in self._names]
        self._mean = [nd.zeros_like(parameter.data()) for parameter in self._parameters]
        self._square = [nd.zeros_like(parameter.data()) for parameter in self._parameters]
        self._memory: dict[str, tuple[tuple[nd.NDArray, ...], list[np.ndarray] | None]] = {}
        self.n_steps = 0

    def step(self, learning_rate: float, batch_size: int) -> None:
        """Move the parameters by the mean gradient of a batch whose summed loss was differentiated."""
        self.n_steps += 1
        rate = learning_rate * math.sqrt(1 - BETA2**self.n_steps) / (1 - BETA1**self.n_steps)
        constants = rate, 1 - BETA1, 1 - BETA2, EPSILON, WEIGHT_DECAY, 1 / batch_size
        compiled = _compiled()
        if compiled is not None:
            nd.waitall()  # Numba sees the memory, and not MXNet's queue of operations on it
        for name, parameter, mean, square in zip(self._names, self._parameters, self._mean, self._square):
            arrays = parameter.data(), parameter.grad(), mean, square
            memory = None if compiled is None else self._memory_of(name, arrays)
            if memory is not None:
                compiled(*memory, *map(memory[0].dtype.type, constants))
            else:
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

    def _memory_of(self, name: str, arrays: tuple[nd.NDArray, ...]) -> list[np.ndarray] | None:
        """Return the memory of a parameter's arrays, or None where Numba cannot compute with it."""
        known = self._memory.get(name)
        if known is None or any(a is not b for a, b in zip(known[0], arrays)):  # new, or replaced
            shareable = arrays[0].context.device_type.startswith("cpu") and arrays[0].dtype in SHAREABLE
            known = arrays, [_writable(array) for array in arrays] if shareable else None
            self._memory[name] = known
        return known[1]


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


@cache
def _compiled() -> Callable[..., None] | None:
    """Return ``_update`` compiled, or None where there is no Numba."""
    try:
        import numba  # here, since it takes a third of a second and only training needs it
    except ImportError:
        return None
    return numba.njit(_update, nogil=True, error_model="numpy")


def _writable(array: nd.NDArray) -> np.ndarray:
    """Return the memory of an NDArray as a flat NumPy array, valid as long as the NDArray lives."""
    lent = np.from_dlpack(_Lent(array))  # which NumPy would only read
    number = np.ctypeslib.as_ctypes_type(lent.dtype)
    return np.ctypeslib.as_array((number * lent.size).from_address(lent.ctypes.data))


class _Lent:
    """An NDArray under the protocol by which NumPy takes over arrays of others."""

    def __init__(self, array: nd.NDArray) -> None:
        self._array = array

    def __dlpack__(self, stream: Any = None) -> Any:
        return self._array.to_dlpack_for_write()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU
