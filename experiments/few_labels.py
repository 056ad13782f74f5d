"""What a VAE makes of few labels: M1, M2, both (Kingma et al. 2014, arXiv 1406.5298), beside pixels and components.

    python experiments/few_labels.py                                    on the bundled sample
    python experiments/few_labels.py --data mnist                       on full MNIST
    python experiments/few_labels.py --methods M2 --seeds 0             some of it

A method sees every training image, and the digit of few of them, the same number of every digit. M1 and components
are features for a logistic regression; M2 classifies by itself; M1 + M2 is M2 on M1's features. A seed decides which
images have a label, and the training. Chapter 17 reads the records, and trains one of them again. All numbers are
shares of the test images that are named rightly.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from record import Record
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

import gluon_vae
from gluon_vae.data import Mnist

SEEDS = (0, 1, 2, 3, 4)
N_LABELS = {"sample": (10, 20, 50, 100, 200, 500, 1000), "mnist": (100, 600, 1000, 3000)}
N_LABELS_M2 = {"sample": (20, 100, 1000), "mnist": (100,)}
N_REPEATS = 10  # choices of labelled images for every feature of one training
M1 = {"n_hidden": 200, "n_layers": 2}
M2 = {"n_hidden": 400, "n_layers": 1, "n_latent": 50}
EPOCHS_M1 = {"sample": 40, "mnist": 30}
EPOCHS_M2 = {"sample": 60, "mnist": 25}
SHARE = 0.1  # of an epoch's images that have a label, by repetition: the weight alpha = 0.1 N of the paper


def choices(y: np.ndarray, n_labels: int, n: int, seed: int) -> list[np.ndarray]:
    """Choose ``n`` times which images have a label, an equal number of every digit."""
    split = StratifiedShuffleSplit(n, train_size=n_labels, random_state=seed)
    return [rows for rows, _ in split.split(y, y)]


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Center features and give them one scale: their mean variance becomes 1, their proportions stay."""
    mean, std = train.mean(axis=0), np.sqrt(train.var(axis=0).mean())
    return (train - mean) / std, (test - mean) / std


def logistic(train: np.ndarray, test: np.ndarray, rows: np.ndarray, data: Mnist) -> float:
    """Return the accuracy of a logistic regression from few labels, its penalty chosen by those alone."""
    model = LogisticRegression(C=1, max_iter=200, tol=1e-3)
    if len(rows) >= 20:
        model = GridSearchCV(model, {"C": (0.01, 0.1, 1)}, cv=2)
    return model.fit(train[rows], data.y_train[rows]).score(test, data.y_test)


def judged(train: np.ndarray, test: np.ndarray, data: Mnist, source: str) -> dict[str, list[float]]:
    """Return the accuracies of features for every number of labels and choice of them."""
    pair = scaled(train, test)
    return {
        str(n): [round(logistic(*pair, rows, data), 4) for rows in choices(data.y_train, n, N_REPEATS, 0)]
        for n in N_LABELS[source]
    }


@cache
def trained_m1(n_latent: int, seed: int, source: str) -> gluon_vae.VAE:
    """Train the VAE of M1, without a label."""
    data, net = loaded(source), gluon_vae.VAE(n_latent=n_latent, **M1)
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, data.x_train, n_epochs=EPOCHS_M1[source], learning_rate=2e-3, seed=seed)
    return net


@cache
def loaded(source: str) -> Mnist:
    """Load the images once."""
    return gluon_vae.load_mnist(source)


def train_m2(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int, n_epochs: int, **options: Any
) -> gluon_vae.SemiSupervisedVAE:
    """Train M2 on all images and the labels of some; those are repeated until they are ``SHARE`` of an epoch."""
    net = gluon_vae.SemiSupervisedVAE(n_output=x.shape[1], **M2, **options)
    net.hybridize(static_alloc=True, static_shape=True)
    known = np.full(len(y), -1)
    known[rows] = y[rows]
    epoch = np.concatenate([np.arange(len(y)), np.repeat(rows, max(1, round(SHARE * len(y) / len(rows))))])
    gluon_vae.fit(net, x[epoch], y_train=known[epoch], n_epochs=n_epochs, learning_rate=1e-3, seed=seed)
    return net


def accuracy(net: gluon_vae.SemiSupervisedVAE, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of images whose most probable label is right."""
    return float(np.mean(gluon_vae.label_probabilities(net, x).argmax(axis=1) == y))


def run_pixels(seed: int, source: str) -> dict[str, Any]:
    """Judge the pixels themselves."""
    data = loaded(source)
    return judged(data.x_train, data.x_test, data, source)


def run_pca(n_latent: int, seed: int, source: str) -> dict[str, Any]:
    """Judge principal components."""
    data = loaded(source)
    pca = PCA(n_latent, random_state=0).fit(data.x_train)
    return judged(pca.transform(data.x_train), pca.transform(data.x_test), data, source)


def run_m1(n_latent: int, seed: int, source: str) -> dict[str, Any]:
    """Train M1 and judge its posterior means, and draws from its posteriors with them."""
    data, net = loaded(source), trained_m1(n_latent, seed, source)
    result: dict[str, Any] = {"elbo": round(gluon_vae.elbo(net, data.x_test).mean, 2)}
    return result | judged(*(gluon_vae.encode(net, x) for x in (data.x_train, data.x_test)), data, source)


def run_m2(seed: int, source: str) -> dict[str, Any]:
    """Train M2, which classifies by itself, for every number of labels."""
    data, result = loaded(source), {}
    for n in N_LABELS_M2[source]:
        (rows,) = choices(data.y_train, n, 1, seed)
        net = train_m2(data.x_train, data.y_train, rows, seed, EPOCHS_M2[source])
        result[str(n)] = round(accuracy(net, data.x_test, data.y_test), 4)
    return result


def run_both(seed: int, source: str) -> dict[str, Any]:
    """Train M2 on the features of M1, through the prior's CDF, which puts them where pixels are."""
    data, m1, result = loaded(source), trained_m1(50, seed, source), {}
    x_train, x_test = (norm.cdf(gluon_vae.encode(m1, x)).astype(np.float32) for x in (data.x_train, data.x_test))
    for n in N_LABELS_M2[source]:
        (rows,) = choices(data.y_train, n, 1, seed)
        net = train_m2(x_train, data.y_train, rows, seed, 2 * EPOCHS_M2[source], likelihood="gaussian")
        result[str(n)] = round(accuracy(net, x_test, data.y_test), 4)
    return result


METHODS: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "pixels": run_pixels,
    **{f"PCA {n}": lambda seed, source, n=n: run_pca(n, seed, source) for n in (2, 10, 50)},
    **{f"M1 {n}": lambda seed, source, n=n: run_m1(n, seed, source) for n in (2, 10, 50)},
    "M2": run_m2,
    "M1 + M2": run_both,
}
WITHOUT_TRAINING = ("pixels", "PCA 2", "PCA 10", "PCA 50")  # the same with every seed


def record(source: str) -> Record:
    """Return the record of one source of images."""
    what = {"sample": "bundled sample of grey MNIST, 4000 training and 1000 test images", "mnist": "full grey MNIST"}
    return Record(
        "few_labels" if source == "sample" else "few_labels_mnist",
        data=what[source],
        M1=f"VAE {M1}, {EPOCHS_M1[source]} epochs",
        M2=f"SemiSupervisedVAE {M2}, {EPOCHS_M2[source]} epochs",
        units="share of test images named rightly",
    )


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=N_LABELS, default="sample", help="default: sample")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help=f"default: {SEEDS}")
    args = parser.parse_args()
    kept = record(args.data)
    for seed in args.seeds:
        for method in args.methods:
            if kept.has(method, seed) or (seed and method in WITHOUT_TRAINING):
                continue
            begun = time.perf_counter()
            result = METHODS[method](seed, args.data)
            result["seconds"] = round(time.perf_counter() - begun)
            kept.add(method, seed, result)
            print(f"{method}, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
