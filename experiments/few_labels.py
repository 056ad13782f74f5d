"""What a VAE makes of few labels: M1, M2, both (Kingma et al. 2014, arXiv 1406.5298), beside pixels and components.

    python experiments/few_labels.py                                    on the bundled sample: a quarter of an hour
    python experiments/few_labels.py --data mnist                       on full MNIST: a quarter of an hour a seed
    python experiments/few_labels.py --methods M2 --seeds 0             some of it

A method sees every training image, and the digit of few of them, the same number of every digit. M1 and components
are features for a logistic regression, which is tried with five choices of the images that have a label. M2
classifies by itself; M1 + M2 is M2 on M1's features. Seed number s of these has the s-th of the choices, so that
everything can be compared in pairs. Chapter 17 reads the records and trains some of it again. Accuracies are shares
of the test images that are named rightly.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from record import Record
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

import gluon_vae
from gluon_vae.data import Mnist

from mxnet import nd

SEEDS = (0, 1, 2, 3, 4)
N_LABELS = {"sample": (10, 20, 50, 100, 200, 500, 1000), "mnist": (100,)}
N_REPEATS = 5  # choices of labelled images
FEW = 100  # labels of M2 and M1 + M2
HIDDEN_M1 = {"sample": 200, "mnist": 400}  # of two hidden layers
TRAINED_M1 = {  # latent dimensions and epochs
    "sample": {"M1 2": (2, 25), "M1 10": (10, 25), "M1 50": (50, 25), "M1 50, long": (50, 60)},
    "mnist": {"M1 50": (50, 20)},
}
M2 = {"n_hidden": 100, "n_layers": 1, "n_latent": 10}
BASE = "M1 50"  # what M1 + M2 stands on
WEIGHTS = {"M2": 10, "M2, weight 1": 1}  # of the classifier's term, for each showing of a labelled image
EPOCHS_M2 = {"sample": 15, "mnist": 4}
EPOCHS_BOTH = {"sample": 40, "mnist": 60}
# On the codes of full MNIST the weight is near the paper's; no other was tried there.
BOTH: dict[str, dict[str, Any]] = {"sample": {}, "mnist": {"n_hidden": 200, "label_weight": 1, "batch_size": 200}}
EPOCHS_ALONE = 100  # of as many images as have labels
BATCH_M2 = 50
SHARE = 0.1  # labelled images of an epoch of M2, by repetition; times the weight this is alpha / N of the paper
N_COPIES = 5  # draws of a code in an epoch of M1 + M2
ACTIVE = 0.3  # least spread of the mean of a latent dimension that M1 + M2 is shown


def choices(y: np.ndarray, n_labels: int) -> list[np.ndarray]:
    """Choose several times which images have a label, an equal number of every digit."""
    split = StratifiedShuffleSplit(N_REPEATS, train_size=n_labels, random_state=0)
    return [rows for rows, _ in split.split(y, y)]


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Center features and give them one scale: their mean variance becomes 1, their proportions stay."""
    mean, std = train.mean(axis=0), np.sqrt(train.var(axis=0).mean())
    return (train - mean) / std, (test - mean) / std


def halved(x: np.ndarray) -> np.ndarray:
    """Average pixels two by two, (n, 784) to (n, 196): a step of M2 costs a quarter."""
    return x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)


def logistic(train: np.ndarray, test: np.ndarray, rows: np.ndarray, data: Mnist) -> float:
    """Return the accuracy of a logistic regression from few labels, its penalty chosen by those alone."""
    model = LogisticRegression(C=1, max_iter=200, tol=1e-3)
    if len(rows) >= 20:
        model = GridSearchCV(model, {"C": (0.01, 0.1, 1)}, cv=2)
    return round(float(model.fit(train[rows], data.y_train[rows]).score(test, data.y_test)), 4)


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every feature the variance 1."""
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
    return (train - mean) / std, (test - mean) / std


def judged(train: np.ndarray, test: np.ndarray, data: Mnist, numbers: tuple[int, ...]) -> dict[str, list[float]]:
    """Return the accuracies of features for every number of labels and choice of them."""
    pair = scaled(train, test)
    return {str(n): [logistic(*pair, rows, data) for rows in choices(data.y_train, n)] for n in numbers}


def changed(train: np.ndarray, test: np.ndarray, data: Mnist) -> dict[str, list[float]]:
    """Return the accuracies of standardised features."""
    pair = standardised(train, test)
    return {"standardised": [logistic(*pair, rows, data) for rows in choices(data.y_train, FEW)]}


@cache
def loaded(source: str) -> Mnist:
    """Load the images once."""
    return gluon_vae.load_mnist(source)


@cache
def trained_m1(name: str, seed: int, source: str) -> gluon_vae.VAE:
    """Train the VAE of M1, without a label."""
    n_latent, n_epochs = TRAINED_M1[source][name]
    net = gluon_vae.VAE(n_hidden=HIDDEN_M1[source], n_layers=2, n_latent=n_latent)
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, loaded(source).x_train, n_epochs=n_epochs, seed=seed, progress=False)
    return net


def posterior(net: gluon_vae.VAE, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of every code, (n, n_latent) each."""
    encoded = np.concatenate([net.encoder(nd.array(part)).asnumpy() for part in np.array_split(x, len(x) // 500)])
    mu, log_var = np.split(encoded, 2, axis=1)
    return mu, np.exp(0.5 * log_var)


def epoch_of(y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of an epoch of M2 and their labels, -1 where unknown.

    Every image comes once without its label, and those that have one again and again with it, until they are
    ``SHARE`` of all.
    """
    again = np.repeat(rows, max(1, round(SHARE * len(y) / len(rows))))
    return np.concatenate([np.arange(len(y)), again]), np.concatenate([np.full(len(y), -1), y[again]])


def train_m2(
    x: np.ndarray, labels: np.ndarray, seed: int, n_epochs: int, *, batch_size: int = BATCH_M2, **options: Any
) -> gluon_vae.SemiSupervisedVAE:
    """Train M2 on what an epoch is to show."""
    settings = {"label_weight": WEIGHTS["M2"], **M2, **options}
    net = gluon_vae.SemiSupervisedVAE(n_output=x.shape[1], **settings)
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, x, y_train=labels, n_epochs=n_epochs, batch_size=batch_size, seed=seed, progress=False)
    return net


def accuracy(net: gluon_vae.SemiSupervisedVAE, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of images whose most probable label is right."""
    return round(float(np.mean(gluon_vae.label_probabilities(net, x).argmax(axis=1) == y)), 4)


def run_pixels(seed: int, source: str) -> dict[str, Any]:
    """Judge the pixels themselves."""
    data = loaded(source)
    return judged(data.x_train, data.x_test, data, N_LABELS[source])


def run_pca(n_latent: int, seed: int, source: str) -> dict[str, Any]:
    """Judge principal components."""
    data = loaded(source)
    pca = PCA(n_latent, random_state=0).fit(data.x_train)
    pair = pca.transform(data.x_train), pca.transform(data.x_test)
    return judged(*pair, data, N_LABELS[source]) | changed(*pair, data)


def run_m1(name: str, seed: int, source: str) -> dict[str, Any]:
    """Train M1 and judge its posterior means, and draws from its posteriors."""
    data, net = loaded(source), trained_m1(name, seed, source)
    codes = [posterior(net, x) for x in (data.x_train, data.x_test)]
    rng = np.random.default_rng(seed)
    drawn = [mu + sigma * rng.standard_normal(mu.shape) for mu, sigma in codes]
    result: dict[str, Any] = {"elbo": round(float(gluon_vae.elbo(net, data.x_test, seed=seed).mean), 2)}
    means = [mu for mu, _ in codes]
    result |= judged(*means, data, N_LABELS[source]) | changed(*means, data)
    return result | {"draws": judged(*drawn, data, (FEW,))[str(FEW)]}


@cache
def alone(seed: int, source: str) -> float:
    """Return the accuracy of M2 without the images that have no label: of its classifier alone."""
    data = loaded(source)
    rows = choices(data.y_train, FEW)[seed]
    net = train_m2(halved(data.x_train[rows]), data.y_train[rows], seed, EPOCHS_ALONE)
    return accuracy(net, halved(data.x_test), data.y_test)


def run_m2(name: str, seed: int, source: str) -> dict[str, Any]:
    """Train M2, with all images and with the labelled ones alone."""
    data, rows = loaded(source), choices(loaded(source).y_train, FEW)[seed]
    x_train, x_test = halved(data.x_train), halved(data.x_test)
    shown, labels = epoch_of(data.y_train, rows)
    net = train_m2(x_train[shown], labels, seed, EPOCHS_M2[source], label_weight=WEIGHTS[name])
    unknown = np.full(len(x_test), -1)
    return {
        str(FEW): accuracy(net, x_test, data.y_test),
        "elbo": round(float(gluon_vae.elbo(net, x_test, unknown, seed=seed).mean), 2),
        "alone": alone(seed, source),
    }


def run_both(seed: int, source: str) -> dict[str, Any]:
    """Train M2 on the codes of M1: on draws, new for every copy, through the prior's CDF, as pixels are in [0, 1]."""
    data, rows = loaded(source), choices(loaded(source).y_train, FEW)[seed]
    m1 = trained_m1(BASE, seed, source)
    (mu, sigma), (mu_test, _) = (posterior(m1, x) for x in (data.x_train, data.x_test))
    active = mu.std(axis=0) > ACTIVE
    shown, labels = (np.tile(part, N_COPIES) for part in epoch_of(data.y_train, rows))
    eps = np.random.default_rng(seed).standard_normal((len(shown), active.sum()))
    x = norm.cdf(mu[shown][:, active] + sigma[shown][:, active] * eps).astype(np.float32)
    options = {"likelihood": "gaussian", "variance": "per-pixel", **BOTH[source]}
    net = train_m2(x, labels, seed, EPOCHS_BOTH[source] // N_COPIES, **options)
    x_test = norm.cdf(mu_test[:, active]).astype(np.float32)
    return {str(FEW): accuracy(net, x_test, data.y_test), "active": int(active.sum())}


def methods(source: str) -> dict[str, Callable[[int, str], dict[str, Any]]]:
    """Return what can be run, in the order in which it is."""
    sizes = (2, 10, 50) if source == "sample" else (50,)
    found: dict[str, Callable[[int, str], dict[str, Any]]] = {"pixels": run_pixels}
    found |= {f"PCA {n}": partial(run_pca, n) for n in sizes}
    found |= {name: partial(run_m1, name) for name in TRAINED_M1[source]}
    found |= {name: partial(run_m2, name) for name in (WEIGHTS if source == "sample" else ("M2",))}
    return found | {"M1 + M2": run_both}


def once(method: str) -> bool:
    """Return whether a method has no training, and is the same with every seed."""
    return method == "pixels" or method.startswith("PCA")


def record(source: str) -> Record:
    """Return the record of one source of images."""
    what = {"sample": "bundled sample of grey MNIST, 4000 training and 1000 test images", "mnist": "full grey MNIST"}
    also = "".join(f", {key} {value}" for key, value in BOTH[source].items())
    m1 = ", ".join(f"{name}: {n}" for name, (_, n) in TRAINED_M1[source].items())
    return Record(
        "few_labels" if source == "sample" else "few_labels_mnist",
        command="python experiments/few_labels.py" + (" --data mnist" if source == "mnist" else ""),
        data=what[source],
        M1=f"VAE, 2 hidden layers of {HIDDEN_M1[source]}; epochs: {m1}",
        M2=f"1 hidden layer of 100, 10-D, images of 14 x 14, weight 10 unless said, {EPOCHS_M2[source]} epochs",
        both=f"the same on draws of the active codes of {BASE}, {EPOCHS_BOTH[source]} epochs{also}",
        units="share of the test images that are named rightly; elbo in nats per image",
    )


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=N_LABELS, default="sample", help="default: sample")
    parser.add_argument("--methods", nargs="*", help="default: all")
    parser.add_argument(
        "--seeds", type=int, nargs="*", choices=range(N_REPEATS), default=SEEDS, help=f"default: {SEEDS}"
    )
    args = parser.parse_args()
    known, kept = methods(args.data), record(args.data)
    for method in args.methods or ():
        if method not in known:
            parser.error(f"no method {method!r}, only {', '.join(known)}")
    for method, seed in kept.missing(args.methods or known, args.seeds):
        if seed and once(method):
            continue
        begun = time.process_time()
        result = known[method](seed, args.data)
        kept.add(method, seed, result | {"seconds": round(time.process_time() - begun, 1)})
        print(f"{method}, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
