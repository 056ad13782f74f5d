"""Adam: the rule of a training step, with its moments at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from mxnet import nd
from mxnet.gluon import Block, HybridBlock, Parameter, nn

from . import checks, compiled_adam
from .arrays import to_numpy
from .contract import is_initialized

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
    decay: float,
    scale: float,
    gain1: float,
    gain2: float,
    epsilon: float,
) -> None:
    """Move a parameter by one step, number by number, its moments with it (Kingma and Ba 2015, algorithm 1).

    What MXNet's ``adam_update`` does, and the text that ``compiled_adam`` compiles.

    Parameters
    ----------
    weight, gradient, mean, square : (n,)
        The parameter, its summed gradient, and its two moments, which are running means of the
        gradient and of its square.
    rate : float
        The step size, corrected for moments that start at 0, times the parameter's ``lr_mult``.
    decay : float
        WEIGHT_DECAY times the parameter's ``wd_mult``.
    scale : float
        One over the number of images that the gradient is a sum over.
    gain1, gain2, epsilon : float
        1 - BETA1, 1 - BETA2 and EPSILON.
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
        An initialised block; its parameters are updated in place, where they are. Gluon's ``lr_mult``, ``wd_mult``
        and ``grad_req`` of each are heeded.
    """

    def __init__(self, net: HybridBlock) -> None:
        self._net = net
        self._moments: dict[str, tuple[nd.NDArray, nd.NDArray]] = {}
        self.n_steps = 0
        self.settle()

    def settle(self) -> None:
        """Wait for all that is queued, and find out what is trained, and where the arrays are.

        To be called when anything but training may have touched the block: its arrays may have been replaced,
        parameters frozen or freed, their ``lr_mult`` or ``wd_mult`` changed.

        Raises
        ------
        ValueError
            If there is nothing to train, or it is not as it has to be; names the parameter.
        """
        self._trained = trained_parameters(self._net)
        for name, parameter in self._trained.items():
            if name not in self._moments:
                self._moments[name] = nd.zeros_like(parameter.data()), nd.zeros_like(parameter.data())
        nd.waitall()  # an array has no place in memory before it is computed
        self._arrays = self._of_parameters()
        constants = (1 - BETA1, 1 - BETA2, EPSILON)
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
        pairs = zip(self._of_parameters(), self._arrays)
        replaced = any(now is not then for after, before in pairs for now, then in zip(after[:4], before[:4]))
        if replaced or any(update.moved() for update in self._compiled):
            raise RuntimeError("the arrays of parameters or gradients were replaced or moved while they were updated")

    def step(self, learning_rate: float, batch_size: int) -> None:
        """Move the parameters by the mean gradient of a batch whose summed loss was differentiated."""
        self.n_steps += 1
        rate = learning_rate * math.sqrt(1 - BETA2**self.n_steps) / (1 - BETA1**self.n_steps)
        for update in self._compiled:
            update.queue(rate, 1 / batch_size)
        for weight, gradient, mean, square, rate_mult, decay in self._left_to_mxnet:
            nd.adam_update(
                weight,
                gradient,
                mean,
                square,
                out=weight,
                lr=rate * rate_mult,
                beta1=BETA1,
                beta2=BETA2,
                epsilon=EPSILON,
                wd=decay,
                rescale_grad=1 / batch_size,
            )

    def clip(self, norm: float, batch_size: int) -> None:
        """Shorten the gradients that the next step will use if their mean over a batch is longer than ``norm``.

        The length is that of the gradient of all parameters together (Pascanu et al. 2013, arXiv 1211.5063). The
        host waits for nothing, and a gradient that is short enough keeps its bits.
        """
        flat = [gradient.reshape(-1) for gradient in self.gradients().values()]  # which share the memory
        wide = np.result_type(np.float32, *(gradient.dtype for gradient in flat))  # half precision ends at 65,504
        # The operator for norms is wrong in the fifth digit in single precision, and slower.
        squares = [nd.dot(g, g) for g in (gradient.astype(wide, copy=False) for gradient in flat)]
        factor = nd.minimum(norm * batch_size / nd.add_n(*squares).sqrt(), 1)
        for gradient in flat:
            nd.broadcast_mul(gradient, factor.astype(gradient.dtype), out=gradient)

    def _of_parameters(self) -> list[compiled_adam.Arrays]:
        return [
            compiled_adam.Arrays(p.data(), p.grad(), *self._moments[name], p.lr_mult, p.wd_mult * WEIGHT_DECAY)
            for name, p in self._trained.items()
        ]

    def gradients(self) -> dict[str, nd.NDArray]:
        """Return the gradients that the next step will use, by name, not copied."""
        return {name: arrays.gradient for name, arrays in zip(self._trained, self._arrays)}

    def weights(self) -> dict[str, nd.NDArray]:
        """Return the parameters that are updated, by name, not copied."""
        return {name: parameter.data() for name, parameter in self._trained.items()}

    def moments(self) -> dict[str, np.ndarray]:
        """Return copies of the moments, two per parameter."""
        return {moments_of(name)[i]: to_numpy(pair[i]) for i in (0, 1) for name, pair in self._moments.items()}

    def restore(self, moments: dict[str, np.ndarray], n_steps: int) -> None:
        """Go on from moments saved after ``n_steps`` steps."""
        for name, arrays in self._moments.items():
            for moment, array in zip(moments_of(name), arrays):
                nd.from_numpy(moments[moment].astype(array.dtype)).copyto(array)
        self.n_steps = n_steps


def moments_of(name: str) -> tuple[str, str]:
    """Return the names of a parameter's moments, by which checkpoints keep them."""
    return f"{name}/mean", f"{name}/square"


def trained_parameters(net: HybridBlock) -> dict[str, Parameter]:
    """Return the parameters of a block that training changes, by name.

    Raises
    ------
    ValueError
        If there is none, or one adds up its gradients, or is on several devices, of which one would be trained, or
        is the bias of a dense layer whose weight is frozen.
    """
    parameters: dict[Parameter, str] = {}
    placed = is_initialized(net)
    for name, parameter in net._collect_params_with_prefix().items():
        if parameter.grad_req != "null":
            parameters.setdefault(parameter, name)  # one that several blocks share has a name in each
    for parameter, name in parameters.items():
        if parameter.grad_req != "write":
            raise ValueError(
                f"net must have grad_req 'write' or 'null' everywhere, got {parameter.grad_req!r} for {name}"
            )
        if placed and len(parameter.list_ctx()) > 1:
            raise ValueError(
                f"net must be on one device, got {name} on {parameter.list_ctx()}: see kvstore for several"
            )
    for layer in _dense_layers(net):
        if layer.weight.grad_req == "null" and layer.bias is not None and layer.bias in parameters:
            # MXNet computes both gradients together, or none: the last one would be used for ever.
            raise ValueError(
                f"net must not have a frozen weight with a bias that is trained, got {parameters[layer.bias]}: "
                "freeze both, or give the weight an lr_mult of 0"
            )
    if not parameters:
        raise ValueError("net must have a parameter to train, got none, or all of them with grad_req 'null'")
    return {name: parameter for parameter, name in parameters.items()}


def multiply_rates(net: HybridBlock, factors: Mapping[str, float]) -> None:
    """Set Gluon's ``lr_mult`` of parameters by name.

    Parameters
    ----------
    net : HybridBlock
        Its parameters are named after their place in it: 'encoder.0.weight'.
    factors : mapping
        From the name of a parameter or a part, such as 'encoder' or 'encoder.0', to what the step size of all in it
        is multiplied by; 0 keeps them as they are. Of several that a parameter is in, the longest name counts.

    Raises
    ------
    ValueError
        If there is no such part, or a factor is no finite number from 0 up.
    """
    parameters = net._collect_params_with_prefix()
    parts = {name[:end] for name in parameters for end in _ends(name)}
    for part in sorted(factors, key=len):
        if part not in parts:
            known = ", ".join(sorted(parts - set(parameters)))
            raise ValueError(f"lr_mult must name a part of the model, {known}, or a parameter in one; got {part!r}")
        factor = checks.non_negative_number(f"lr_mult of {part}", factors[part])
        for name, parameter in parameters.items():
            if part in {name[:end] for end in _ends(name)}:
                parameter.lr_mult = factor


def _ends(name: str) -> Iterator[int]:
    """Yield where the names of the parts that a parameter is in end within its own."""
    return (i for i in range(1, len(name) + 1) if i == len(name) or name[i] == ".")


def _dense_layers(net: Block) -> Iterator[nn.Dense]:
    if isinstance(net, nn.Dense):
        yield net
    for child in net._children.values():
        yield from _dense_layers(child)
