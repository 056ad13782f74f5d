"""Adam with its moments at hand."""

from __future__ import annotations

import math

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# Pixels that are almost never on have almost no gradient, and Adam's moments for them decay into
# denormal floats, which the CPU handles many times slower. This much weight decay keeps them normal.
WEIGHT_DECAY = 1e-9


class Adam:
    """MXNet's Adam operator, applied to the parameters of a block (Kingma and Ba 2015, arXiv 1412.6980).

    ``gluon.Trainer`` runs the same operator, but it saves its moments by pickling and gives no
    other access to them; here they are plain arrays that a checkpoint can keep.

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
        self.n_steps = 0

    def step(self, learning_rate: float, batch_size: int) -> None:
        """Move the parameters by the mean gradient of a batch whose summed loss was differentiated."""
        self.n_steps += 1
        rate = learning_rate * math.sqrt(1 - BETA2**self.n_steps) / (1 - BETA1**self.n_steps)
        for parameter, mean, square in zip(self._parameters, self._mean, self._square):
            weight = parameter.data()
            nd.adam_update(
                weight,
                parameter.grad(),
                mean,
                square,
                out=weight,
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
