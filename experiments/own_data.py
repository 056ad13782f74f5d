"""What a VAE makes of data other than MNIST: 8 x 8 digits, a table of tumours, patches of two photographs.

    python experiments/own_data.py                                      some eight minutes on one core
    python experiments/own_data.py --settings benign --seeds 0 1        some of it

Everything comes with scikit-learn. A seed decides the split into training and test part, except for the
photographs, and the training. Chapter 18 reads the record and trains some of it again. An AUC is the probability
that an anomaly has a higher score than what the model was trained on, of the test part; 0.5 is chance.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from record import Record
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_images
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

import gluon_vae

SEEDS = (0, 1, 2, 3, 4)
PHOTOGRAPHS = ("china", "flower")
SIDE, BLOCK = 16, 64  # pixels: of a patch, and of a block, which is for training or for testing as a whole
STRIDE = 8  # between training patches of a block
N_DRAWS = 100  # of z, for log p(x)
DIGITS = {"n_hidden": 100, "n_latent": 8, "likelihood": "gaussian", "min_std": 0.05}
TABLE = {"n_hidden": 64, "likelihood": "gaussian", "variance": "per-pixel", "min_std": 0.01}
PATCHES = {"channels": (16, 32), "n_latent": 32, "likelihood": "gaussian", "min_std": 0.01}
TRAINED = {
    "digits": {"n_epochs": 25, "batch_size": 50, "learning_rate": 5e-3},
    "table": {"n_epochs": 60, "batch_size": 50},
    "patches": {"n_epochs": 10, "batch_size": 50},
}
HABITS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "warm-up": {"kl_warmup": 20},
    "clipped": {"clip_norm": 10.0},
    "patience": {"patience": 15},
    "constant rate": {"schedule": "constant"},
    "constant rate, patience": {"schedule": "constant", "patience": 15},
    "tenfold rate": {"learning_rate": 3e-2},
    "tenfold rate, clipped": {"learning_rate": 3e-2, "clip_norm": 10.0},
    "tenfold rate, warm-up": {"learning_rate": 3e-2, "kl_warmup": 20},
    "tenfold and constant": {"learning_rate": 3e-2, "schedule": "constant"},
    "tenfold and constant, patience": {"learning_rate": 3e-2, "schedule": "constant", "patience": 15},
}
HABIT = {"n_epochs": 100, "batch_size": 50}


def trained(net: Any, x: np.ndarray, seed: int, **settings: Any) -> Any:
    """Train a model and return it."""
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, x, seed=seed, progress=False, **settings)
    return net


def auc(ordinary: np.ndarray, anomalies: np.ndarray) -> float:
    """Return the probability that an anomaly has the higher score."""
    names = np.repeat((0, 1), (len(ordinary), len(anomalies)))
    return round(float(roc_auc_score(names, np.concatenate([ordinary, anomalies]))), 4)


def scores(net: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return three measures of how strange a row is to a VAE, (n,) each: the higher, the stranger."""
    found = gluon_vae.score(net, x, n_samples=N_DRAWS, progress=False)
    error = np.sum((gluon_vae.reconstruct(net, x) - x) ** 2, axis=1)
    return {"log p": found["neg_log_p"], "ELBO": found["neg_elbo"], "error": error}


def pca_error(train: np.ndarray, n: int, x: np.ndarray) -> np.ndarray:
    """Return the squared error of reconstructions from n principal components."""
    pca = PCA(n, random_state=0).fit(train)
    return np.sum((pca.inverse_transform(pca.transform(x)) - x) ** 2, axis=1)


def split(x: np.ndarray, y: np.ndarray, seed: int) -> list[np.ndarray]:
    """Split rows and labels: a training part, and a test part of a quarter, with equal shares of each class."""
    return list(train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed))


def scaled(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Map every column to [0, 1] by the least and the largest value of the training rows; cut off what is beyond."""
    low, high = train.min(axis=0), train.max(axis=0)
    return [np.clip((rows - low) / (high - low), 0, 1).astype(np.float32) for rows in (train, *others)]


def run_digits(left_out: int, likelihood: str, seed: int) -> dict[str, Any]:
    """Train without one digit, and find it among all."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = split((x / 16).astype(np.float32), y, seed)
    x_train = x_train[y_train != left_out]
    options = DIGITS if likelihood == "gaussian" else {"n_hidden": DIGITS["n_hidden"], "n_latent": DIGITS["n_latent"]}
    net = trained(gluon_vae.VAE(n_output=64, **options), x_train, seed, **TRAINED["digits"])
    found = scores(net, x_test) | {"PCA": pca_error(x_train, int(str(DIGITS["n_latent"])), x_test)}
    odd = y_test == left_out
    blank = gluon_vae.score(net, np.zeros((1, 64), np.float32), n_samples=N_DRAWS, progress=False)["neg_log_p"][0]
    return {name: auc(values[~odd], values[odd]) for name, values in found.items()} | {
        "blank beats": round(float(np.mean(found["log p"] > blank)), 4)
    }


def run_plane(seed: int) -> dict[str, Any]:
    """Lay the tumours out in a plane, and ask a linear classifier in it for the diagnosis."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = split(x, y, seed)
    x_train, x_test = scaled(x_train, x_test)
    net = trained(gluon_vae.VAE(n_output=30, n_latent=2, **TABLE), x_train, seed, **TRAINED["table"])
    pca = PCA(2).fit(x_train)
    codes = {"VAE": [gluon_vae.encode(net, rows) for rows in (x_train, x_test)]}
    codes |= {"PCA": [pca.transform(rows) for rows in (x_train, x_test)], "columns": [x_train, x_test]}
    result: dict[str, Any] = {"elbo": round(gluon_vae.elbo(net, x_test, n_samples=10).mean, 2)}
    for name, (train, test) in codes.items():
        model = LogisticRegression(max_iter=1000).fit(train / train.std(), y_train)
        result[name] = round(float(model.score(test / train.std(), y_test)), 4)
    left = {"VAE": gluon_vae.reconstruct(net, x_test), "PCA": pca.inverse_transform(codes["PCA"][1])}
    total = np.sum((x_test - x_train.mean(axis=0)) ** 2)
    for name, rows in left.items():
        result[f"left by {name}"] = round(float(np.sum((rows - x_test) ** 2) / total), 4)
    return result


def run_benign(seed: int) -> dict[str, Any]:
    """Train on benign tumours alone, and find the malignant ones."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = split(x, y, seed)
    x_train, x_test = scaled(x_train[y_train == 1], x_test)
    net = trained(gluon_vae.VAE(n_output=30, n_latent=5, **TABLE), x_train, seed, **TRAINED["table"])
    found = scores(net, x_test) | {"PCA": pca_error(x_train, 5, x_test)}
    found["Gaussian"] = -GaussianMixture(1).fit(x_train).score_samples(x_test)
    found["spread"] = np.sum(((x_test - x_train.mean(axis=0)) / x_train.std(axis=0)) ** 2, axis=1)
    return {name: auc(values[y_test == 1], values[y_test == 0]) for name, values in found.items()}


@cache
def photographs() -> dict[str, np.ndarray]:
    """Return the two photographs, (427, 640, 3) bytes."""
    return dict(zip(PHOTOGRAPHS, load_sample_images().images))


def held_out_blocks() -> np.ndarray:
    """Return which blocks of a photograph are for testing, (6, 10): a quarter, spread over it."""
    row, column = np.indices((6, 10))
    return (row + 2 * column) % 4 == 0


def patches(photograph: np.ndarray, blocks: np.ndarray, stride: int) -> np.ndarray:
    """Cut patches out of blocks, none across an edge of one; return bytes, (n, 3, SIDE, SIDE)."""
    found = []
    for row, column in np.argwhere(blocks):
        block = photograph[BLOCK * row : BLOCK * (row + 1), BLOCK * column : BLOCK * (column + 1)]
        windows = np.lib.stride_tricks.sliding_window_view(block, (SIDE, SIDE), axis=(0, 1))[::stride, ::stride]
        found.append(windows.reshape(-1, 3, SIDE, SIDE))
    return np.concatenate(found)


@cache
def parts(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the training patches of a photograph, which overlap, and its test patches, which do not: bytes."""
    blocks = held_out_blocks()
    return patches(photographs()[name], ~blocks, STRIDE), patches(photographs()[name], blocks, SIDE)


def flat(pixels: np.ndarray) -> np.ndarray:
    """Return bytes as the models take them."""
    return (pixels.reshape(len(pixels), -1) / 255).astype(np.float32)


def complexity(pixels: np.ndarray) -> np.ndarray:
    """Return the nats into which zlib packs each patch, told as differences between neighbours in a row."""
    steps = np.diff(pixels.astype(np.int16), axis=3, prepend=0).astype(np.uint8)
    return np.array([8 * np.log(2) * len(zlib.compress(patch.tobytes(), 9)) for patch in steps])


def mosaic(pixels: np.ndarray, side: int) -> np.ndarray:
    """Replace every square of side x side pixels by its mean colour: of SIDE, a patch of one colour."""
    n = SIDE // side
    means = pixels.reshape(-1, 3, n, side, n, side).mean(axis=(3, 5))
    return np.rint(means).astype(np.uint8).repeat(side, axis=2).repeat(side, axis=3)


def shuffled(pixels: np.ndarray) -> np.ndarray:
    """Put the pixels of every patch into one random order, their colours kept."""
    order = np.random.default_rng(0).permutation(SIDE**2)
    return pixels.reshape(-1, 3, SIDE**2)[:, :, order].reshape(pixels.shape)


def anomalies(name: str) -> dict[str, np.ndarray]:
    """Return patches that do not belong to a photograph: of the other one, or spoiled ones of its own; bytes."""
    other = next(key for key in photographs() if key != name)
    own = parts(name)[1]
    return {
        other: parts(other)[1],
        "mosaic": mosaic(own, 4),
        "one colour": mosaic(own, SIDE),
        "shuffled": shuffled(own),
    }


def conv(train: np.ndarray, seed: int) -> gluon_vae.ConvVAE:
    """Train the model of patches."""
    net = gluon_vae.ConvVAE(image_shape=(3, SIDE, SIDE), **PATCHES)
    return trained(net, flat(train), seed, **TRAINED["patches"])


def patch_scores(net: gluon_vae.ConvVAE, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of patches, their complexity among them, and what is left of -log p(x) without it."""
    found = scores(net, flat(pixels)) | {"complexity": complexity(pixels)}
    return found | {"ratio": found["log p"] - found["complexity"]}


def run_patches(name: str, seed: int) -> dict[str, Any]:
    """Train on patches of one photograph, and find what does not belong to it."""
    train, test = parts(name)
    net = conv(train, seed)
    own = patch_scores(net, test)
    result: dict[str, Any] = {"elbo": round(float(-own["ELBO"].mean()), 1)}
    for kind, pixels in anomalies(name).items():
        found = patch_scores(net, pixels)
        result[kind] = {key: auc(own[key], values) for key, values in found.items()}
        if kind not in PHOTOGRAPHS:
            result[kind]["above its own"] = round(float(np.mean(found["log p"] < own["log p"])), 4)
    return result


def run_habit(habit: str, seed: int) -> dict[str, Any]:
    """Train on the table for too long, with a third part to stop by; judge on the test part."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, _ = split(x, y, seed)
    x_train, x_watched, _, _ = split(x_train, y_train, seed)
    x_train, x_watched, x_test = scaled(x_train, x_watched, x_test)
    net = gluon_vae.VAE(n_output=30, n_latent=5, **TABLE)
    net.hybridize(static_alloc=True, static_shape=True)
    history = gluon_vae.fit(net, x_train, x_watched, seed=seed, progress=False, **HABIT, **HABITS[habit])
    return {
        "elbo": round(gluon_vae.elbo(net, x_test, n_samples=20).mean, 2),
        "train": round(gluon_vae.elbo(net, x_train, n_samples=20).mean, 2),
        "epochs": len(history["epoch"]),
        "best": int(np.argmin(history["test_loss"])) + 1,
        "active": int(gluon_vae.active_units(net, x_test).sum()),
    }


RUNS: dict[str, Callable[[int], dict[str, Any]]] = {
    "plane": run_plane,
    "benign": run_benign,
    **{f"patches of {name}": partial(run_patches, name) for name in PHOTOGRAPHS},
    **{f"digits without {digit}": partial(run_digits, digit, "gaussian") for digit in range(10)},
    "digits without 1, Bernoulli": partial(run_digits, 1, "bernoulli"),
    **{f"table, {habit}": partial(run_habit, habit) for habit in HABITS},
}


def record() -> Record:
    """Return the record."""
    return Record(
        "own_data",
        data="of scikit-learn: digits (8 x 8), breast cancer, the photographs china and flower",
        models="digits: VAE 64-100-8; table: VAE 30-64-2 or 5; patches: ConvVAE (16, 32), 32-D; Gaussian",
        epochs=", ".join(f"{name}: {settings['n_epochs']}" for name, settings in TRAINED.items()),
        units="AUCs and shares from 0 to 1; nats per row or patch",
    )


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="*", help="default: all")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help=f"default: {SEEDS}")
    args = parser.parse_args()
    for setting in args.settings or ():
        if setting not in RUNS:
            parser.error(f"no setting {setting!r}, only {', '.join(RUNS)}")
    kept = record()
    for setting, seed in kept.missing(args.settings or RUNS, args.seeds):
        begun = time.process_time()
        result = RUNS[setting](seed)
        kept.add(setting, seed, result | {"seconds": round(time.process_time() - begun, 1)})
        print(f"{setting}, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
