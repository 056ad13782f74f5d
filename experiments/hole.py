"""What comes of codes that are drawn: autoencoders and VAEs, in the plane and in more dimensions, by one ruler.

    python experiments/hole.py                                        train and measure what is not recorded yet
    python experiments/hole.py --models "AE 2-D" "VAE 2-D" --seeds 0  some of it

Every model is trained on the bundled sample of grey MNIST. Codes are then taken from several places, a distribution
fitted to the training images' codes being one, decoded, and a thousand pictures of each kind are held against the
thousand test digits in the features of the package's digit classifier. With a plane of codes log p(x) is integrated
too, under N(0, I) and under the fitted Gaussian. Chapter 11 reads the record, experiments/results/hole.json, and
trains some of it again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from record import Record
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

import gluon_vae
from gluon_vae.layers import mlp
from gluon_vae.sample_quality import classify, features, frechet_distance, kernel_distance, precision_recall

from mxnet import nd
from mxnet.gluon import HybridBlock

SEEDS = (0, 1, 2, 3, 4)
N_HIDDEN, N_LAYERS = 200, 2
N_PICTURES = 1000  # of each kind, as many as there are test digits
N_COMPONENTS = 10  # of the mixture that is fitted to codes
N_INTEGRATED = 100  # test digits whose log p(x) is integrated
# Nodes along an axis and how far they reach, in standard deviations. Codes are crowded under the fitted Gaussian.
GRIDS = {"N(0, I)": (241, 7.2), "fitted Gaussian": (481, 6.0)}
SETTINGS = {"n_epochs": 12, "learning_rate": 4e-3, "progress": False}
RECORD = Record(
    "hole",
    data="bundled sample of grey MNIST: 4000 training images, 1000 test images",
    model=f"2-D and 32-D: {N_LAYERS} hidden layers of {N_HIDDEN}, {SETTINGS['n_epochs']} epochs",
    pictures=N_PICTURES,
    ruler="gluon_vae.sample_quality, against the test digits",
)


def composed() -> HybridBlock:
    """Make a VAE of an encoder and a decoder that are handed to it: 784-512-512-2 and back."""
    return gluon_vae.ComposedVAE(mlp(784, 512, 2, 4, "relu"), mlp(2, 512, 2, 784, "relu"), n_latent=2)


PLACES = ("reconstructions", "midpoints", "N(0, I)", "fitted Gaussian", "ten Gaussians")
OF_VAE = tuple(place for place in PLACES if place != "fitted Gaussian")  # which is about N(0, I)
SHOWN = ("decoded training images", "N(0, I)")  # what was called samples, and what is


class Recipe(NamedTuple):
    """How a model is made, what of its training differs from ``SETTINGS``, and where codes are taken from."""

    make: Callable[[], HybridBlock]
    settings: dict[str, Any]
    places: tuple[str, ...] = PLACES


MODELS = {
    "AE 2-D": Recipe(partial(gluon_vae.Autoencoder, N_HIDDEN, 2, N_LAYERS), {}),
    "VAE 2-D": Recipe(partial(gluon_vae.VAE, N_HIDDEN, 2, N_LAYERS), {}, OF_VAE),
    "AE 32-D": Recipe(partial(gluon_vae.Autoencoder, N_HIDDEN, 32, N_LAYERS), {}),
    "VAE 32-D": Recipe(partial(gluon_vae.VAE, N_HIDDEN, 32, N_LAYERS), {}, OF_VAE),
    "composed VAE 2-D": Recipe(composed, {"learning_rate": 2e-3}, SHOWN),
    "MLP 784-128-100": Recipe(
        partial(gluon_vae.VAE, 128, 100), {"n_epochs": 16, "learning_rate": 1e-3, "batch_size": 64}, SHOWN
    ),
}


def train(name: str, seed: int, x: np.ndarray, **changed: Any) -> HybridBlock:
    """Train one of the models on images, (n, 784); other settings of its training may be given."""
    net = MODELS[name].make()
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, x, seed=seed, **(SETTINGS | MODELS[name].settings | changed))
    return net


def codes_of(net: HybridBlock, x: np.ndarray, seed: int) -> np.ndarray:
    """Return a code of every image, (n, n_latent) float64: the autoencoder's, or one draw of a VAE's q(z|x)."""
    encoded = net.encoder(nd.array(x)).asnumpy().astype(float)
    mean, log_var = encoded[:, : net.n_latent], encoded[:, net.n_latent :]
    if not log_var.size:
        return mean
    return mean + np.exp(0.5 * log_var) * np.random.default_rng(seed).standard_normal(mean.shape)


def gaussian(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a Gaussian to codes, (n, d): its mean, (d,), and a factor F, (d, d), of its covariance F F'."""
    return codes.mean(axis=0), np.linalg.cholesky(np.atleast_2d(np.cov(codes.T)))


def places(
    net: HybridBlock, x_train: np.ndarray, x_test: np.ndarray, seed: int, names: tuple[str, ...] = PLACES
) -> dict[str, np.ndarray]:
    """Return codes from every place where they might be taken from, as many as ``x_test`` has images.

    'reconstructions': those of the test images; 'decoded training images': those of training images; 'midpoints' of
    the codes of random pairs of test images; 'N(0, I)'; draws of the 'fitted Gaussian' and of 'ten Gaussians', fitted
    to the codes of the training images. The codes of a VAE's images are draws of q(z|x).
    """
    n, seen = len(x_test), codes_of(net, x_train, seed)
    own, eps = codes_of(net, x_test, seed + 1), gluon_vae.prior_draws(n, net.n_latent, seed=seed)
    pairs = np.random.default_rng(seed).integers(0, n, (2, n))
    mean, factor = gaussian(seen)
    known: dict[str, Callable[[], np.ndarray]] = {
        "reconstructions": lambda: own,
        "decoded training images": lambda: seen[:n],
        "midpoints": lambda: own[pairs].mean(axis=0),
        "N(0, I)": lambda: eps,
        "fitted Gaussian": lambda: mean + eps @ factor.T,
        "ten Gaussians": lambda: GaussianMixture(N_COMPONENTS, random_state=seed).fit(seen).sample(n)[0],
    }
    return {name: known[name]() for name in names}


def judge(pictures: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """Hold pictures, (n, 784), against features of real ones, (m, k).

    The four numbers of the ruler; the classifier's mean confidence in its favourite digit, and how often it is which.
    """
    own, probabilities = features(pictures), classify(pictures)
    precision, recall = precision_recall(real, own)
    values = {"frechet": frechet_distance(own, real), "kernel": kernel_distance(own, real)}
    values |= {"precision": precision, "recall": recall, "confidence": probabilities.max(axis=1).mean()}
    digits = np.bincount(probabilities.argmax(axis=1), minlength=10) / len(pictures)
    rounded: dict[str, Any] = {name: round(float(value), 4) for name, value in values.items()}
    return rounded | {"digits": [round(float(share), 4) for share in digits]}


def log_likelihood(net: HybridBlock, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return log p(x|z) of all images, (n, n_output), at all codes, (m, n_latent): (m, n) nats."""
    logits = net.decoder.logits(nd.array(z))
    # NumPy's sum takes a tenth of the time of MXNet's, which takes longer than the decoder.
    log_partition = nd.Activation(logits, "softrelu").asnumpy().sum(axis=1, keepdims=True)
    return logits.asnumpy() @ x.T - log_partition


def log_evidence(
    net: HybridBlock, x: np.ndarray, mean: np.ndarray, factor: np.ndarray, side: int, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Integrate p(x|z) over z = mean + factor eps with eps ~ N(0, I), in the plane.

    Returns
    -------
    fine, coarse : (n,)
        log p(x) in nats by the sum over all nodes, and over every second one of each axis, whose number must be odd.
    """
    axis, step = np.linspace(-reach, reach, side, retstep=True)
    sums: tuple[list, list] = ([], [])
    for i, eps_2 in enumerate(axis):
        eps = np.stack([axis, np.full_like(axis, eps_2)], axis=1)
        log_prior = -0.5 * (eps**2).sum(axis=1, keepdims=True) - np.log(2 * np.pi)
        row = log_likelihood(net, x, mean + eps @ factor.T) + log_prior
        sums[0].append(logsumexp(row, axis=0) + 2 * np.log(step))
        if i % 2 == 0:
            sums[1].append(logsumexp(row[::2], axis=0) + 2 * np.log(2 * step))
    fine, coarse = (logsumexp(rows, axis=0) for rows in sums)
    return fine, coarse


def evidences(
    net: HybridBlock, x_train: np.ndarray, x_test: np.ndarray, seed: int, names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Integrate log p(x) under N(0, I) and the fitted Gaussian, if asked for, and what coarser grids change."""
    densities = {"N(0, I)": (np.zeros(2), np.eye(2)), "fitted Gaussian": gaussian(codes_of(net, x_train, seed))}
    result = {}
    for name in (name for name in names if name in densities):
        fine, coarse = log_evidence(net, x_test[:N_INTEGRATED], *densities[name], *GRIDS[name])
        values = {"log_p": fine.mean(), "worst_change": abs(fine - coarse).max()}
        result[name] = {key: round(float(value), 3) for key, value in values.items()}
    return result


def measure(name: str, net: HybridBlock, data: gluon_vae.data.Mnist, seed: int) -> dict[str, Any]:
    """Judge the pictures of every place, and integrate log p(x) where codes are a plane."""
    x_test = data.x_test[:N_PICTURES]
    real = features(x_test)
    result: dict[str, Any] = {}
    for place, z in places(net, data.x_train, x_test, seed, MODELS[name].places).items():
        result[place] = judge(gluon_vae.generate(net, z.astype(np.float32)), real)
    if net.n_latent == 2 and "reconstructions" in result:
        result["log_p"] = evidences(net, data.x_train, x_test, seed, MODELS[name].places)
    return result


def run(name: str, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Train one model and measure it; 'real digits' are training images, another thousand for each seed."""
    begun = time.perf_counter()
    if name == "real digits":
        some = np.random.default_rng(seed).permutation(len(data.x_train))[:N_PICTURES]
        result = {"training images": judge(data.x_train[some], features(data.x_test[:N_PICTURES]))}
    else:
        result = measure(name, train(name, seed, data.x_train), data, seed)
    return result | {"seconds": round(time.perf_counter() - begun)}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["real digits", *MODELS]
    parser.add_argument("--models", nargs="*", default=names, choices=names, help="default: all", metavar="MODEL")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for name, seed in RECORD.missing(args.models, args.seeds):
        result = run(name, seed, data)
        RECORD.add(name, seed, result)
        print(f"{name}, seed {seed}: {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
