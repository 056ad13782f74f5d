"""What training and evaluation ask of a model, and nothing more.

A model is a block whose call on a batch (batch, n_output) returns the per-sample loss, (batch,),
in nats, and leaves the terms of that loss on attributes. ``encoder(x)`` begins with the
posterior mean, ``decoder(z)`` gives images, ``n_latent`` and ``n_output`` are their widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from mxnet import nd
from mxnet.gluon import Block

TERMS = ("loss", "nll", "kl")


def terms(net: Block, loss: nd.NDArray) -> dict[str, nd.NDArray]:
    """Return the loss of the most recent call with the terms that the model split it into."""
    named = {"loss": loss} | {name: getattr(net, name, None) for name in TERMS[1:]}
    return {name: value for name, value in named.items() if value is not None}


def is_initialized(net: Block) -> bool:
    """Tell whether every parameter has values, or will have at the first call."""
    try:
        for parameter in net.collect_params().values():
            parameter.list_ctx()
    except RuntimeError:
        return False
    return True


def to_device(net: Block, x: np.ndarray) -> nd.NDArray:
    """Return ``x`` as an NDArray where the model's parameters are, of their dtype.

    On the CPU the memory is shared where it can be: a copy of MNIST would double a process.
    """
    parameter = next(iter(net.collect_params().values()))
    x = np.ascontiguousarray(x, dtype=parameter.dtype)
    # from_numpy makes its argument read-only; a view keeps that from the caller's array.
    shared = nd.from_numpy(x.view())
    return shared.as_in_context(parameter.list_ctx()[0])


def batches(x: nd.NDArray, batch_size: int) -> Iterator[nd.NDArray]:
    """Cut ``x`` into consecutive batches; the last one may be smaller."""
    for start in range(0, len(x), batch_size):
        yield x[start : start + batch_size]


@contextmanager
def unchecked(net: Block) -> Iterator[None]:
    """Switch a model's check of pixel values off where the data has been checked once."""
    before = getattr(net, "check_input", False)
    net.check_input = False
    try:
        yield
    finally:
        net.check_input = before
