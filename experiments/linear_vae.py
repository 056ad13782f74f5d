"""The package's VAE with matrices for networks, held against probabilistic PCA.

    python experiments/linear_vae.py              train what is not recorded yet
    python experiments/linear_vae.py --seeds 0    some of it

A matrix for an encoder, a matrix for a decoder and Gaussian pixels of variance 1, trained on the bundled sample of
grey MNIST by minibatches and draws of z. Recorded is what the closed form predicts from the eigenvalues of their
covariance: the KL of every dimension, the column of the decoder that belongs to it, and the ELBO beside log p(x).
Chapter 10 reads the record, experiments/results/linear_vae.json, and trains one entry again. All numbers are in nats
per image.
"""

from __future__ import annotations

import argparse
import time
from types import ModuleType
from typing import Any

import numpy as np
from record import Record

import gluon_vae
from gluon_vae.arrays import Array
from gluon_vae.data import Mnist
from gluon_vae.losses import gaussian_nll

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

SEEDS = (0, 1, 2, 3, 4)
N_LATENT, VARIANCE = 32, 1.0  # of the linear model
N_EPOCHS, BATCH_SIZE, LEARNING_RATE = 40, 200, 1e-2
RECORD = Record(
    "linear_vae",
    data="bundled sample of grey MNIST: 4000 training images; 1000 test images where a name says so",
    linear=f"{N_LATENT} latent dimensions, {N_EPOCHS} epochs, batches of {BATCH_SIZE}, learning rate {LEARNING_RATE}",
    units="nats per image",
)


class LinearGaussian(HybridBlock):
    """Gaussian pixels whose means are the logits as they are, with one variance."""

    n_maps = 1

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.log_var = float(np.log(variance))

    def hybrid_forward(self, F: ModuleType, logits: Array, x: Array) -> Array:
        return gaussian_nll(F, logits, self.log_var, x)


def linear_vae(n_latent: int, variance: float, n_output: int = 784) -> HybridBlock:
    """Make a VAE with p(x|z) = N(W z + b, variance I) and an encoder that is linear, too."""
    encoder = nn.Dense(2 * n_latent, in_units=n_output)
    decoder = nn.Dense(n_output, in_units=n_latent)
    return gluon_vae.ComposedVAE(encoder, decoder, n_latent, n_output, likelihood=LinearGaussian(variance))


def parameters(net: HybridBlock) -> tuple[np.ndarray, np.ndarray, float]:
    """Return W, (n_output, n_latent), b, (n_output,), and the variance of a linear VAE."""
    dense = net.decoder.logits
    W, b = (parameter.data().asnumpy().astype(float) for parameter in (dense.weight, dense.bias))
    return W, b, float(np.exp(net.likelihood.log_var))


def log_density(x: np.ndarray, W: np.ndarray, b: np.ndarray, variance: float) -> np.ndarray:
    """Return log N(x; b, W W' + variance I) of images, (n,), through the matrix M = W'W + variance I."""
    (n_output, k), r = W.shape, x - b
    M, projected = W.T @ W + variance * np.eye(k), r @ W
    inside = (projected * np.linalg.solve(M, projected.T).T).sum(axis=1)
    log_det = np.linalg.slogdet(M)[1] + (n_output - k) * np.log(variance)
    return -0.5 * (n_output * np.log(2 * np.pi) + log_det + ((r**2).sum(axis=1) - inside) / variance)


def exact_elbo(net: HybridBlock, x: np.ndarray) -> np.ndarray:
    """Return the ELBO of images, (n,), without a draw: E|x - Wz - b|^2 = |x - W mu - b|^2 + sum_j var_j |w_j|^2."""
    W, b, variance = parameters(net)
    mu, log_var = np.split(net.encoder(nd.array(x)).asnumpy().astype(float), 2, axis=1)
    square = ((x - b - mu @ W.T) ** 2).sum(axis=1) + np.exp(log_var) @ (W**2).sum(axis=0)
    nll = 0.5 * (x.shape[1] * np.log(2 * np.pi * variance) + square / variance)
    return -nll - 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1)


def predicted(eigenvalues: np.ndarray, variance: float, n_latent: int) -> tuple[float, np.ndarray]:
    """Return the largest mean log-density that the covariance allows, and the KL of each dimension there.

    The model has the variance max(eigenvalue, variance) in the ``n_latent`` first directions and ``variance`` in all
    others (Tipping and Bishop 1999); a linear encoder attains the posterior, whose KL is half the logarithm of
    eigenvalue / variance (Lucas et al. 2019, arXiv 1911.02469).

    Parameters
    ----------
    eigenvalues : (n_output,)
        Of the images' covariance, in descending order.
    """
    model = np.full(len(eigenvalues), variance)
    model[:n_latent] = np.maximum(eigenvalues[:n_latent], variance)
    log_p = -0.5 * np.sum(np.log(2 * np.pi * model) + eigenvalues / model)
    return float(log_p), 0.5 * np.log(model[:n_latent] / variance)


def train(net: HybridBlock, x: np.ndarray, seed: int) -> HybridBlock:
    """Train a linear VAE."""
    net.hybridize(static_alloc=True, static_shape=True)
    settings = {"n_epochs": N_EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE}
    gluon_vae.fit(net, x, **settings, seed=seed, progress=False)
    return net


def measure(net: HybridBlock, data: Mnist, directions: np.ndarray) -> dict[str, Any]:
    """Measure a linear VAE; its dimensions are listed from the longest column of W to the shortest.

    Parameters
    ----------
    directions : (n_output, n_output)
        Eigenvectors of the training images' covariance as columns, in descending order of their eigenvalues.

    Returns
    -------
    dict
        The means over images ``elbo``, ``log_p`` (training), ``test_elbo`` and
        ``test_log_p``; per dimension ``kl``, ``spread`` (the variance of the posterior mean), ``square`` (the squared
        length of its column) and ``cosine`` (with the principal direction of the same rank).
    """
    W, b, variance = parameters(net)
    order = np.argsort(-np.linalg.norm(W, axis=0))
    W = W[:, order]
    mu, log_var = np.split(net.encoder(nd.array(data.x_train)).asnumpy().astype(float), 2, axis=1)
    kl = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).mean(axis=0)
    lengths = np.linalg.norm(W, axis=0)
    means = {"elbo": exact_elbo(net, data.x_train), "log_p": log_density(data.x_train, W, b, variance)}
    means |= {"test_elbo": exact_elbo(net, data.x_test), "test_log_p": log_density(data.x_test, W, b, variance)}
    each = {"kl": kl[order], "spread": mu.var(axis=0)[order], "square": lengths**2}
    each["cosine"] = abs((W * directions[:, : W.shape[1]]).sum(axis=0)) / lengths.clip(1e-12)
    result: dict[str, Any] = {name: round(float(values.mean()), 3) for name, values in means.items()}
    return result | {name: [round(float(value), 4) for value in values] for name, values in each.items()}


def eigen(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors (columns) of the images' covariance, in descending order."""
    values, vectors = np.linalg.eigh(np.cov(x.T.astype(float), bias=True))
    return values[::-1], vectors[:, ::-1]


def run(seed: int, data: Mnist) -> dict[str, Any]:
    """Train and measure one model."""
    begun = time.perf_counter()
    net = train(linear_vae(N_LATENT, VARIANCE), data.x_train, seed)
    return measure(net, data, eigen(data.x_train)[1]) | {"seconds": round(time.perf_counter() - begun, 1)}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for seed in args.seeds:
        if not RECORD.has("linear", seed):
            result = run(seed, data)
            RECORD.add("linear", seed, result)
            print(f"seed {seed}: ELBO {result['elbo']:.2f} nats; {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
