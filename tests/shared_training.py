"""What one process trains, and what several share: as a script, the part of one worker."""

import sys
from pathlib import Path

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
}
OPTIONS = {"conditional": {"y_train": Y, "binarize": True}}


def train(kind, folder, kvstore=None):
    """Train a model, alone or as one of several workers; write its parameters and losses to a file of its own."""
    net = MODELS[kind]()
    net.hybridize(static_alloc=True, static_shape=True)
    settings = {"n_epochs": 4, "batch_size": 8, "seed": 3, "progress": False}
    history = gluon_vae.fit(net, X, kvstore=kvstore, **settings, **OPTIONS.get(kind, {}))
    name = "one" if kvstore is None else f"worker{kvstore.rank}"
    np.savez(Path(folder, f"{name}.npz"), loss=history["train_loss"], **checkpoint.parameters_of(net))


if __name__ == "__main__":
    train(*sys.argv[1:], kvstore=distributed.connect())
