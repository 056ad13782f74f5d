"""Contestant: the limit, the matrix products of a training step and nothing else.

Each dense layer multiplies once forward and twice backward, for its weight and for its input; the
first needs no gradient of its input. ``library`` is "torch" (MKL) or "mxnet" (oneDNN).
"""

from collections.abc import Callable
from itertools import pairwise

from worker import WIDTHS, Channel, load_images


def products(batch_size: int) -> list[tuple[int, int, int]]:
    """Return (m, k, n) of every product of (m, k) with (k, n) in a step, in order."""
    layers = [pair for widths in WIDTHS for pair in pairwise(widths)]
    shapes = [(batch_size, n_input, n_units) for n_input, n_units in layers]
    for n_input, n_units in reversed(layers):
        shapes.append((n_units, batch_size, n_input))  # of the weight
        if (n_input, n_units) != layers[0]:
            shapes.append((batch_size, n_units, n_input))  # of the input
    return shapes


def torch_step(shapes: list[tuple[int, int, int]], threads: int) -> tuple[Callable, Callable]:
    """Return a step by ``torch.mm`` into arrays that are there already, and what waits for it."""
    import torch

    torch.set_num_threads(threads)
    arrays = [(torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)) for m, k, n in shapes]

    def step() -> None:
        for a, b, c in arrays:
            torch.mm(a, b, out=c)

    return torch.inference_mode()(step), lambda: None


def mxnet_step(shapes: list[tuple[int, int, int]], threads: int) -> tuple[Callable, Callable]:
    """Return a step by ``FullyConnected``, MXNet's fastest product, and what waits for it."""
    import gluon_vae  # noqa: F401, I001  MXNet imports after it only
    import mxnet as mx
    from mxnet import nd

    uniform = nd.random.uniform
    arrays = [(uniform(shape=(m, k)), uniform(shape=(n, k)), nd.zeros((m, n)), n) for m, k, n in shapes]

    def step() -> None:
        for a, b, c, n in arrays:
            nd.FullyConnected(a, b, num_hidden=n, no_bias=True, out=c)

    return step, mx.nd.waitall


def main() -> None:
    """Allocate the matrices and serve."""
    channel = Channel()
    options = channel.options
    x_train, _ = load_images(options)
    batch_size = options["batch_size"]
    shapes = products(batch_size)
    make = torch_step if options["library"] == "torch" else mxnet_step
    step, wait = make(shapes, options["threads"])

    def epoch() -> dict:
        n_steps = len(x_train) // batch_size
        for _ in range(n_steps):
            step()
        wait()
        return {"flops": 2 * n_steps * sum(m * k * n for m, k, n in shapes)}

    channel.serve(epoch=epoch)


if __name__ == "__main__":
    main()
