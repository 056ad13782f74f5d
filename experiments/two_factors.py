"""A world of two factors, the phase and the place of a moon: how many dimensions are used, and along which axes.

    python experiments/two_factors.py                         train and measure what is not recorded yet
    python experiments/two_factors.py --latent 2 --seeds 0    some of it

VAEs with two and with six latent dimensions and the KL weighted by three betas. Of each the record,
experiments/results/two_factors.json, has the ELBO (the KL counted once), the KL of every dimension, and the mutual
information of every dimension with each factor, from which the gap of Chen et al. (2018, arXiv 1802.04942) follows.
Chapter 15 reads it, and trains one of its models. All numbers are in nats per image.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from record import Record
from scipy.special import expit
from scipy.stats import norm

import gluon_vae
from gluon_vae import latent

from mxnet.gluon import HybridBlock

LATENT, BETAS, SEEDS = (2, 6), (1, 2, 4), (0, 1, 2, 3, 4)
SIDE, RADIUS, SHARPNESS, REACH = 16, 4.5, 3.0, 2.5  # pixels, but for the sharpness: of edges, per pixel
N_IMAGES, N_HIDDEN, N_EPOCHS, RATE = 2000, 64, 60, 5e-3
N_BINS = 20  # of equally many images, by which a factor is told
NODES, STEP = np.linspace(-6, 6, 241, retstep=True)  # of the integral over a latent coordinate
RECORD = Record(
    "two_factors",
    data=f"{N_IMAGES} moons of {SIDE} x {SIDE} grey pixels, phase and place drawn uniformly",
    model=f"VAE, one hidden layer of {N_HIDDEN}, tanh, {N_EPOCHS} epochs",
    units="nats per image",
)


def moons(n: int = N_IMAGES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw moons, (n, 256), and their factors, (n, 2): phase, new at 0 and full at 1, and place, in pixels."""
    factors = np.random.default_rng(seed).uniform((0, -REACH), (1, REACH), (n, 2))
    phase, place = factors.T[:, :, None, None]
    across, down = np.meshgrid(*2 * [np.arange(SIDE) - (SIDE - 1) / 2])
    across = across - place
    disc = expit(SHARPNESS * (RADIUS - np.hypot(across, down)))
    terminator = np.cos(np.pi * phase) * np.sqrt(np.maximum(RADIUS**2 - down**2, 0))
    lit = expit(SHARPNESS * (across - terminator))
    return (disc * (0.2 + 0.8 * lit)).reshape(n, -1).astype(np.float32), factors


def posterior(net: HybridBlock, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of q(z|x), (n, n_latent) each."""
    mu, log_var = latent.posterior(net, x)
    return mu, np.exp(0.5 * log_var)


def information(mean: np.ndarray, std: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the mutual information of each factor with each latent coordinate, (n_factors, n_latent), in nats.

    A factor is told by which of ``N_BINS`` equal parts of the images it falls into; the density of a coordinate in
    a part is the mean of its images' Gaussians, so that the information is a sum over the nodes of a grid.
    """
    result = np.empty((factors.shape[1], mean.shape[1]))
    for j in range(mean.shape[1]):
        density = norm.pdf(NODES[:, None], mean[:, j], std[:, j])
        for k in range(len(result)):
            parts = np.array_split(np.argsort(factors[:, k]), N_BINS)
            given = np.stack([density[:, part].mean(axis=1) for part in parts])
            weights = np.array([len(part) for part in parts]) / len(mean)
            ratio = np.log(np.maximum(given, 1e-300) / np.maximum(weights @ given, 1e-300))
            result[k, j] = weights @ (given * ratio).sum(axis=1) * STEP
    return result


def gap(information: np.ndarray) -> float:
    """Return the mutual information gap: by how much the best coordinate of a factor leads, by the factor's entropy.

    The mean over the factors; 1 if each is told completely by one coordinate alone, 0 if two always know as much.
    """
    second, first = np.sort(information, axis=1)[:, -2:].T
    return float(((first - second) / np.log(N_BINS)).mean())


def train(n_latent: int, beta: float, seed: int, x: np.ndarray) -> HybridBlock:
    """Train one VAE on moons."""
    net = gluon_vae.VAE(N_HIDDEN, n_latent, n_output=SIDE**2, beta=beta, act_type="tanh")
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, x, n_epochs=N_EPOCHS, learning_rate=RATE, seed=seed, progress=False)
    return net


def measure(net: HybridBlock, x: np.ndarray, factors: np.ndarray) -> dict[str, Any]:
    """Return the ELBO, the KL of each dimension and its information about each factor."""
    told = information(*posterior(net, x), factors)
    return {
        "elbo": round(gluon_vae.elbo(net, x).mean, 3),
        "kl": gluon_vae.kl_per_dimension(net, x).round(3).tolist(),
        "information": told.round(4).tolist(),
        "gap": round(gap(told), 4),
    }


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent", type=int, nargs="*", default=LATENT, help="latent dimensions (default: all)")
    parser.add_argument("--betas", type=int, nargs="*", default=BETAS, help="weights of the KL (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    x, factors = moons()
    models = {f"{n} dimensions, beta {beta}": (n, beta) for n in args.latent for beta in args.betas}
    for key, seed in RECORD.missing(models, args.seeds):
        result = measure(train(*models[key], seed, x), x, factors)
        RECORD.add(key, seed, result)
        print(f"{key}, seed {seed}: ELBO {result['elbo']:.2f}, gap {result['gap']:.3f}", flush=True)


if __name__ == "__main__":
    main()
