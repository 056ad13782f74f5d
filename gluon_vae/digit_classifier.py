"""One fixed classifier of digits: what it sees in an image, and which digit.

Drawn images are judged by it, so it is always the same one: its weights are a file of the package, written by
``experiments/digit_classifier.py``. They were trained on MNIST's training images without the 5000 of the bundled
sample: those, and MNIST's test images, are new to it.
"""

from __future__ import annotations

import functools
import json
import zipfile
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mxnet import init, nd
from mxnet.gluon import HybridBlock, nn

from . import checks
from .arrays import Array, in_batches, to_device, to_numpy

WEIGHTS = Path(__file__).with_name("digit_classifier.npz")
CHANNELS, N_FEATURES, SIDE = (16, 32, 48), 64, 28


class DigitClassifier(HybridBlock):
    """Three convolutions, each with pooling, and two dense layers: (batch, 784) to the log-odds of ten digits.

    Attributes
    ----------
    features : HybridBlock
        Maps images to the last hidden layer, (batch, N_FEATURES).
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(nn.HybridLambda(lambda F, x: F.reshape(x, shape=(-1, 1, SIDE, SIDE))))
        for n_input, n_channels in pairwise((1, *CHANNELS)):
            layer = nn.Conv2D(n_channels, 3, padding=1, activation="relu", in_channels=n_input)
            self.features.add(layer, nn.MaxPool2D())
        n_flat = CHANNELS[-1] * (SIDE // 2 ** len(CHANNELS)) ** 2
        self.features.add(nn.Dense(N_FEATURES, activation="relu", in_units=n_flat))
        self.log_odds = nn.Dense(10, in_units=N_FEATURES)

    def hybrid_forward(self, F: ModuleType, x: Array) -> Array:
        return self.log_odds(self.features(x))


@functools.cache
def _classifier() -> DigitClassifier:
    """Read the weights; damaged or foreign ones are refused."""
    net = DigitClassifier()
    net.initialize(init.Zero())
    try:
        # Opened here, since NumPy leaves a file open in which it finds no archive.
        with WEIGHTS.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for name, parameter in net._collect_params_with_prefix().items():
                values = file[name].astype(np.float32)
                if values.shape != parameter.shape or not np.isfinite(values).all():
                    raise ValueError(f"{name} is not as it should be")
                parameter.set_data(nd.array(values))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{WEIGHTS} must hold the digit classifier's weights ({error}): install gluon-vae again"
        ) from None
    net.hybridize()
    return net


def made() -> dict[str, Any]:
    """Return how the classifier was made: command, data, seed, epochs, and its accuracy on images new to it."""
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return json.loads(str(file["made"]))


def features(x: Any) -> np.ndarray:
    """Map images to the last hidden layer of the digit classifier.

    Parameters
    ----------
    x : (n, 784)
        Floating-point images, pixels in [0, 1]; the classifier has seen grey ones.

    Returns
    -------
    (n, N_FEATURES) float32
        At least 0; their variance over real digits is 1 on average.

    Raises
    ------
    ValueError
        If ``x`` is not as described.
    """
    net = _classifier()
    return in_batches(net.features, *_inputs(net, x))


def classify(x: Any) -> np.ndarray:
    """Say which digit each image is.

    A classifier has no word for what is no digit: of a blur it can be as sure as of a digit.

    Parameters
    ----------
    x : (n, 784)
        Floating-point images, pixels in [0, 1].

    Returns
    -------
    (n, 10) float32
        Probabilities.

    Raises
    ------
    ValueError
        If ``x`` is not as described.
    """
    net = _classifier()
    return in_batches(lambda batch: nd.softmax(net(batch)), *_inputs(net, x), cost_of=net)


def _inputs(net: HybridBlock, x: Any) -> tuple[nd.NDArray, ...]:
    return to_device(net, to_numpy(checks.images("x", x, SIDE * SIDE)))
