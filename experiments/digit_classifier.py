"""The digit classifier by which samples are judged: train it, and write its weights into the package.

    python experiments/digit_classifier.py --data FOLDER    the folder with MNIST's four files; about three minutes

Trained on MNIST's training images without the 5000 that are the course's bundled sample, which are found by their
pixels. So both the sample and the test set are new to it; its accuracy on them is printed, and is written beside the
weights in gluon_vae/digit_classifier.npz, which has them in half precision: the numbers are those of the rounded
ones.
"""

from __future__ import annotations

import argparse
import json
import platform
from types import ModuleType

import numpy as np

import gluon_vae
from gluon_vae import digit_classifier
from gluon_vae.arrays import Array
from gluon_vae.checkpoint import parameters_of
from gluon_vae.digit_classifier import WEIGHTS, DigitClassifier
from gluon_vae.storage import replacing

import mxnet as mx
from mxnet import nd
from mxnet.gluon import HybridBlock

SEED, N_EPOCHS, LEARNING_RATE = 0, 5, 2e-3
SHIFT = 2  # pixels at most, up or down and left or right, of a second copy of every image


class CrossEntropy(HybridBlock):
    """The loss that ``fit`` minimises: -log q(y|x), (batch,), in nats."""

    n_classes = 10

    def __init__(self, classifier: DigitClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def hybrid_forward(self, F: ModuleType, x: Array, y: Array) -> Array:
        return -F.pick(F.log_softmax(self.classifier(x)), y)


def unseen(x: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return which rows of x are not among those of the sample, (n,) bool."""
    known = {row.tobytes() for row in (sample * 255).round().astype(np.uint8)}
    return np.array([row.tobytes() not in known for row in (x * 255).round().astype(np.uint8)])


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move every image by its own few pixels; what leaves it is lost."""
    images = np.pad(x.reshape(-1, 28, 28), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    moves = rng.integers(0, 2 * SHIFT + 1, (2, len(x)))
    windows = np.lib.stride_tricks.sliding_window_view(images, (28, 28), axis=(1, 2))
    return windows[np.arange(len(x)), moves[0], moves[1]].reshape(len(x), -1)


def scale_features(net: DigitClassifier, x: np.ndarray) -> None:
    """Give the features a mean variance of 1 over images x, and take the factor back in the layer after them."""
    batches = np.array_split(x, max(1, len(x) // 1000))
    features = np.concatenate([net.features(nd.array(batch)).asnumpy() for batch in batches])
    factor = float(features.var(axis=0).mean() ** -0.5)
    dense = net.features[-1]
    for parameter, by in ((dense.weight, factor), (dense.bias, factor), (net.log_odds.weight, 1 / factor)):
        parameter.set_data(parameter.data() * by)


def main() -> None:
    """Train the classifier, write its weights, and measure what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="a folder with MNIST's four files (default: the cache)")
    args = parser.parse_args()
    data, sample = gluon_vae.load_mnist(args.data), gluon_vae.load_mnist()
    bundled, labels = np.concatenate([sample.x_train, sample.x_test]), np.concatenate([sample.y_train, sample.y_test])
    kept = unseen(data.x_train, bundled)
    assert kept.sum() == len(kept) - len(bundled)
    x, y = data.x_train[kept], data.y_train[kept]
    net = DigitClassifier()
    x_both = np.concatenate([x, shifted(x, np.random.default_rng(SEED))])
    settings = {"n_epochs": N_EPOCHS, "learning_rate": LEARNING_RATE, "seed": SEED}
    loss = CrossEntropy(net)
    loss.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(loss, x_both, y_train=np.tile(y, 2), **settings)
    scale_features(net, x)
    weights = {name: values.astype(np.float16) for name, values in parameters_of(net).items()}
    made = {
        "command": "python experiments/digit_classifier.py",
        "data": f"grey MNIST's training images without the {len(bundled)} of the bundled sample: {len(x)}",
        "copies": f"each image also once shifted by up to {SHIFT} pixels",
        **settings,
        "versions": {"python": platform.python_version(), "mxnet": mx.__version__, "numpy": np.__version__},
    }
    write(weights, made)
    made["test accuracy"] = accuracy(data.x_test, data.y_test)
    made["accuracy on the bundled sample"] = accuracy(bundled, labels)
    write(weights, made)
    print(json.dumps(made, indent=1))


def write(weights: dict[str, np.ndarray], made: dict[str, object]) -> None:
    """Write the package's file."""
    with replacing(WEIGHTS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, made=np.array(json.dumps(made)), **weights)


def accuracy(x: np.ndarray, y: np.ndarray) -> float:
    """Measure with the weights of the file."""
    return round(float((digit_classifier.classify(x).argmax(axis=1) == y).mean()), 4)


if __name__ == "__main__":
    main()
