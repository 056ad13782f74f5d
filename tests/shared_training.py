"""What one process trains, and what several share: as a script, the part of one worker."""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import gluon_vae
from gluon_vae import checkpoint, distributed

# Two draws, labels, a ragged last batch of one image, and its binarization.
X, Y = np.random.default_rng(0).random((17, 12), dtype=np.float32), np.arange(17) % 10
SIZES = {"n_hidden": 8, "n_latent": 3, "n_output": 12}
MODELS = {
    "conditional": lambda: gluon_vae.ConditionalVAE(n_samples=2, **SIZES),
    "denoising": lambda: gluon_vae.DenoisingAutoencoder(**SIZES),
    "learned": lambda: gluon_vae.VAE(likelihood="gaussian", **SIZES),
    "patient": lambda: gluon_vae.VAE(**SIZES),
    "stopped": lambda: gluon_vae.VAE(**SIZES),
}


class Batches:
    """Some of different sizes, one of them too small for two workers."""

    def __iter__(self):
        return iter((X[:6], X[6:7], X[7:]))


# Of the patient one the test images are unlike the others: it soon learns nothing that helps there.
OPTIONS = {
    "conditional": {"y_train": Y, "binarize": True},
    "patient": {"x_test": 1 - X[:5] / 9, "n_epochs": 60, "learning_rate": 0.05, "patience": 2, "clip_norm": 1.0},
    "stopped": {"kl_warmup": 2, "on_epoch": lambda history: len(history["epoch"]) == 2},
}


def train(kind, folder, kvstore=None):
    """Train a model, alone or as one of several workers; write its parameters and losses to a file of its own."""
    net = MODELS[kind]()
    net.hybridize(static_alloc=True, static_shape=True)
    settings = {"n_epochs": 4, "seed": 3, "progress": False} | OPTIONS.get(kind, {})
    data = {"x_train": Batches()} if kind == "stopped" else {"x_train": X, "batch_size": 8}
    history = gluon_vae.fit(net, kvstore=kvstore, **data, **settings)
    name = "one" if kvstore is None else f"worker{kvstore.rank}"
    np.savez(Path(folder, f"{kind}-{name}.npz"), loss=history["train_loss"], **checkpoint.parameters_of(net))


def of_one_model(store, kind):
    """Return a store in which the parameters of several models, one after another, do not meet."""
    ways = {name: partial(_under, getattr(store, name), kind) for name in ("init", "push", "pull")}
    return SimpleNamespace(rank=store.rank, num_workers=store.num_workers, **ways)


def _under(call, kind, name, values):
    return call(f"{kind}/{name}", values)


if __name__ == "__main__":
    joined = distributed.connect()
    for model in MODELS:
        train(model, sys.argv[1], of_one_model(joined, model))
