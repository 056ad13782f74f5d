"""Adam: the rule of a training step, with its moments at hand."""

from __future__ import annotations

import math

import numpy as np

from mxnet import nd
from mxnet.gluon import HybridBlock, Parameter

from . import compiled_adam
from .arrays import to_numpy

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# Pixels that are almost never on have almost no gradient, and Adam's moments for them decay into
# denormal floats, which the CPU handles many times slower. This much weight decay keeps them normal.
WEIGHT_DECAY = 1e-9


def rule(
    weight: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    rate: float,
    scale: float,
    gain1: float,
    gain2: float,
    epsilon: float,
    decay: float,
) -> None:
    """Move a parameter by one step, number by number, its moments with it (Kingma and Ba 2015, algorithm 1).

    What MXNet's ``adam_update`` does, and the text that ``compiled_adam`` compiles.

    Parameters
    ----------
    weight, gradient, mean, square : (n,)
        The parameter, its summed gradient, and its two moments, which are running means of the
        gradient and of its square.
    rate : float
        The step size, corrected for moments that start at 0.
    scale : float
        One over the number of images that the gradient is a sum over.
    gain1, gain2, epsilon, decay : float
        1 - BETA1, 1 - BETA2, EPSILON and WEIGHT_DECAY.
    """
    for i in range(weight.size):
        g = scale * gradient[i] + decay * weight[i]
        mean[i] += gain1 * (g - mean[i])
        square[i] += gain2 * (g * g - square[i])
        weight[i] -= rate * mean[i] / (np.sqrt(square[i]) + epsilon)


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), applied to the parameters of a block.

    ``gluon.Trainer`` runs MXNet's operator, but it saves its moments by pickling and gives no other
    access to them; here they are plain arrays that a checkpoint can keep.

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

        To be called when anything but training may have touched the block: its arrays may have been replaced.
        """
        nd.waitall()
        self._arrays = self._of_parameters()
        constants = (1 - BETA1, 1 - BETA2, EPSILON, WEIGHT_DECAY)
        # The seam: what cannot be compiled is left to MXNet's operator, with the same result.
        self._compiled, self._left_to_mxnet = compiled_adam.updates(rule, constants, self._arrays)

    def check(self) -> None:
        """Wait for all that is queued; make sure that the parameters which were updated are those of the block.

        Raises
        ------
        RuntimeError
            If their arrays were replaced or moved since they were found; ``settle`` is to be called after that.
        """
        nd.waitall()
        same = all(now is then for pair in zip(self._of_parameters(), self._arrays) for now, then in zip(*pair))
        if not same or any(update.moved() for update in self._compiled):
            raise RuntimeError("the arrays of parameters or gradients were replaced or moved while they were updated")

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

    def _of_parameters(self) -> list[compiled_adam.Arrays]:
        return [
            (parameter.data(), parameter.grad(), mean, square)
            for parameter, mean, square in zip(self._parameters, self._mean, self._square)
        ]

    def gradients(self) -> dict[str, nd.NDArray]:
        """Return the gradients that the next step will use, by name, not copied."""
        return {name: parameter.grad() for name, parameter in zip(self._names, self._parameters)}

    def weights(self) -> dict[str, nd.NDArray]:
        """Return the parameters that are updated, by name, not copied."""
        return {name: parameter.data() for name, parameter in zip(self._names, self._parameters)}

    def moments(self) -> dict[str, np.ndarray]:
        """Return copies of the moments, two per parameter."""
        means = {f"{name}/mean": to_numpy(array) for name, array in zip(self._names, self._mean)}
        return means | {f"{name}/square": to_numpy(array) for name, array in zip(self._names, self._square)}

    def restore(self, moments: dict[str, np.ndarray], n_steps: int) -> None:
        """Go on from moments saved after ``n_steps`` steps."""
        for kind, arrays in (("mean", self._mean), ("square", self._square)):
            for name, array in zip(self._names, arrays):
                nd.from_numpy(moments[f"{name}/{kind}"].astype(array.dtype)).copyto(array)
        self.n_steps = n_steps
