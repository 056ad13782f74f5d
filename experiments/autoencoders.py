"""Autoencoders, five trainings of each kind: size of the code, sparse codes, restored images, maps of the codes.

    python experiments/autoencoders.py                             train what is not recorded yet
    python experiments/autoencoders.py --settings maps --seeds 0   some of it

All are trained on the bundled sample of grey MNIST. "k numbers" is a deep autoencoder by the size of its code;
"sparse" has three codes of 64 units without hidden layers; "denoising" restores corrupted test images, and the
package's classifier reads them; "strangers" has images restored that are not digits, or not as in the training;
"maps" takes codes of 32 numbers to the plane. Chapter 10 reads the record, experiments/results/autoencoders.json, and
makes one entry of each kind again. Errors are squares, summed over the pixels of an image.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.textpath import TextPath
from record import Record
from scipy.fft import dctn, idctn
from sklearn.datasets import load_sample_image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import gluon_vae
from gluon_vae import sample_quality
from gluon_vae.data import Mnist

import mxnet as mx
from mxnet import nd
from mxnet.gluon import HybridBlock

SEEDS = (0, 1, 2, 3, 4)
SIZES = (2, 4, 8, 32)
N_HIDDEN, N_LAYERS, N_CODE, N_UNITS = 128, 1, 32, 64
N_EPOCHS, BATCH_SIZE, LEARNING_RATE = 6, 40, 4e-3
CORRUPTIONS, LEVEL = ("gaussian", "masking"), 0.5
ON = 0.1  # of the largest activity: a unit is on
RECORD = Record(
    "autoencoders",
    data="bundled sample of grey MNIST: 4000 training and 1000 test images",
    model=f"autoencoders, {N_LAYERS} hidden layer of {N_HIDDEN}; sparse: none, {N_UNITS} units",
    training=f"{N_EPOCHS} epochs, batches of {BATCH_SIZE}, learning rate {LEARNING_RATE}",
    units="squared error per test image",
)


def train(net: HybridBlock, x: np.ndarray, seed: int, learning_rate: float = LEARNING_RATE) -> HybridBlock:
    """Train any of the models."""
    net.hybridize(static_alloc=True, static_shape=True)
    settings = {"n_epochs": N_EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": learning_rate}
    gluon_vae.fit(net, x, **settings, seed=seed, progress=False)
    return net


@functools.cache
def deep(n_code: int, seed: int) -> HybridBlock:
    """Train a deep autoencoder, once for all that is measured on it."""
    return train(gluon_vae.Autoencoder(N_HIDDEN, n_code, N_LAYERS), gluon_vae.load_mnist().x_train, seed)


def squared_error(x: np.ndarray, output: np.ndarray) -> float:
    """Return the squared error per image."""
    return float(((x - output) ** 2).sum(axis=1).mean())


def sparse(name: str) -> tuple[HybridBlock, float]:
    """Make one of the three codes of the chapter, with the learning rate that it takes."""
    if name == "plain":
        return gluon_vae.Autoencoder(n_latent=N_UNITS, n_layers=0), LEARNING_RATE
    weight, learning_rate = {"l1": (1, LEARNING_RATE), "kl": (20, 2e-2)}[name]
    net = gluon_vae.SparseAutoencoder(n_latent=N_UNITS, n_layers=0, penalty=name, weight=weight)
    return net, learning_rate


def activity(code: np.ndarray) -> dict[str, float]:
    """Return how many units of codes, (n, n_units), are on for an image, and how many for none of them."""
    on = abs(code) > ON * abs(code).max()
    return {"on": float(on.sum(axis=1).mean()), "idle": int((~on.any(axis=0)).sum())}


def read_correctly(images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that the package's classifier reads as their labels say."""
    return float((sample_quality.classify(images).argmax(axis=1) == labels).mean())


def corrupted(net: HybridBlock, x: np.ndarray) -> np.ndarray:
    """Corrupt images as a denoising autoencoder does in training, always in the same way."""
    mx.random.seed(0)
    return net.corrupt(nd.array(x)).asnumpy()


def restore(plain: HybridBlock, net: HybridBlock, data: Mnist) -> dict[str, dict[str, float]]:
    """Corrupt the test images and restore them by a plain and a denoising autoencoder: errors, and shares read."""
    bad = corrupted(net, data.x_test)
    images = {
        "corrupted": bad,
        "plain": gluon_vae.reconstruct(plain, bad),
        "denoising": gluon_vae.reconstruct(net, bad),
    }
    errors = {name: squared_error(data.x_test, x) for name, x in images.items()}
    for name, of in (("clean, plain", plain), ("clean, denoising", net)):
        errors[name] = squared_error(data.x_test, gluon_vae.reconstruct(of, data.x_test))
    return {"error": errors, "read": {name: read_correctly(x, data.y_test) for name, x in images.items()}}


def strangers(digits: np.ndarray) -> dict[str, np.ndarray]:
    """Make images of seven kinds, (n, 784) each: a hundred digits, and what a network trained on digits never saw.

    Letters; outlines of rectangles; the digits four pixels from their place, and white on black; patches of a
    photograph; noise.
    """
    rng, digits = np.random.default_rng(0), digits[:100]
    photo = load_sample_image("china.jpg").mean(axis=2)[::2, ::2] / 255
    corners = rng.integers(0, np.array(photo.shape) - 28, (100, 2))
    pushed = np.pad(digits.reshape(-1, 28, 28), ((0, 0), (4, 0), (4, 0)))[:, :28, :28]
    images = {
        "digits": digits,
        "letters": np.array([letter(character) for character in "EFHKLMNTVWXY"]),
        "rectangles": np.array([frame(*rng.integers(2, 9, 2), *rng.integers(9, 18, 2)) for _ in range(100)]),
        "pushed digits": pushed,
        "inverted digits": 1 - digits,
        "photo": np.array([photo[i : i + 28, j : j + 28] for i, j in corners]),
        "noise": rng.random((100, 784)),
    }
    return {name: x.reshape(-1, 784).astype("f4") for name, x in images.items()}


def letter(character: str) -> np.ndarray:
    """Draw a letter, (28, 28), four times finer and then averaged."""
    outline = TextPath((0, 0), character, size=26)
    centre = outline.get_extents().get_points().mean(axis=0)
    y, x = (np.mgrid[:112, :112] - 55.5) / 4
    inside = outline.contains_points(np.stack([x.ravel(), -y.ravel()], axis=1) + centre)
    return inside.reshape(28, 4, 28, 4).mean(axis=(1, 3))


def frame(left: int, top: int, width: int, height: int) -> np.ndarray:
    """Draw the outline of a rectangle, (28, 28), three pixels thick."""
    image = np.zeros((28, 28))
    image[top : top + height, left : left + width] = 1
    image[top + 3 : top + height - 3, left + 3 : left + width - 3] = 0
    return image


def lowest_frequencies(x: np.ndarray, n: int = N_CODE) -> np.ndarray:
    """Keep the n lowest frequencies of the cosine transform of images, (batch, 784)."""
    coefficients = dctn(x.reshape(-1, 28, 28), axes=(1, 2), norm="ortho")
    i, j = np.mgrid[:28, :28]
    kept = np.argsort((i**2 + j**2).ravel(), kind="stable")[:n]
    mask = np.isin(np.arange(784), kept).reshape(28, 28)
    return idctn(coefficients * mask, axes=(1, 2), norm="ortho").reshape(-1, 784)


def relative_error(x: np.ndarray, output: np.ndarray) -> float:
    """Return the squared error beside that of the best even grey for each image: 0 is perfect, 1 no better."""
    flat = x.mean(axis=1, keepdims=True)
    return float(((x - output) ** 2).sum() / ((x - flat) ** 2).sum())


def maps(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Map codes, (n, n_latent), to the plane, (n, 2), in two ways."""
    return {"PCA": PCA(2, svd_solver="full").fit_transform(codes), "t-SNE": TSNE(random_state=0).fit_transform(codes)}


def judge_maps(codes: np.ndarray, flat: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Return how well five neighbours tell the digit, by the codes and by each map, and how far to trust a map."""
    neighbours = {
        name: float(cross_val_score(KNeighborsClassifier(5), points, labels, cv=5).mean())
        for name, points in {"codes": codes, **flat}.items()
    }
    trust = {name: float(trustworthiness(codes, points, n_neighbors=10)) for name, points in flat.items()}
    return {"neighbours": neighbours, "trust": trust}


def run(setting: str, seed: int, data: Mnist) -> dict[str, Any]:
    """Train and measure what a setting asks for."""
    begun, result = time.perf_counter(), {}
    if setting == "sparse":
        for name in ("plain", "l1", "kl"):
            net, learning_rate = sparse(name)
            train(net, data.x_train, seed, learning_rate)
            result[name] = activity(gluon_vae.encode(net, data.x_test))
            result[name]["error"] = squared_error(data.x_test, gluon_vae.reconstruct(net, data.x_test))
    else:
        plain = deep(int(setting.split()[0]) if setting.endswith("numbers") else N_CODE, seed)
        if setting == "denoising":
            for kind in CORRUPTIONS:
                net = gluon_vae.DenoisingAutoencoder(N_HIDDEN, N_CODE, N_LAYERS, corruption=kind, level=LEVEL)
                result[kind] = restore(plain, train(net, data.x_train, seed), data)
        elif setting == "maps":
            codes = gluon_vae.encode(plain, data.x_test)
            result |= judge_maps(codes, maps(codes), data.y_test)
        elif setting == "strangers":
            images = strangers(data.x_test)
            result |= {name: relative_error(x, gluon_vae.reconstruct(plain, x)) for name, x in images.items()}
        else:
            result["error"] = squared_error(data.x_test, gluon_vae.reconstruct(plain, data.x_test))
    return rounded(result) | {"seconds": round(time.perf_counter() - begun, 1)}


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Round the numbers in nested dictionaries."""
    return {k: rounded(v) if isinstance(v, Mapping) else round(v, 4) for k, v in values.items()}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    settings = [f"{size} numbers" for size in SIZES] + ["sparse", "strangers", "maps", "denoising"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="*", default=settings, choices=settings, help="(default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for setting, seed in RECORD.missing(args.settings, args.seeds):
        result = run(setting, seed, data)
        RECORD.add(setting, seed, result)
        print(f"{setting}, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
