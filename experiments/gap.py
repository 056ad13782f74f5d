"""The gap between log p(x) and the ELBO, by latent dimension: the family's part and the encoder's.

    python experiments/gap.py                         train and measure what is not recorded yet
    python experiments/gap.py --latent 2 --seeds 0    some of it

Every model is trained on the bundled sample of grey MNIST. For images of three kinds, test, training, and drawn from
the model itself, the ELBO of the encoder's q(z|x) is held against that of the best diagonal Gaussian and of the best
Gaussian for this very image, both found by gradient ascent, and against log p(x) by importance sampling. Chapter 8
reads the record, experiments/results/gap.json, and measures one entry of it again. All numbers are in nats per image.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
from record import Record
from scipy.special import logsumexp

import gluon_vae
from gluon_vae.adam import BETA1, BETA2
from gluon_vae.run import Run

from mxnet import autograd, nd
from mxnet.gluon import HybridBlock

LATENT, SEEDS = (2, 5, 10, 20), (0, 1, 2, 3, 4)
N_HIDDEN, N_LAYERS, N_EPOCHS = 200, 2, 20
N_IMAGES = 24  # of every kind
SCOUT_STEPS, SCOUT_DRAWS = 100, 4  # from each start
CLIMB_STEPS, CLIMB_DRAWS = 150, 8  # from the best of them
RUN = Run(learning_rate=0.05)  # of every ascent, whose rate decays as that of a training
ELBO_DRAWS = 200
WEIGHTS, WIDER = 1500, 1.2  # draws for log p(x), and by which factor the Gaussians they come from are wider
RECORD = Record(
    "gap",
    data="bundled sample of grey MNIST: 4000 training images, the first of the 1000 test images",
    model=f"VAE, {N_LAYERS} hidden layers of {N_HIDDEN}, {N_EPOCHS} epochs",
    images=N_IMAGES,
    units="nats per image",
)


class Gaussians(NamedTuple):
    """One Gaussian per image: z = mean + scale * (I + lower) eps.

    Attributes
    ----------
    mean, scale : (n, n_latent)
    lower : (n, n_latent, n_latent)
        Strictly lower triangular; 0 for a diagonal covariance.
    """

    mean: np.ndarray
    scale: np.ndarray
    lower: np.ndarray

    @classmethod
    def diagonal(cls, mean: np.ndarray, scale: np.ndarray) -> Gaussians:
        """Make Gaussians with independent coordinates."""
        return cls(mean, scale, np.zeros((*mean.shape, mean.shape[1])))

    def at(self, eps: np.ndarray) -> np.ndarray:
        """Turn noise, (k, n, n_latent), into codes."""
        return self.mean + self.scale * (eps + np.einsum("nij,knj->kni", self.lower, eps))

    def noise(self, z: np.ndarray) -> np.ndarray:
        """Return what ``at`` turns into z, (k, n, n_latent)."""
        factor = self.lower + np.eye(self.mean.shape[1])
        return np.linalg.solve(factor, ((z - self.mean) / self.scale).transpose(1, 2, 0)).transpose(2, 0, 1)

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Return the log-density at z, (k, n)."""
        square = (self.noise(z) ** 2).sum(axis=2)
        return -0.5 * square - np.log(self.scale).sum(axis=1) - 0.5 * z.shape[2] * np.log(2 * np.pi)

    def score(self, eps: np.ndarray) -> np.ndarray:
        """Return the negative gradient of the log-density with respect to z, at ``at(eps)``."""
        transposed = np.swapaxes(self.lower, 1, 2) + np.eye(self.mean.shape[1])
        return np.linalg.solve(transposed, eps.transpose(1, 2, 0)).transpose(2, 0, 1) / self.scale


def train(n_latent: int, seed: int, data: gluon_vae.data.Mnist) -> HybridBlock:
    """Train one small VAE."""
    net = gluon_vae.VAE(n_hidden=N_HIDDEN, n_latent=n_latent, n_layers=N_LAYERS)
    net.hybridize()
    gluon_vae.fit(net, data.x_train, n_epochs=N_EPOCHS, seed=seed, progress=False)
    net.collect_params().setattr("grad_req", "null")  # from here on only codes are moved
    return net


def simulate(net: HybridBlock, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw codes from the prior and a binary image from each: a code is an exact draw of its image's posterior."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((N_IMAGES, net.n_latent))
    mean = net.decoder(nd.array(z)).asnumpy()
    return (rng.random(mean.shape) < mean).astype(np.float32), z


def log_joint(net: HybridBlock, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return log p(x, z), (k, n), of images (n, n_output) and codes (k, n, n_latent)."""
    nll = []
    for codes in np.array_split(z, max(1, z.shape[0] * z.shape[1] // 2000)):
        tiled = nd.tile(nd.array(x), (len(codes), 1))
        nll.append(net.nll_given(tiled, nd.array(codes.reshape(-1, z.shape[2]))).asnumpy().reshape(len(codes), -1))
    return -np.concatenate(nll).astype(float) - 0.5 * (z**2).sum(axis=2) - 0.5 * z.shape[2] * np.log(2 * np.pi)


def log_ratios(net: HybridBlock, x: np.ndarray, q: Gaussians, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return log p(x, z) - log q(z), (n_draws, n), at draws of q: their mean is the ELBO."""
    z = q.at(rng.standard_normal((n_draws, *q.mean.shape)))
    return log_joint(net, x, z) - q.log_pdf(z)


class Mixture(NamedTuple):
    """One mixture of Gaussians per image: the first with the weight ``first``, the others with equal ones."""

    parts: list[Gaussians]
    first: float

    def draws(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw codes, (n, n_images, n_latent), from every part by its weight."""
        n_others = len(self.parts) - 1
        rest = round((1 - self.first) * n / n_others)
        sizes = [n - n_others * rest] + [rest] * n_others
        return np.concatenate(
            [q.at(rng.standard_normal((size, *q.mean.shape))) for q, size in zip(self.parts, sizes)]
        )

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Return the log-density at z, (k, n)."""
        others = logsumexp([q.log_pdf(z) for q in self.parts[1:]], axis=0) - np.log(len(self.parts) - 1)
        return np.logaddexp(np.log(self.first) + self.parts[0].log_pdf(z), np.log(1 - self.first) + others)


def ascend(
    net: HybridBlock, x: np.ndarray, q: Gaussians, n_steps: int, n_draws: int, rng: np.random.Generator, full: bool
) -> tuple[Gaussians, np.ndarray]:
    """Raise the ELBO of every image by steps of Adam on its own Gaussian; also return the ELBO at each step.

    The gradient goes through the draws only (Roeder et al. 2017, arXiv 1703.09194), so that its noise vanishes where
    q comes to the posterior. Every step has new draws in opposite pairs, and the rate decays along a cosine.
    """
    free = [nd.array(values) for values in (q.mean, np.log(q.scale), q.lower)]
    below = nd.array(np.tril(np.ones(q.lower.shape[1:]), -1)[None]) if full else nd.zeros((1, 1, 1))
    adam = [(nd.zeros_like(values), nd.zeros_like(values)) for values in free]
    for values in free:
        values.attach_grad()
    tiled, values = nd.tile(nd.array(x), (n_draws, 1)), []
    for step in range(1, n_steps + 1):
        half = rng.standard_normal((n_draws // 2, *q.mean.shape))
        eps = np.concatenate([half, -half])
        q = Gaussians(free[0].asnumpy().astype(float), np.exp(free[1].asnumpy().astype(float)), free[2].asnumpy())
        noise, score = nd.array(eps), nd.array(q.score(eps))
        with autograd.record():
            turned = nd.batch_dot(nd.broadcast_mul(free[2], below), noise.transpose((1, 2, 0))).transpose((2, 0, 1))
            z = free[0].expand_dims(0) + free[1].exp().expand_dims(0) * (noise + turned)
            log_p = -net.nll_given(tiled, z.reshape((-1, z.shape[2]))) - 0.5 * (z**2).sum(axis=2).reshape((-1,))
            loss = -(log_p.sum() + (score * z).sum()) / n_draws
        loss.backward()
        log_p = log_p.asnumpy().reshape(n_draws, -1) - 0.5 * z.shape[2] * np.log(2 * np.pi)
        values.append((log_p - q.log_pdf(q.at(eps))).mean(axis=0))
        rate = RUN.rate((step - 1) / n_steps) * np.sqrt(1 - BETA2**step) / (1 - BETA1**step)
        for parameter, (mean, square) in zip(free, adam):
            nd.adam_update(parameter, parameter.grad, mean, square, out=parameter, lr=rate)
    mean, log_scale, lower = (parameter.asnumpy().astype(float) for parameter in free)
    return Gaussians(mean, np.exp(log_scale), lower * below.asnumpy()), np.array(values)


def starts(net: HybridBlock, x: np.ndarray, codes: np.ndarray) -> list[Gaussians]:
    """Return where the ascents of each image begin: the encoder's answer, the likeliest of other codes, and 0."""
    mean, log_var = np.split(net.encoder(nd.array(x)).asnumpy().astype(float), 2, axis=1)
    scale = np.exp(0.5 * log_var)
    logits = net.decoder.logits(nd.array(codes)).asnumpy()
    joint = x @ logits.T - np.logaddexp(0, logits).sum(axis=1) - 0.5 * (codes**2).sum(axis=1)
    return [Gaussians.diagonal(start, scale) for start in (mean, codes[joint.argmax(axis=1)], np.zeros_like(mean))]


def measure(net: HybridBlock, x: np.ndarray, codes: np.ndarray, seed: int) -> tuple[dict[str, list], Mixture]:
    """Measure the gap of every image and what it is made of.

    Parameters
    ----------
    net : VAE
    x : (n, n_output)
        Images.
    codes : (m, n_latent)
        Places where the ascent may begin: codes of other images.

    Returns
    -------
    dict
        Per image: ``log_p`` and its standard error, ``error``; the ELBOs ``encoder``, ``diagonal`` and ``full``;
        which of the ``starts`` was the best, ``start``. And by how much the two ascents still rose from the third
        quarter of their steps to the last, on average over the images: ``rise``.
    Mixture
        The best Gaussian of each image, and with a tenth of the weight the ends of the first ascents.
    """
    rng = np.random.default_rng(seed)
    first, *others = starts(net, x, codes)
    scouts = Gaussians(*(np.concatenate(parts) for parts in zip(first, *others)))
    scouts, _ = ascend(net, np.tile(x, (3, 1)), scouts, SCOUT_STEPS, SCOUT_DRAWS, rng, full=False)
    reached = log_ratios(net, np.tile(x, (3, 1)), scouts, 100, rng).mean(axis=0).reshape(3, -1)
    start = reached.argmax(axis=0)
    best = Gaussians(*(part[start * len(x) + np.arange(len(x))] for part in scouts))
    diagonal, steps_diagonal = ascend(net, x, best, CLIMB_STEPS, CLIMB_DRAWS, rng, full=False)
    full, steps_full = ascend(net, x, diagonal, CLIMB_STEPS, CLIMB_DRAWS, rng, full=True)
    quarter = CLIMB_STEPS // 4
    rises = [s[-quarter:].mean() - s[-2 * quarter : -quarter].mean() for s in (steps_diagonal, steps_full)]
    # A posterior may have more modes than one: the ends of the other ascents take part.
    ends = [Gaussians(*(part[i * len(x) : (i + 1) * len(x)] for part in scouts)) for i in range(3)]
    proposal = Mixture([q._replace(scale=WIDER * q.scale) for q in (full, *ends)], 0.5)
    z = proposal.draws(WEIGHTS, rng)
    weights = log_joint(net, x, z) - proposal.log_pdf(z)
    log_p = logsumexp(weights, axis=0) - np.log(len(z))
    error = np.exp(weights - log_p).std(axis=0) / np.sqrt(len(z))
    result = {"log_p": log_p, "error": error}
    for name, q in (("encoder", first), ("diagonal", diagonal), ("full", full)):
        result[name] = log_ratios(net, x, q, ELBO_DRAWS, rng).mean(axis=0)
    rounded = {name: [round(float(value), 3) for value in values] for name, values in result.items()}
    return rounded | {"start": start.tolist(), "rise": [round(float(rise), 3) for rise in rises]}, Mixture(
        [full, *ends], 0.9
    )


def run(n_latent: int, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Train one model and measure the gap on images of three kinds."""
    begun = time.perf_counter()
    net = train(n_latent, seed, data)
    codes = codes_for(net, data)
    x, z = simulate(net, seed)
    result: dict[str, Any] = {}
    for kind, images in (("test", data.x_test[:N_IMAGES]), ("train", data.x_train[:N_IMAGES]), ("simulated", x)):
        result[kind], q = measure(net, images, codes, seed)
    # At an exact draw of the posterior the log-ratio is on average log p(x) + KL(p(z|x) || q): a bound from above.
    upper = log_joint(net, x, z[None])[0] - q.log_pdf(z[None])[0]
    result["simulated"]["upper"] = [round(float(value), 3) for value in upper]
    return result | {"seconds": round(time.perf_counter() - begun)}


def codes_for(net: HybridBlock, data: gluon_vae.data.Mnist) -> np.ndarray:
    """Return the codes of the training images that are not measured."""
    return net.encoder(nd.array(data.x_train[N_IMAGES:])).asnumpy()[:, : net.n_latent].astype(float)


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent", type=int, nargs="*", default=LATENT, help="latent dimensions (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for n_latent, seed in RECORD.missing(args.latent, args.seeds):
        result = run(n_latent, seed, data)
        RECORD.add(n_latent, seed, result)
        gap = np.subtract(result["test"]["log_p"], result["test"]["encoder"]).mean()
        print(f"{n_latent}-D, seed {seed}: mean gap {gap:.2f} nats per test image; {result['seconds']} s")


if __name__ == "__main__":
    main()
