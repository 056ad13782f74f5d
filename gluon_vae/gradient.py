"""The gradients of a batch's loss, by as few calls of MXNet as there can be.

Gluon's way, ``autograd.record``, a call, ``backward``, has MXNet put the graph together anew for every batch: 0.7 of
the 0.8 ms that the caller's thread spends on a step of the 784-400-400-2 VAE, and more than a small network computes.
A graph that stays the same can be bound once to the arrays that it reads and writes, and run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mxnet import autograd, nd, sym
from mxnet.gluon import Block, HybridBlock

from . import queued
from .contract import TERMS, terms
from .model import Model
from .rows import Rows, taken
from .vae import ComposedVAE

MOST_GRAPHS = 4  # bound at a time, each with memory of its own: batches of one size, and the last one of an epoch


class Noise(NamedTuple):
    """Standard normal numbers that a graph draws itself, as a VAE's ``draw_noise`` would."""

    shape: tuple[int, ...]
    dtype: type[np.generic]


Batch: TypeAlias = Sequence[nd.NDArray | Rows]
Given: TypeAlias = nd.NDArray | Rows | Noise | None  # to ``hybrid_forward``


class Gradient:
    """Differentiate the summed loss of one batch after the other; the gradients are then the parameters' own.

    A model of this package that is hybridized with ``static_alloc`` and ``static_shape`` is bound, for every shape of
    a batch; anything else is called as Gluon does it, with the same bits.

    Parameters
    ----------
    net : HybridBlock
        Initialised; its call returns the per-sample loss.
    """

    def __init__(self, net: HybridBlock) -> None:
        self._net = net
        self._bound: dict[Any, _Bound] = {}
        self._last: _Bound | None = None
        self._state: Any = None
        self.settle()

    def settle(self) -> None:
        """Forget what was bound if the model has changed since: its arrays, what is trained, or a setting.

        To be called when anything but training may have touched it.
        """
        state = _state(self._net)
        if state != self._state:
            self._bound.clear()
        self._state, self._last = state, None

    def __call__(self, batch: Batch, *, less_kl: float = 0.0) -> tuple[Sequence[str], nd.NDArray]:
        """Return the names of the loss and its terms, and their values for every image, (n_terms, batch).

        What is differentiated is ``loss - less_kl * kl``: the loss with a smaller weight of the KL, of which no graph
        need know.
        """
        if self._state is not None:
            given = self._given(batch)
            self._last = self._bound_to(given, less_kl != 0)
            return self._last.names, self._last.run(given, less_kl)
        with autograd.record():
            loss = self._net(*map(taken, batch))
            objective = loss - less_kl * self._net.kl if less_kl else loss
        objective.backward()
        values = terms(self._net, loss)
        return tuple(values), nd.stack(*values.values())

    def keep(self) -> None:
        """Call the model, as it is now, on the last batch, for the attributes, which a bound graph leaves out."""
        if self._last is not None:
            self._net.call_on(self._last.inputs)

    def _given(self, batch: Batch) -> list[Given]:
        """Return what ``hybrid_forward`` is given."""
        net = self._net
        if all(isinstance(array, Rows) for array in batch) and type(net).call_inputs is Model.call_inputs:
            # Rows of what was checked as a whole: nothing is left to do but to draw the noise.
            if net.noise_name is None:
                return [*batch]
            x, *labels = batch
            if (type(net).draw_noise, type(net).default_noise) == (ComposedVAE.draw_noise, Model.default_noise):
                return [x, Noise(net.noise_shape(x), x.dtype), *labels]
        with autograd.train_mode():  # as in recording: a denoising autoencoder corrupts
            return net.call_inputs(*map(taken, batch))

    def _bound_to(self, given: Sequence[Given], less_kl: bool) -> _Bound:
        key = (
            less_kl,
            *((array.shape, array.dtype) if isinstance(array, nd.NDArray | Rows) else array for array in given),
        )
        if key not in self._bound:
            if len(self._bound) == MOST_GRAPHS:
                self._bound.pop(next(iter(self._bound)))
            self._bound[key] = _Bound(self._net, given, less_kl)
        return self._bound[key]


class _Bound:
    """A model's graph for batches of one shape, with the arrays that it reads and writes.

    With ``less_kl`` the KL is differentiated beside the loss, of which it takes some back.

    Attributes
    ----------
    names : list of str
        Of the loss and its terms.
    inputs : list of NDArray or None
        What ``hybrid_forward`` was given in the last run.
    """

    def __init__(self, net: Model, given: Sequence[Given], less_kl: bool) -> None:
        self.inputs: list[nd.NDArray | None] = []
        symbols: list[sym.Symbol | None] = []
        noise: list[sym.Symbol] = []
        places: dict[str, nd.NDArray] = {}
        for i, array in enumerate(given):
            symbol = place = None
            if isinstance(array, Noise):
                symbol = sym.random.normal(shape=array.shape, dtype=np.dtype(array.dtype).name)
                noise = [sym.BlockGrad(symbol)]
            elif array is not None:
                symbol = sym.var(f"input{i}")
                place = places[symbol.name] = nd.empty(array.shape, array.context, array.dtype)
            symbols.append(symbol)
            self.inputs.append(place)
        loss, *values = HybridBlock.forward(net, *symbols)
        by_name = {"loss": loss} | dict(zip(net.output_names, values))
        self.names = [name for name in TERMS if name in by_name]
        read_once = sym.BlockGrad(sym.stack(*(by_name[name] for name in self.names)))
        # The noise comes first, as in a call: a layer may draw numbers of its own. What the loss does not need is
        # left out, the reconstructions above all.
        graph = sym.Group([*noise, read_once, loss, *([by_name["kl"]] if less_kl else [])])

        parameters = {parameter.name: parameter for parameter in net.collect_params().values()}
        trained = {name: parameter for name, parameter in parameters.items() if parameter.grad_req != "null"}
        arguments = {
            name: places[name] if name in places else parameters[name].data() for name in graph.list_arguments()
        }
        for name, parameter in trained.items():
            if name not in arguments:  # the loss does not depend on it, and nothing writes to its gradient
                parameter.zero_grad()
        os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # else MXNet prints a line about every graph
        self._executor = graph.bind(
            next(iter(places.values())).context,
            arguments,
            args_grad={name: parameter.grad() for name, parameter in trained.items() if name in arguments},
            grad_req={name: "write" if name in trained else "null" for name in arguments},
            aux_states={name: parameters[name].data() for name in graph.list_auxiliary_states()},
        )
        outputs, n_noise = self._executor.outputs, len(noise)
        self._terms = outputs[n_noise]
        # What is behind a BlockGrad needs a gradient as well, which is not looked at.
        self._heads = [nd.zeros_like(output) for output in outputs]
        self._heads[n_noise + 1][:] = 1  # of the loss
        self._of_kl = self._heads[n_noise + 2 :]
        self._handles = queued.handles(self._heads)
        self.inputs = [outputs[0] if isinstance(array, Noise) else place for array, place in zip(given, self.inputs)]

    def run(self, given: Sequence[Given], less_kl: float) -> nd.NDArray:
        for array, place in zip(given, self.inputs):
            if isinstance(array, nd.NDArray | Rows):
                array.copyto(place)
        for of_kl in self._of_kl:
            of_kl[:] = -less_kl
        queued.forward_and_backward(self._executor, self._handles)
        return queued.operation("_copy", self._terms)  # the next run writes to the same place


def _state(net: Block) -> Any:
    """Return what differs when the graph of a model, or an array of it, is another; None if it cannot be bound."""
    if not isinstance(net, Model) or (type(net).forward, type(net).__call__) != (Model.forward, Block.__call__):
        return None
    if net._forward_hooks or net._forward_pre_hooks or not net._active:
        return None
    flags = dict(net._flags)
    if not (flags.get("static_alloc") and flags.get("static_shape")):
        return None
    parameters = net.collect_params().values()
    arrays = [parameter.data() for parameter in parameters]
    arrays += [parameter.grad() for parameter in parameters if parameter.grad_req != "null"]
    if any(array.stype != "default" for array in arrays):
        return None
    # While a graph is bound it keeps its arrays, so that no other can have the number of one.
    return list(map(id, arrays)), [parameter.grad_req for parameter in parameters], net.config
