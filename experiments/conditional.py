"""What a label is worth: VAEs that are told the digit on both sides, on one side and on none, five trainings each.

    python experiments/conditional.py                     train and measure what is not recorded yet
    python experiments/conditional.py both --seeds 0      some of it

Every model is trained on the bundled sample of grey MNIST. With two latent dimensions log p(x) and log p(x|y) are
sums over a grid of the plane. Chapter 13 reads the record, experiments/results/conditional.json, and trains one seed
again. All likelihoods are in nats per test image. About four minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from types import ModuleType
from typing import Any

import numpy as np
from record import Record
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import gluon_vae
from gluon_vae.arrays import Array
from gluon_vae.layers import Conditioned, mlp
from gluon_vae.sample_quality import classify, features, sample_quality

from mxnet import nd
from mxnet.gluon import HybridBlock

KINDS = ("none", "both", "encoder", "decoder")  # who is told the label
SEEDS = (0, 1, 2, 3, 4)
N_HIDDEN, N_LAYERS, N_EPOCHS, LEARNING_RATE = 200, 2, 20, 5e-3
N_DRAWS = 5  # of z for each ELBO
AXIS, STEP = np.linspace(-5, 5, 101, retstep=True)  # of the grid on which likelihoods are summed
N_CODES = 200  # with which every digit is asked for
N_SAMPLES = 1000  # that the ruler compares with the test digits
K = 3  # a picture is like a digit's real ones if one of them has it no farther than its k-th nearest neighbour
DIGITS = np.arange(10)
RECORD = Record(
    "conditional",
    data="bundled sample of grey MNIST: 4000 training and 1000 test images",
    model=f"{N_LAYERS} hidden layers of {N_HIDDEN}, 2-D latent, {N_EPOCHS} epochs from a rate of {LEARNING_RATE}",
    codes=N_CODES,
    units="nats per image",
)


class Deaf(Conditioned):
    """A network with the same parameters that is told nothing: zeros in the label's place."""

    def hybrid_forward(self, F: ModuleType, x: Array, y: Array) -> Array:
        return self.network(F.concat(x, 0 * F.one_hot(y, 10), dim=1))


def build(kind: str) -> HybridBlock:
    """Make a model that is told the label where ``kind`` says."""
    if kind == "none":
        return gluon_vae.VAE(n_hidden=N_HIDDEN, n_latent=2, n_layers=N_LAYERS)
    if kind == "both":
        return gluon_vae.ConditionalVAE(n_hidden=N_HIDDEN, n_latent=2, n_layers=N_LAYERS)
    encoder = (Conditioned if kind == "encoder" else Deaf)(mlp(784 + 10, N_HIDDEN, N_LAYERS, 2 * 2, "relu"), 10)
    decoder = (Conditioned if kind == "decoder" else Deaf)(mlp(2 + 10, N_HIDDEN, N_LAYERS, 784, "relu"), 10)
    return gluon_vae.ComposedVAE(encoder, decoder, 2, 784, n_classes=10)


def train(net: HybridBlock, seed: int, data: gluon_vae.data.Mnist) -> None:
    """Train a model, with labels where it takes them."""
    net.hybridize(static_alloc=True, static_shape=True)
    labels = {} if net.n_classes is None else {"y_train": data.y_train}
    settings = {"n_epochs": N_EPOCHS, "learning_rate": LEARNING_RATE, "seed": seed, "progress": False}
    gluon_vae.fit(net, data.x_train, **labels, **settings)


def log_evidence(net: HybridBlock, x: np.ndarray, digit: int | None = None) -> np.ndarray:
    """Sum p(z) p(x|z, digit) over the grid; return the logarithm for every image, (n,)."""
    nodes = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
    label = () if digit is None else (nd.full(len(nodes), digit),)
    logits = net.decoder.logits(nd.array(nodes), *label)
    of_node = norm.logpdf(nodes).sum(axis=1) - nd.Activation(logits, "softrelu").sum(axis=1).asnumpy()
    joint = logits.asnumpy() @ x.T + of_node[:, None].astype(np.float32)
    top = joint.max(axis=0)
    return top + np.log(np.exp(joint - top).sum(axis=0)) + 2 * np.log(STEP)


def digit_in_code(net: HybridBlock, data: gluon_vae.data.Mnist) -> float:
    """Return how many digits of test images 20 nearest neighbours read from the posterior means."""
    y_train, y_test = (None, None) if net.n_classes is None else (data.y_train, data.y_test)
    classifier = KNeighborsClassifier(20).fit(gluon_vae.encode(net, data.x_train, y_train), data.y_train)
    return float(classifier.score(gluon_vae.encode(net, data.x_test, y_test), data.y_test))


def slant(images: np.ndarray) -> np.ndarray:
    """Return the slope of every picture's ink: the covariance of column and row over the variance of row."""
    row, column = (axis.ravel() - 13.5 for axis in np.mgrid[:28, :28])
    ink = images / images.sum(axis=1, keepdims=True)
    centre_row, centre_column = ink @ row, ink @ column
    return (ink @ (row * column) - centre_row * centre_column) / (ink @ row**2 - centre_row**2)


def alike(values: np.ndarray) -> float:
    """Return the correlation over codes, averaged over pairs of digits, of one number per picture, (10, n)."""
    return float(np.corrcoef(values)[np.triu_indices(10, 1)].mean())


def covered(pictures: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Tell which pictures lie among real ones, (n,) bool, given the features of both."""
    radii = np.sort(cdist(real, real), axis=1)[:, K]  # the nearest of all is itself
    return (cdist(pictures, real) <= radii).any(axis=1)


def log_density_ratio(net: HybridBlock, z: np.ndarray, x: np.ndarray, digit: int) -> np.ndarray:
    """Return log q(z) - log p(z), (n,): how dense the codes of a digit's images lie, beside the prior."""
    encoded = net.encoder(nd.array(x), nd.full(len(x), digit)).asnumpy().astype(float)
    mu, std = encoded[:, :2], np.exp(0.5 * encoded[:, 2:])
    log_q = norm.logpdf(z[:, None], mu, std).sum(axis=2)
    return logsumexp(log_q, axis=1) - np.log(len(x)) - norm.logpdf(z).sum(axis=1)


def auc(bad: np.ndarray, score: np.ndarray) -> float | None:
    """Return how often a bad one has the larger score than a good one; None where there are too few of either."""
    return round(float(roc_auc_score(bad, score)), 3) if 5 <= bad.sum() <= len(bad) - 5 else None


def asked_for(net: HybridBlock, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Ask for every digit with the same codes, and judge what comes out."""
    z = gluon_vae.prior_draws(N_CODES, 2, seed=seed)
    asked = np.stack([gluon_vae.generate(net, z, int(digit)) for digit in DIGITS])
    result: dict[str, Any] = {
        "obeyed": [float((classify(x).argmax(axis=1) == digit).mean()) for x, digit in zip(asked, DIGITS)],
        "slant": alike(np.stack([slant(x) for x in asked])),
        "ink": alike(asked.sum(axis=2)),
        "like": [],
        "like, test": [],
        "empty": [],
        "auc": [],
    }
    for digit, x in zip(DIGITS, asked):
        own = data.x_train[data.y_train == digit]
        real, test = features(own), features(data.x_test[data.y_test == digit])
        good, dense = covered(features(x), real), log_density_ratio(net, z, own, int(digit))
        result["like"].append(float(good.mean()))
        result["like, test"].append(float(covered(test, real).mean()))
        result["empty"].append(float((dense < np.log(0.1)).mean()))
        result["auc"].append(auc(~good, -dense))
    drawn = asked[:, : N_SAMPLES // 10].reshape(-1, 784)
    return result | {"quality": quality(drawn, seed, data)}


def quality(x: np.ndarray, seed: int, data: gluon_vae.data.Mnist) -> dict[str, list[float]]:
    """Compare with the test digits; return each number with its standard error."""
    measured = sample_quality(x, data.x_test, seed=seed)._asdict()
    return {name: [round(float(number), 4) for number in value] for name, value in measured.items()}


def run(kind: str, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Train one model and measure it."""
    begun = time.perf_counter()
    net, x, y = build(kind), data.x_test, data.y_test
    train(net, seed, data)
    result: dict[str, Any] = {"in code": digit_in_code(net, data)}
    if net.n_classes is None:
        result["elbo"] = gluon_vae.elbo(net, x, n_samples=N_DRAWS, seed=seed).mean
        result["log p"] = float(log_evidence(net, x).mean())
        drawn = gluon_vae.generate(net, gluon_vae.prior_draws(N_SAMPLES, 2, seed=seed))
        counts = np.bincount(classify(drawn).argmax(axis=1), minlength=10)
        return result | {"counts": counts.tolist(), "quality": quality(drawn, seed, data)} | _seconds(begun)
    if kind == "both":
        return result | under_every_label(net, seed, data) | asked_for(net, seed, data) | _seconds(begun)
    given = np.empty(len(x))
    for digit in DIGITS:
        given[y == digit] = log_evidence(net, x[y == digit], int(digit))
    z = gluon_vae.prior_draws(N_CODES, 2, seed=seed)
    obeyed = [classify(gluon_vae.generate(net, z, int(digit))).argmax(axis=1) == digit for digit in DIGITS]
    result["elbo"] = gluon_vae.elbo(net, x, y, n_samples=N_DRAWS, seed=seed).mean
    return result | {"log p given y": float(given.mean()), "obeyed": float(np.mean(obeyed))} | _seconds(begun)


def under_every_label(net: HybridBlock, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Evaluate every test digit under each of the ten labels, by the ELBO and by the sum over the grid."""
    x, y = data.x_test, data.y_test
    own = np.arange(len(x)), y
    columns = [gluon_vae.elbo(net, x, np.full(len(x), d), n_samples=N_DRAWS, seed=seed) for d in DIGITS]
    bounds = np.stack([column.per_image for column in columns], axis=1)
    exact = np.stack([log_evidence(net, x, int(digit)) for digit in DIGITS], axis=1)
    log_p, gaps = logsumexp(exact, axis=1) - np.log(10), exact - bounds
    result: dict[str, Any] = {
        "elbo": bounds[own].mean(),
        "log p given y": exact[own].mean(),
        "log p": log_p.mean(),
        "gap, own label": gaps[own].mean(),
        "gap, other labels": (gaps.sum(axis=1) - gaps[own]).mean() / 9,
        "read by ELBO": (bounds.argmax(axis=1) == y).mean(),
        "read by log p": (exact.argmax(axis=1) == y).mean(),
    }
    result = {name: float(value) for name, value in result.items()}
    return result | {"worth": [round(float(value), 2) for value in exact[own] - log_p]}


def _seconds(begun: float) -> dict[str, int]:
    return {"seconds": round(time.perf_counter() - begun)}


def rounded(result: dict[str, Any]) -> dict[str, Any]:
    """Keep four decimals of the numbers that stand alone."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in result.items()}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"some of: {', '.join(KINDS)} (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    for kind in args.kinds:
        if kind not in KINDS:
            parser.error(f"no kind {kind!r}")
    data = gluon_vae.load_mnist()
    for kind, seed in RECORD.missing(args.kinds, args.seeds):
        result = rounded(run(kind, seed, data))
        RECORD.add(kind, seed, result)
        print(f"{kind}, seed {seed}: ELBO {result['elbo']:.2f} nats; {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
