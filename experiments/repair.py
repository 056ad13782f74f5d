"""What a prior is worth: learned priors for the codes of VAEs and autoencoders, in nats and by their samples.

    python experiments/repair.py                              train and measure what is not recorded yet
    python experiments/repair.py --models vae-2 --seeds 0     some of it

Small models are trained on the bundled sample of grey MNIST: a VAE with 2 and one with 32 latent dimensions, another
with 32 whose KL has a tiny weight, and a plain autoencoder with 32, whose codes get a little noise afterwards. Then
they stay as they are, and priors are fitted to the codes of their training images. The record has what each gains in
ELBO on training and on test images, and what a thousand samples look like to the digit classifier. Chapter 16 reads
it, experiments/results/repair.json, and measures some entries again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from record import Record
from scipy.special import expit

import gluon_vae
from gluon_vae.flow import fit_flow
from gluon_vae.latent import posterior
from gluon_vae.layers import mlp
from gluon_vae.losses import LOG_2PI
from gluon_vae.priors import StandardNormal, fit_mixture
from gluon_vae.run import Run
from gluon_vae.sample_quality import features, frechet_distance, precision_recall
from gluon_vae.vamp_prior import VampPrior, fit_vamp_prior

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import HybridBlock

OF_A_VAE = ("normal", "gaussian", "mixture", "chosen", "vamp", "aggregate", "flow")
OF_CODES = ("normal", "gaussian", "mixture", "diffusion")
MODELS = {  # and the priors that are fitted to their codes
    "vae-2": OF_A_VAE,
    "vae-32": OF_A_VAE,
    "ae-32": OF_CODES,
    "tiny-32": OF_CODES,
}
KINDS = {
    "vae": gluon_vae.VAE,
    "ae": gluon_vae.Autoencoder,
    "tiny": partial(gluon_vae.VAE, beta=0.02),  # the weight of its KL
}
SEEDS = (0, 1, 2, 3, 4, 5, 6)
N_HIDDEN, N_LAYERS, N_EPOCHS = 200, 2, 20
N_DRAWS = 2  # codes of each training image that priors are fitted to
N_COMPONENTS, N_PSEUDO = 20, 100  # of the mixture, and of the VampPrior
N_SAMPLES = 4  # codes of each image for an ELBO
SIZES = (250, 500, 1000, 2000, 4000)  # images whose posteriors are averaged
WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)  # of the autoencoder's noise, in standard deviations of a code
RECORD = Record(
    "repair",
    data="bundled sample of grey MNIST: 4000 training images, the first 1000 of them, 1000 test images",
    model=f"{N_LAYERS} hidden layers of {N_HIDDEN}, {N_EPOCHS} epochs",
    samples=1000,
    units="nats per image",
)

N_STEPS = 100  # from noise back to codes
N_UNITS, N_TRAINING, BATCH, RATE = 128, 1200, 200, 3e-3
LOG_SNR = (9.0, -6.0)  # logarithm of signal to noise, from the codes to the noise


def mixing(time: Any) -> tuple[Any, Any, Any]:
    """Return the logarithm of signal to noise at times from 0 (codes) to 1 (noise), and the weights of both."""
    log_snr = LOG_SNR[0] + (LOG_SNR[1] - LOG_SNR[0]) * time
    return log_snr, np.sqrt(expit(log_snr)), np.sqrt(expit(-log_snr))


class Diffusion:
    """A diffusion model of codes; ``log_pdf`` is a lower bound of its log-density, with a random error.

    A code is whitened and mixed with more and more noise, ``z_t = alpha z + sigma eps``. A network predicts eps from
    z_t and t, as what would be best for N(0, I), and a correction that begins at 0. With the logarithm of signal to
    noise linear in time the bound is, but for its two ends, a constant times the mean squared error of the prediction
    (Kingma et al. 2021, arXiv 2107.00630, section 5.1).
    """

    def __init__(self, codes: np.ndarray, seed: int) -> None:
        self.n_latent = d = codes.shape[1]
        self.mean, self.factor = codes.mean(axis=0), np.linalg.cholesky(np.atleast_2d(np.cov(codes.T)))
        mx.random.seed(seed)
        self.net = mlp(d + 8, N_UNITS, 2, d, "relu")
        self.net.initialize(mx.init.Xavier(magnitude=6))
        self.net[-1].weight.set_data(nd.zeros((d, N_UNITS)))
        self.net.hybridize()
        rng, run = np.random.default_rng(seed), Run(learning_rate=RATE)
        trainer = gluon.Trainer(self.net.collect_params(), "adam")
        whitened = self.whiten(codes)
        for step in range(N_TRAINING):
            z, time = whitened[rng.integers(len(codes), size=BATCH)], rng.random((BATCH, 1))
            eps = rng.standard_normal(z.shape)
            with autograd.record():
                loss = ((nd.array(eps) - self.predict(*self.mix(z, eps, time))) ** 2).sum(axis=1)
            loss.backward()
            trainer.set_learning_rate(run.rate(step / N_TRAINING))
            trainer.step(BATCH)

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """Return codes with mean 0 and covariance I."""
        return np.linalg.solve(self.factor, (codes - self.mean).T).T

    def mix(self, z: np.ndarray, eps: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and noise, (n, n_latent), mixed at times (n, 1), with the times."""
        _, alpha, sigma = mixing(time)
        return alpha * z + sigma * eps, time

    def predict(self, mixed: np.ndarray, time: np.ndarray) -> nd.NDArray:
        """Return the noise in what was mixed at times (n, 1), (n, n_latent)."""
        clock = np.cos(np.pi * time * np.arange(1, 9))
        correction = self.net(nd.array(np.concatenate([mixed, clock], axis=1)))
        return nd.array(mixing(time)[2] * mixed) + correction

    def log_pdf(self, codes: Any, seed: int = 0) -> np.ndarray:
        """Return a bound of the log-density at codes, (n,), from a draw of the noise in each of N_STEPS strata."""
        codes = codes.asnumpy() if isinstance(codes, nd.NDArray) else codes
        z, rng = self.whiten(codes.astype(float)), np.random.default_rng(seed)
        (_, alpha, sigma), (_, alpha_1, sigma_1) = mixing(0), mixing(1)
        eps = rng.standard_normal(z.shape)
        bound = -(0.5 * eps**2 + np.log(sigma / alpha) + 0.5 * LOG_2PI).sum(axis=1)
        bound -= gluon_vae.kl_diagonal_gaussian(alpha_1 * z, sigma_1**2, 0, 1)
        for k in range(N_STEPS):
            time, eps = (k + rng.random((len(z), 1))) / N_STEPS, rng.standard_normal(z.shape)
            missed = eps - self.predict(*self.mix(z, eps, time)).asnumpy()
            bound -= 0.5 * (LOG_SNR[0] - LOG_SNR[1]) / N_STEPS * (missed**2).sum(axis=1)
        return bound - np.log(np.diag(self.factor)).sum()

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32: from noise back to codes, step by step."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((n, self.n_latent))
        for k in range(N_STEPS, 0, -1):
            log_snr, alpha, sigma = mixing(k / N_STEPS)
            log_before, alpha_before, sigma_before = mixing((k - 1) / N_STEPS)
            # Of the two usual widths of a step the one that is exact where the whitened codes are N(0, I).
            lost = -np.expm1(log_snr - log_before)
            predicted = self.predict(z, np.full((n, 1), k / N_STEPS)).asnumpy()
            mean = alpha_before / alpha * (z - lost * sigma * predicted)
            z = mean + sigma * np.sqrt(lost) * rng.standard_normal(z.shape)
        z = (z + sigma_before * rng.standard_normal(z.shape)) / alpha_before
        return (self.mean + z @ self.factor.T).astype(np.float32)


class Noisy(HybridBlock):
    """The encoder of a plain autoencoder, its code taken for the mean of a Gaussian of given widths."""

    def __init__(self, encoder: HybridBlock, std: np.ndarray) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_var = self.params.get_constant("log_var", nd.array(2 * np.log(std)[None]))

    def hybrid_forward(self, F: Any, x: Any, log_var: Any) -> Any:
        """Return mean and log-variance, (batch, 2 * n_latent)."""
        code = self.encoder(x)
        return F.concat(code, F.broadcast_add(F.zeros_like(code), log_var), dim=1)


def noisy(net: HybridBlock, x: np.ndarray, width: float) -> HybridBlock:
    """Return a VAE made of an autoencoder: noise of a width in units of each code dimension's deviation over x."""
    std = width * gluon_vae.encode(net, x).std(axis=0) + 1e-3
    encoder = Noisy(net.encoder, std)
    encoder.log_var.initialize()
    return gluon_vae.ComposedVAE(encoder, net.decoder.logits, net.n_latent, net.n_output)


def train(model: str, seed: int, data: gluon_vae.data.Mnist) -> HybridBlock:
    """Train one small model, named by what it is and its latent dimensions."""
    kind, n_latent = model.split("-")
    net = KINDS[kind](n_hidden=N_HIDDEN, n_latent=int(n_latent), n_layers=N_LAYERS)
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, data.x_train, n_epochs=N_EPOCHS, seed=seed, progress=False)
    return net


def best_noise(net: HybridBlock, data: gluon_vae.data.Mnist) -> tuple[HybridBlock, dict[str, float]]:
    """Give an autoencoder the noise with the highest ELBO of training images under a fitted Gaussian."""
    bounds = {}
    for width in WIDTHS:
        vae = noisy(net, data.x_train, width)
        prior = fit_mixture(gluon_vae.posterior_draws(vae, data.x_train))
        bounds[width] = gluon_vae.elbo(vae, data.x_train[:1000], prior=prior).mean
    return noisy(net, data.x_train, max(bounds, key=bounds.get)), {str(w): round(b, 2) for w, b in bounds.items()}


def fit_priors(net: HybridBlock, x: np.ndarray, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Fit the priors of these names to the codes of images."""
    codes = gluon_vae.posterior_draws(net, x, n_samples=N_DRAWS, seed=seed)
    fits = {
        "normal": lambda: StandardNormal(net.n_latent),
        "gaussian": lambda: fit_mixture(codes),
        "mixture": lambda: fit_mixture(codes, N_COMPONENTS, seed=seed),
        "chosen": lambda: VampPrior(net, x[:N_PSEUDO]),
        "vamp": lambda: fit_vamp_prior(net, x, N_PSEUDO, n_draws=1, seed=seed),
        "aggregate": lambda: VampPrior(net, x),
        "flow": lambda: fit_flow(codes, n_layers=6, n_epochs=10, seed=seed),
        "diffusion": lambda: Diffusion(codes, seed),
    }
    return {name: fits[name]() for name in names}


def gain(net: HybridBlock, prior: Any, x: np.ndarray, n_samples: int = N_SAMPLES) -> float:
    """Return by how much a prior raises the ELBO over that under N(0, I): no decoder is needed for that."""
    z = gluon_vae.posterior_draws(net, x, n_samples=n_samples, seed=1)
    return float(np.mean(prior.log_pdf(z) - StandardNormal(net.n_latent).log_pdf(z)))


def bracket(net: HybridBlock, data: gluon_vae.data.Mnist) -> dict[str, list[float]]:
    """Return KL(aggregate || N(0, I)) for the aggregate of n training images, and what that gains on test images."""
    above, below = [], []
    for n in SIZES:
        prior = VampPrior(net, data.x_train[:n])
        above.append(round(gain(net, prior, data.x_train[:n], 4000 // n), 3))
        below.append(round(gain(net, prior, data.x_test, 4), 3))
    return {"images": list(SIZES), "above": above, "below": below}


def look(images: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Return how far samples are from real features, with precision and recall."""
    drawn = features(images)
    precision, recall = precision_recall(real, drawn)
    return {
        "frechet": round(frechet_distance(drawn, real), 3),
        "precision": round(precision, 3),
        "recall": round(recall, 3),
    }


def run(model: str, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Train one model, fit priors to its codes and measure them."""
    begun = time.perf_counter()
    net, result = train(model, seed, data), {}
    if model.startswith("ae"):
        net, result["widths"] = best_noise(net, data)
    images, real = {"train": data.x_train[:1000], "test": data.x_test}, features(data.x_test)
    for name, x in images.items():
        mu, log_var = posterior(net, x)
        result[name] = {
            "elbo": round(gluon_vae.elbo(net, x, n_samples=N_SAMPLES).mean, 3),
            "kl": round(float(gluon_vae.kl_diagonal_gaussian(mu, np.exp(log_var), 0, 1).mean()), 3),
        }
    if model.startswith("vae"):
        result["bracket"] = bracket(net, data)
    result["reconstructed"] = look(gluon_vae.generate(net, gluon_vae.posterior_draws(net, data.x_test)), real)
    result["priors"] = {}
    for name, prior in fit_priors(net, data.x_train, seed, MODELS[model]).items():
        n_samples = 1 if name == "diffusion" else N_SAMPLES
        entry = {kind: round(gain(net, prior, x, n_samples), 3) for kind, x in images.items()}
        samples = gluon_vae.generate(net, prior.draws(len(real), seed=seed))
        result["priors"][name] = entry | look(samples, real)
    return result | {"seconds": round(time.perf_counter() - begun)}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[*MODELS], choices=[*MODELS], help="which (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for model, seed in RECORD.missing(args.models, args.seeds):
        result = run(model, seed, data)
        RECORD.add(model, seed, result)
        gains = ", ".join(f"{name} {entry['test']:.2f}" for name, entry in result["priors"].items())
        print(f"{model}, seed {seed}: gains on test images {gains}; {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
