"""Arrays on their way to a model and back: moved to its device, cut into batches that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import mxnet as mx
from mxnet import nd, sym
from mxnet.gluon import Block, HybridBlock, Parameter

Array = nd.NDArray | sym.Symbol  # what a model computes on: arrays in a call, symbols while it is traced

BATCH_SIZE = 1000  # images per call where nothing is trained, if they fit
BUDGET = 512 << 20  # bytes that a call may keep, more or less: all that is computed on the way, in float32
SMALL = 1 << 16  # numbers, fewer than MXNet by itself copies in parallel (``openmp``)


def all_parameters(net: Block) -> list[Parameter]:
    """Return all parameters of a block.

    ``collect_params`` also searches the lists in every block for blocks that were not registered, which takes half
    the time of a call on a few images.
    """
    return list((net._collect_params_with_prefix() or net.collect_params()).values())


def device_of(net: Block) -> mx.Context:
    """Return where a model's parameters are: the first place, if there are several."""
    return all_parameters(net)[0].list_ctx()[0]


def dtype_of(net: Block) -> np.dtype:
    """Return what a model computes in: the dtype of its first parameter."""
    return np.dtype(all_parameters(net)[0].dtype)


def to_device(net: Block, *arrays: np.ndarray | nd.NDArray) -> tuple[nd.NDArray, ...]:
    """Return arrays as NDArrays where the model's parameters are: numbers of their dtype, labels as int32.

    On the CPU the memory is shared where it can be: a copy of MNIST would double a process.
    """
    device, dtype = device_of(net), dtype_of(net)
    moved = []
    for array in arrays:
        wanted = np.dtype(dtype if np.dtype(array.dtype).kind == "f" else np.int32)
        if isinstance(array, np.ndarray):
            # from_numpy makes its argument read-only; a view keeps that from the caller's array.
            array = nd.from_numpy(np.ascontiguousarray(array, wanted).view())
        moved.append(array.as_in_context(device).astype(wanted, copy=False))
    return tuple(moved)


def to_numpy(array: np.ndarray | nd.NDArray) -> np.ndarray:
    """Return an array as NumPy's: what is not on this side is copied, if it is large by the thread that computes.

    ``asnumpy`` has the caller's thread copy, which takes a tenth of the time for a small one, and of a large one has
    the consequences that ``openmp`` tells of.
    """
    if isinstance(array, np.ndarray):
        return array
    if array.size < SMALL:
        return array.asnumpy()
    result = np.empty(array.shape, array.dtype)
    shared = nd.from_numpy(result.view())  # the view is made read-only, not the result
    array.copyto(shared)
    shared.wait_to_read()
    return result


def is_finite(array: nd.NDArray) -> bool:
    """Tell whether no value is NaN or infinite. MXNet's operator for that takes many times longer than a copy."""
    return bool(np.isfinite(to_numpy(array)).all())


def batches(arrays: Sequence[Any], batch_size: int) -> Iterator[list[Any]]:
    """Cut arrays, or rows of arrays, of equal length into consecutive batches; the last one may be smaller."""
    for start in range(0, len(arrays[0]), batch_size):
        yield [array[start : start + batch_size] for array in arrays]


def traced_shapes(block: Block, *shapes: tuple[int, ...]) -> list[tuple[int, ...]] | None:
    """Return the shapes of all that a block computes from inputs of given shapes, its output last, without computing.

    None if it cannot be traced: a block may look at values or shapes, unless it is hybridized.
    """
    given = {f"input{i}": shape for i, shape in enumerate(shapes)}
    try:
        steps = block(*map(sym.var, given)).get_internals()
        traced = output_shapes(steps, given)
    except Exception:  # MXNet raises all kinds, a bare one among them, and the block is a user's
        return None
    parameters = set(steps.list_arguments()) - set(given)
    return [shape for name, shape in zip(steps.list_outputs(), traced) if name not in parameters] or None


def output_shapes(symbol: sym.Symbol, shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the shapes of a symbol's outputs, given those of inputs, some of which it may not use."""
    used = set(symbol.list_arguments())
    _, outputs, _ = symbol.infer_shape(**{name: shape for name, shape in shapes.items() if name in used})
    return outputs or []


def rows_per_call(block: Block, inputs: Sequence[nd.NDArray], at_most: int = BATCH_SIZE) -> int:
    """Return how many rows of its inputs a block is called on at once, by what one row costs in memory.

    The cost is that of all arrays from input to output. A block that cannot be traced is taken for one that keeps
    fifty times its input.
    """
    shapes = [(1, *array.shape[1:]) for array in inputs]
    numbers = sum(map(math.prod, traced_shapes(block, *shapes) or 50 * shapes))
    return max(1, min(at_most, BUDGET // (4 * max(1, numbers))))


def in_batches(function: Callable[..., nd.NDArray], *inputs: nd.NDArray, cost_of: Block | None = None) -> np.ndarray:
    """Call a function on consecutive batches; return all that it gives, in one array.

    ``cost_of`` is the block that the function calls, where the function is none itself.
    """
    first, *others = batches(inputs, rows_per_call(cost_of or function, inputs))
    output = function(*first)
    if not others:
        return to_numpy(output)
    result = np.empty((len(inputs[0]), *output.shape[1:]), output.dtype)
    shared = nd.from_numpy(result.view())
    (rows,), *places = batches([shared], len(first[0]))
    output.copyto(rows)
    write = _writer(function, output, rows)
    for batch, (rows,) in zip(others, places):  # queued, not waited for
        write(batch, rows)
    shared.wait_to_read()
    return result


def _writer(
    function: Any, output: nd.NDArray, rows: nd.NDArray
) -> Callable[[Sequence[nd.NDArray], nd.NDArray], nd.NDArray]:
    """Return what queues a call whose result goes to an array like ``rows``: a block's graph itself writes there."""
    is_graph = (
        isinstance(function, HybridBlock)
        and function._cached_op is not None
        and (type(function).__call__, type(function).forward) == (Block.__call__, HybridBlock.forward)
        and not (function._forward_hooks or function._forward_pre_hooks or function._callback)
        and function._cached_graph[1].get_children() is not None  # else it gives back what it is given
        and output.context == rows.context  # what a GPU computes has to be copied
    )
    if not is_graph:
        return lambda batch, rows: function(*batch).copyto(rows)

    def write(batch: Sequence[nd.NDArray], rows: nd.NDArray) -> nd.NDArray:
        arguments = (batch[i] if is_input else i.data() for is_input, i in function._cached_op_args)
        return function._cached_op(*arguments, out=rows)

    return write
