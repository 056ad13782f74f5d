"""The models and digits of the explorer: train them, and write docs/explorer/weights.js.

    python experiments/explorer.py --data FOLDER      the folder with MNIST's four files; about ten minutes
    python experiments/explorer.py --data sample --epochs 5 --out FILE       a quick one, to work on the page

A VAE, a plain autoencoder and a beta-VAE, alike but for the loss, are trained on grey MNIST. The page computes with
their weights rounded to 8 or 16 bits, a scale for each row, and what the file says of a model is measured with those.
The first test digits come with them, 4 bits a pixel.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gluon_vae
from gluon_vae.evaluation import Estimate, elbo, loss_terms
from gluon_vae.storage import replacing

import mxnet as mx
from mxnet import nd
from mxnet.gluon import HybridBlock

WEIGHTS = Path(__file__).parents[1] / "docs" / "explorer" / "weights.js"
CHECKPOINTS = Path(__file__).parents[1] / "out" / "explorer"  # so that what was interrupted goes on
SEED, N_EPOCHS, N_DIGITS = 0, 50, 1000
SIZES = {"n_hidden": 200, "n_latent": 2, "n_layers": 2}
LARGE = 100_000  # numbers: a matrix of more is rounded to 8 bits, another, whose errors cost more, to 16
GREYS = 15  # of the digits' pixels, above 0
EXPORT = 'if (typeof module !== "undefined") module.exports = WEIGHTS;\n'  # for node


class Recipe(NamedTuple):
    """What a model is called on the page, and how it is made."""

    title: str
    make: Callable[..., HybridBlock]
    options: dict[str, Any]


MODELS = {
    "vae": Recipe("VAE", gluon_vae.VAE, {}),
    "ae": Recipe("autoencoder", gluon_vae.Autoencoder, {}),
    "beta": Recipe("β-VAE, β = 4", gluon_vae.VAE, {"beta": 4.0}),
}


def trained(name: str, data: gluon_vae.data.Mnist, n_epochs: int, checkpoint: Path) -> HybridBlock:
    """Train a model, or what is left of its training if that was interrupted, or nothing if it had ended."""
    net = MODELS[name].make(**SIZES, **MODELS[name].options)
    net.hybridize(static_alloc=True, static_shape=True)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    gluon_vae.fit(net, data.x_train, n_epochs=n_epochs, seed=SEED, checkpoint=checkpoint, resume=True)
    return net


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round a matrix, (n, m), to integers with a scale for each row, (n,) float32: ``scale * integer`` is near it."""
    integer = np.dtype("i1" if weight.size > LARGE else "<i2")
    largest = np.abs(weight).max(axis=1)
    scale = (np.where(largest > 0, largest, 1) / np.iinfo(integer).max).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(integer), scale


def dense_layers(network: HybridBlock) -> Iterator[tuple[mx.gluon.Parameter, mx.gluon.Parameter]]:
    """Yield weight and bias of each layer of an MLP in the order in which they are applied."""
    for layer in network:
        yield layer.weight, layer.bias


def packed(network: HybridBlock) -> dict[str, Any]:
    """Pack an MLP, and leave it with the rounded weights.

    Returns
    -------
    dict
        ``sizes``, of its input and of every layer; ``bits`` of the weights of each layer; and ``bytes``, base64,
        little-endian: of each layer the scales (n,) and the bias (n,), float32, then the weights (n, m), row by row.
    """
    sizes, bits, parts = [network[0].weight.shape[1]], [], []
    for weight, bias in dense_layers(network):
        integers, scale = rounded(weight.data().asnumpy())
        weight.set_data(nd.array(integers * scale[:, None]))
        sizes.append(len(integers))
        bits.append(8 * integers.itemsize)
        parts += [scale.astype("<f4"), bias.data().asnumpy().astype("<f4"), integers]
    return {"sizes": sizes, "bits": bits, "bytes": _base64(b"".join(part.tobytes() for part in parts))}


def unpacked(network: HybridBlock, packed: dict[str, Any]) -> None:
    """Give an MLP of these sizes what ``packed`` returned, as the page reads it."""
    content = memoryview(base64.b64decode(packed["bytes"]))
    for (weight, bias), n, m, bits in zip(
        dense_layers(network), packed["sizes"][1:], packed["sizes"], packed["bits"], strict=False
    ):
        floats, end = content[: 8 * n], 8 * n + n * m * bits // 8
        scale, values = np.frombuffer(floats, "<f4").reshape(2, n)
        integers = np.frombuffer(content[8 * n : end], f"<i{bits // 8}").reshape(n, m)
        weight.set_data(nd.array(integers * scale[:, None]))
        bias.set_data(nd.array(values))
        content = content[end:]


def measured(net: HybridBlock, x: np.ndarray) -> dict[str, float]:
    """Measure a model on test images, in nats per image: its ELBO, or its NLL if it has none; with standard error."""
    if hasattr(net, "nll_given"):
        name, estimate = "elbo", elbo(net, x, seed=SEED)
    else:
        name, estimate = "nll", Estimate.of(loss_terms(net, nd.array(x))["nll"])
    return {name: round(estimate.mean, 2), "standard_error": round(estimate.standard_error, 2)}


def digits(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Pack images, (n, 784), 4 bits a pixel, the first of two in the upper half of a byte, and their labels."""
    grey = np.rint(x * GREYS).astype(np.uint8)
    return {"labels": "".join(map(str, y)), "bytes": _base64((grey[:, ::2] << 4 | grey[:, 1::2]).tobytes())}


def images(packed: dict[str, Any]) -> np.ndarray:
    """Return the images that ``digits`` packed, (n, 784), float32."""
    pairs = np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8)
    grey = np.stack([pairs >> 4, pairs & GREYS], axis=1).reshape(len(packed["labels"]), -1)
    return grey.astype(np.float32) / np.float32(GREYS)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def write(path: Path, made: dict[str, Any], models: dict[str, Any], shown: dict[str, Any]) -> None:
    """Write the script that the page loads: a page that is opened from a disk may not read other files."""
    content = json.dumps({"made": made, "models": models, "digits": shown}, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'// Written by experiments/explorer.py.\n"use strict";\n\nconst WEIGHTS = {content};\n\n{EXPORT}'
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read(path: Path = WEIGHTS) -> dict[str, Any]:
    """Return what ``write`` wrote."""
    return json.loads(path.read_text(encoding="utf-8").split("const WEIGHTS = ")[1].removesuffix(f";\n\n{EXPORT}"))


def main() -> None:
    """Train what is not trained yet, round, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="mnist", help="'sample', or a folder with MNIST's four files (default: the cache)"
    )
    parser.add_argument("--epochs", type=int, default=N_EPOCHS, help=f"of every training (default: {N_EPOCHS})")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="(default: docs/explorer/weights.js)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist(args.data)
    models = {}
    for name, recipe in MODELS.items():
        net = trained(name, data, args.epochs, CHECKPOINTS / f"{name}-{len(data.x_train)}-{args.epochs}.checkpoint")
        before = measured(net, data.x_test)
        networks = {"encoder": packed(net.encoder), "decoder": packed(net.decoder.logits)}
        test = measured(net, data.x_test) | {"before rounding": before}
        models[name] = {"title": recipe.title, "config": net.config, "test": test, **networks}
        print(name, test, flush=True)
    made = {
        "command": "python experiments/explorer.py",
        "data": f"grey MNIST, {len(data.x_train):,} training images",
        "test": f"nats per image of {len(data.x_test):,} test images, by the rounded weights",
        "epochs": args.epochs,
        "seed": SEED,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "versions": {"python": platform.python_version(), "mxnet": mx.__version__, "numpy": np.__version__},
    }
    write(args.out, made, models, digits(data.x_test[:N_DIGITS], data.y_test[:N_DIGITS]))


if __name__ == "__main__":
    main()
