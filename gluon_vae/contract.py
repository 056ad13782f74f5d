"""What training and evaluation ask of a model, and nothing more.

A model is a block whose call on a batch (batch, n_output) returns the per-sample loss, (batch,),
in nats, and leaves the terms of that loss on attributes. ``encoder(x)`` begins with the
posterior mean, ``decoder(z)`` gives images, ``n_latent`` and ``n_output`` are their widths. Where
``n_classes`` is set, the model, its encoder and its decoder are given labels after that: (x, y), (z, y).
A model that draws random numbers in a call takes them as its last argument too; ``draw_noise(x)`` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mxnet import nd
from mxnet.gluon import Block

from . import checks

TERMS = ("loss", "nll", "kl", "penalty")
BATCH_SIZE = 1000  # images per call where nothing is trained


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


def image_batch(net: Block, x: nd.NDArray | np.ndarray) -> nd.NDArray:
    """Return what a model was called on as a checked NDArray; NumPy is moved to the model's device."""
    if isinstance(x, np.ndarray):
        return to_device(net, checks.images("x", x, net.n_output))
    return checks.batch(x, net.n_output, values=net.check_input)


def label_batch(net: Block, y: Any, x: nd.NDArray) -> nd.NDArray:
    """Return the labels that a model was called with as a checked NDArray beside ``x``."""
    if not isinstance(y, nd.NDArray) or net.check_input or y.shape != x.shape[:1]:
        y = nd.array(checks.labels("y", y, len(x), net.n_classes), ctx=x.context, dtype=np.int32)
    return y


def checked_labels(net: Block, y: Any, n: int, name: str = "y") -> np.ndarray | None:
    """Return ``n`` labels as int64; None for a model that takes no labels."""
    n_classes = getattr(net, "n_classes", None)
    if n_classes is None:
        if y is not None:
            raise ValueError(f"{name} must be None for a model that takes no labels, got {type(y).__name__}")
        return None
    if y is None:
        raise ValueError(
            f"{name} must be {n} integer labels from 0 to {n_classes - 1} for a conditional model, got None"
        )
    return checks.labels(name, y, n, n_classes)


def labels_for(net: Block, y: Any, n: int, name: str = "y") -> tuple[nd.NDArray, ...]:
    """Return labels on the model's device, a tuple of one; of none for a model that takes no labels."""
    y = checked_labels(net, y, n, name)
    if y is None:
        return ()
    device = next(iter(net.collect_params().values())).list_ctx()[0]
    return (nd.array(y, ctx=device, dtype=np.int32),)


def inputs_of(net: Block, x: Any, y: Any) -> tuple[nd.NDArray, ...]:
    """Return what the model is called on: checked images and, where it takes them, labels."""
    x = to_device(net, checks.images("x", x, net.n_output))
    return (x, *labels_for(net, y, len(x)))


def batches(arrays: Sequence[nd.NDArray], batch_size: int) -> Iterator[list[nd.NDArray]]:
    """Cut arrays of equal length into consecutive batches; the last one may be smaller."""
    for start in range(0, len(arrays[0]), batch_size):
        yield [array[start : start + batch_size] for array in arrays]


def in_batches(function: Callable[..., nd.NDArray], *inputs: nd.NDArray) -> np.ndarray:
    """Call a function on consecutive batches; return all that it gives, in one array."""
    outputs = [function(*batch) for batch in batches(inputs, BATCH_SIZE)]  # queued, not waited for
    result = np.empty((len(inputs[0]), *outputs[0].shape[1:]), outputs[0].dtype)
    # Queued as well: each part is copied once, as soon as it is computed. The view is made read-only, not the result.
    shared = nd.from_numpy(result.view())
    for output, (rows,) in zip(outputs, batches([shared], BATCH_SIZE)):
        output.copyto(rows)
    shared.wait_to_read()
    return result


@contextmanager
def unchecked(net: Block) -> Iterator[None]:
    """Switch a model's check of pixel values off where the data has been checked once."""
    before = getattr(net, "check_input", False)
    net.check_input = False
    try:
        yield
    finally:
        net.check_input = before
