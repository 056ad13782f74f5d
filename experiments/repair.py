"""What a prior is worth: learned priors for the codes of VAEs and autoencoders, in nats and by their samples.

    python experiments/repair.py                              train and measure what is not recorded yet
    python experiments/repair.py --models vae-2 --seeds 0     some of it

Small models are trained on the bundled sample of grey MNIST: a VAE with 2 and one with 32 latent dimensions, one
with 32 and hardly any KL in its loss, and a plain autoencoder, whose codes get a little noise afterwards. Then they
stay as they are, and priors of eight kinds are fitted to the codes of their training images. For each the record has
what it gains in ELBO on training and on test images, and what a thousand samples look like to the digit classifier.
Chapter 16 reads it, experiments/results/repair.json, and measures some entries again.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from record import Record

import gluon_vae
from gluon_vae import priors
from gluon_vae.latent import posterior
from gluon_vae.layers import mlp
from gluon_vae.run import Run
from gluon_vae.sample_quality import features, frechet_distance, precision_recall

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import HybridBlock

MODELS, SEEDS = ("vae-2", "vae-32", "tiny-32", "ae-32"), (0, 1, 2, 3, 4)
N_HIDDEN, N_LAYERS, N_EPOCHS = 200, 2, 20
TINY = 0.01  # the weight of the KL in 'tiny-32'
N_DRAWS = 2  # codes of each training image that priors are fitted to
N_COMPONENTS, N_PSEUDO = 20, 100  # of the mixture, and of the VampPrior
N_SAMPLES = 10  # codes of each image for an ELBO
SIZES = (250, 500, 1000, 2000, 4000)  # images whose posteriors are averaged
WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)  # of the autoencoder's noise, in standard deviations of a code
RECORD = Record(
    "repair",
    data="bundled sample of grey MNIST: 4000 training images, the first 1000 of them, 1000 test images",
    model=f"{N_LAYERS} hidden layers of {N_HIDDEN}, {N_EPOCHS} epochs; 'tiny-32' has KL weight {TINY}",
    samples=1000,
    units="nats per image",
)

N_STEPS = 100  # from codes to noise
N_UNITS, N_TRAINING, BATCH, RATE = 128, 2000, 200, 2e-3
LOG_SNR = np.linspace(9, -6, N_STEPS + 1)  # logarithm of signal to noise, by step
ALPHA, SIGMA = np.sqrt(1 / (1 + np.exp(-LOG_SNR))), np.sqrt(1 / (1 + np.exp(LOG_SNR)))


class Diffusion:
    """A diffusion model of codes; ``log_pdf`` is a lower bound of its log-density, with a random error.

    A code is whitened and mixed with more and more noise, ``z_i = ALPHA[i] z + SIGMA[i] eps``. A network predicts eps
    from z_i, as what would be best for N(0, I), and a correction that begins at 0. With the logarithm of signal to
    noise linear in i the bound is, but for its two ends, the mean squared error of that prediction times a constant
    (Kingma et al. 2021, arXiv 2107.00630, equations 11 to 14).
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
            z, i = whitened[rng.integers(len(codes), size=BATCH)], rng.integers(1, N_STEPS + 1, size=BATCH)
            eps = rng.standard_normal(z.shape)
            mixed = ALPHA[i, None] * z + SIGMA[i, None] * eps
            with autograd.record():
                loss = ((nd.array(eps) - self.predict(mixed, i)) ** 2).sum(axis=1)
            loss.backward()
            trainer.set_learning_rate(run.rate(step / N_TRAINING))
            trainer.step(BATCH)

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """Return codes with mean 0 and covariance I."""
        return np.linalg.solve(self.factor, (codes - self.mean).T).T

    def predict(self, mixed: np.ndarray, i: np.ndarray) -> nd.NDArray:
        """Return the noise in codes mixed at steps i, (n, n_latent)."""
        clock = np.cos(np.pi * np.outer(i / N_STEPS, np.arange(1, 9)))
        correction = self.net(nd.array(np.concatenate([mixed, clock], axis=1)))
        return nd.array(SIGMA[i, None] * mixed) + correction

    def log_pdf(self, codes: Any, seed: int = 0) -> np.ndarray:
        """Return a bound of the log-density at codes, (n,), with one draw of the noise for every step."""
        codes = codes.asnumpy() if isinstance(codes, nd.NDArray) else codes
        z, rng = self.whiten(codes.astype(float)), np.random.default_rng(seed)
        eps = rng.standard_normal(z.shape)
        log_ratio = np.log(SIGMA[0] / ALPHA[0])
        bound = -(0.5 * eps**2 + log_ratio + 0.5 * priors.LOG_2PI).sum(axis=1)
        variance = SIGMA[-1] ** 2
        bound -= 0.5 * ((ALPHA[-1] * z) ** 2 + variance - 1 - np.log(variance)).sum(axis=1)
        weights = 0.5 * np.expm1(-np.diff(LOG_SNR))
        for i, weight in enumerate(weights, 1):
            eps = rng.standard_normal(z.shape)
            predicted = self.predict(ALPHA[i] * z + SIGMA[i] * eps, np.full(len(z), i)).asnumpy()
            bound -= weight * ((eps - predicted) ** 2).sum(axis=1)
        return bound - np.log(np.diag(self.factor)).sum()

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw codes, (n, n_latent) float32: from noise back to codes, step by step."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((n, self.n_latent))
        for i in range(N_STEPS, 0, -1):
            lost = -np.expm1(LOG_SNR[i] - LOG_SNR[i - 1])
            predicted = self.predict(z, np.full(n, i)).asnumpy()
            mean = ALPHA[i - 1] / ALPHA[i] * (z - lost * SIGMA[i] * predicted)
            z = mean + SIGMA[i - 1] * np.sqrt(lost) * rng.standard_normal(z.shape)
        z = (z + SIGMA[0] * rng.standard_normal(z.shape)) / ALPHA[0]
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
    return gluon_vae.ComposedVAE(encoder, net.decoder.logits, net.n_latent)


def train(model: str, seed: int, data: gluon_vae.data.Mnist) -> HybridBlock:
    """Train one small model, named by what it is and its latent dimensions."""
    kind, n_latent = model.split("-")
    options = {"n_hidden": N_HIDDEN, "n_latent": int(n_latent), "n_layers": N_LAYERS}
    if kind == "ae":
        net = gluon_vae.Autoencoder(**options)
    else:
        net = gluon_vae.VAE(**options, beta=TINY if kind == "tiny" else 1.0)
    net.hybridize()
    gluon_vae.fit(net, data.x_train, n_epochs=N_EPOCHS, seed=seed, progress=False)
    return net


def best_noise(net: HybridBlock, data: gluon_vae.data.Mnist) -> tuple[HybridBlock, dict[str, float]]:
    """Give an autoencoder the noise with the highest ELBO of training images under a fitted Gaussian."""
    bounds = {}
    for width in WIDTHS:
        vae = noisy(net, data.x_train, width)
        prior = priors.fit_mixture(gluon_vae.posterior_draws(vae, data.x_train))
        bounds[width] = gluon_vae.elbo(vae, data.x_train[:1000], prior=prior).mean
    return noisy(net, data.x_train, max(bounds, key=bounds.get)), {str(w): round(b, 2) for w, b in bounds.items()}


def fit_priors(net: HybridBlock, x: np.ndarray, seed: int) -> dict[str, Any]:
    """Fit a prior of each kind to the codes of images."""
    codes = gluon_vae.posterior_draws(net, x, n_samples=N_DRAWS, seed=seed)
    return {
        "normal": priors.StandardNormal(net.n_latent),
        "gaussian": priors.fit_mixture(codes),
        "mixture": priors.fit_mixture(codes, N_COMPONENTS, seed=seed),
        "chosen": priors.VampPrior(net, x[:N_PSEUDO]),
        "vamp": priors.fit_vamp_prior(net, x, N_PSEUDO, n_draws=N_DRAWS, seed=seed),
        "aggregate": priors.VampPrior(net, x),
        "flow": priors.fit_flow(codes, seed=seed),
        "diffusion": Diffusion(codes, seed),
    }


def gain(net: HybridBlock, prior: Any, x: np.ndarray, n_samples: int = N_SAMPLES) -> float:
    """Return by how much a prior raises the ELBO over that under N(0, I): no decoder is needed for that."""
    z = gluon_vae.posterior_draws(net, x, n_samples=n_samples, seed=1)
    return float(np.mean(prior.log_pdf(z) - priors.StandardNormal(net.n_latent).log_pdf(z)))


def bracket(net: HybridBlock, data: gluon_vae.data.Mnist) -> dict[str, list[float]]:
    """Return KL(aggregate || N(0, I)) for the aggregate of n training images, and what that gains on test images."""
    above, below = [], []
    for n in SIZES:
        prior = priors.VampPrior(net, data.x_train[:n])
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
    result["bracket"] = bracket(net, data)
    result["reconstructed"] = look(gluon_vae.generate(net, gluon_vae.posterior_draws(net, data.x_test)), real)
    result["priors"] = {}
    for name, prior in fit_priors(net, data.x_train, seed).items():
        n_samples = 2 if name == "diffusion" else N_SAMPLES
        entry = {kind: round(gain(net, prior, x, n_samples), 3) for kind, x in images.items()}
        samples = gluon_vae.generate(net, prior.draws(len(real), seed=seed))
        result["priors"][name] = entry | look(samples, real)
    return result | {"seconds": round(time.perf_counter() - begun)}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS, help="which (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for seed in args.seeds:
        for model in args.models:
            if RECORD.has(model, seed):
                continue
            result = run(model, seed, data)
            RECORD.add(model, seed, result)
            gains = ", ".join(f"{name} {entry['test']:.2f}" for name, entry in result["priors"].items())
            print(f"{model}, seed {seed}: gains on test images {gains}; {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
