"""When convolutions pay: convolutional and dense VAEs on the bundled digits, five trainings of every setting.

    python experiments/convolutions.py                          train what is not recorded yet
    python experiments/convolutions.py conv dense --seeds 0 1   some of it

Beside the digits as they are, some models see them with their pixels in another order, the same for all images.
Chapter 14 reads experiments/results/convolutions.json and trains two of its runs again. All numbers are in nats per
grey image, seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gap
import numpy as np
from record import Record

import gluon_vae
from gluon_vae import latent
from gluon_vae.sample_quality import sample_quality
from gluon_vae.training import INITIALIZER, History

import mxnet as mx
from mxnet import nd
from mxnet.gluon import HybridBlock

SEEDS = (0, 1, 2, 3, 4)
CHANNELS, N_HIDDEN, N_SMALL, N_LATENT, BATCH_SIZE = (16, 32, 64), 200, 88, 20, 50
N_PUBLISHED = 100  # latent dimensions of the published convolutional VAE, which had these channels
N_TRAIN, FEW = 4000, 500
SHORT, LONG = 640, 2560  # steps
N_SAMPLES = 1000  # draws from the prior
N_MOVED, MOVED_BY = 100, 2  # test images whose best posterior is looked for, and by how many pixels they are moved
ASCENT = {"n_steps": 100, "n_draws": 4, "full": False}
RECORD = Record(
    "convolutions",
    data="bundled sample of grey MNIST: 4000 training images or the first of them, 1000 test images",
    batch_size=BATCH_SIZE,
    units="nats per image, pixels, posterior standard deviations, seconds of the processor",
)

conv = partial(gluon_vae.ConvVAE, CHANNELS)
dense = partial(gluon_vae.VAE, N_HIDDEN)


class Setting(NamedTuple):
    """What is trained, on which images, for how long.

    Attributes
    ----------
    model : callable
        Makes the model, given the number of latent dimensions.
    images : {'digits', 'permuted'}
    n_images, n_steps : int
        Of the training.
    curve, closely : bool
        Evaluate on the test images after every epoch; measure shifts and samples as well.
    initializer : mxnet initializer
    options : dict
        Of ``fit``, where they are not its own.
    """

    model: Callable[..., HybridBlock]
    images: str = "digits"
    n_images: int = N_TRAIN
    n_steps: int = SHORT
    n_latent: int = N_LATENT
    curve: bool = False
    closely: bool = False
    initializer: mx.init.Initializer = INITIALIZER
    options: dict[str, Any] = {}  # noqa: RUF012

    @property
    def n_epochs(self) -> int:
        """Passes over the images that make so many steps."""
        return self.n_steps * BATCH_SIZE // self.n_images


SETTINGS = {
    "conv": Setting(conv, curve=True, closely=True),
    "dense": Setting(dense, curve=True, closely=True),
    "dense-small": Setting(partial(gluon_vae.VAE, N_SMALL), curve=True),
    "dense-long": Setting(dense, n_steps=LONG, curve=True),
    "conv-permuted": Setting(conv, "permuted"),
    "dense-permuted": Setting(dense, "permuted"),
    "conv-500-images": Setting(conv, n_images=FEW),
    "dense-500-images": Setting(dense, n_images=FEW),
    "conv-100-D": Setting(conv, n_latent=N_PUBLISHED),
    "dense-100-D": Setting(dense, n_latent=N_PUBLISHED),
    "conv-100-D-published": Setting(
        partial(conv, act_type="relu"),
        n_latent=N_PUBLISHED,
        initializer=mx.init.Xavier(),
        options={"learning_rate": 5e-4, "schedule": "constant"},
    ),
}


def permuted(x: np.ndarray) -> np.ndarray:
    """Put the pixels of every image into one other order."""
    return x[:, np.random.default_rng(0).permutation(x.shape[1])]


def moved(x: np.ndarray, pixels: int, axis: int) -> np.ndarray:
    """Move flat images by whole pixels: down (axis 1) or to the right (axis 2); what leaves comes in opposite."""
    side = round(x.shape[1] ** 0.5)
    return np.roll(x.reshape(-1, side, side), pixels, axis=axis).reshape(x.shape)


def start(setting: Setting, seed: int) -> HybridBlock:
    """Make the model of a setting with its initial parameters."""
    net = setting.model(n_latent=setting.n_latent)
    net.hybridize(static_alloc=True, static_shape=True)
    mx.random.seed(seed)
    net.initialize(setting.initializer)
    return net


def train(net: HybridBlock, setting: Setting, seed: int, x: np.ndarray, x_test: np.ndarray | None = None) -> History:
    """Train it as the setting says; with test images these are evaluated after every epoch."""
    options: dict[str, Any] = {
        "n_epochs": setting.n_epochs,
        "batch_size": BATCH_SIZE,
        "seed": seed,
        "progress": False,
    }
    return gluon_vae.fit(net, x[: setting.n_images], x_test, **(options | setting.options))


def posterior(net: HybridBlock, x: np.ndarray) -> gap.Gaussians:
    """Return the encoder's answers."""
    mean, log_var = latent.posterior(net, x)
    return gap.Gaussians.diagonal(mean, np.exp(0.5 * log_var))


def shift_cost(net: HybridBlock, x: np.ndarray, pixels: int) -> float:
    """Return by how much the mean ELBO is lower for images that are moved, over the four directions."""
    moves = [(sign * pixels, axis) for sign in (-1, 1) for axis in (1, 2)]
    return gluon_vae.elbo(net, x).mean - float(np.mean([gluon_vae.elbo(net, moved(x, *m)).mean for m in moves]))


def code_shift(net: HybridBlock, x: np.ndarray, pixels: int) -> float:
    """Return how far codes move with their images, root mean square in standard deviations of the posterior."""
    before, after = posterior(net, x), posterior(net, moved(x, pixels, 2))
    return float(np.sqrt((((after.mean - before.mean) / before.scale) ** 2).mean()))


def shift_cost_of_the_best(net: HybridBlock, x: np.ndarray, pixels: int, seed: int = 0) -> dict[str, float]:
    """Split the cost of a shift: what it is with the encoder's posterior, and with the best that is found.

    Every image has its own diagonal Gaussian, raised by gradient ascent on the ELBO from the encoder's answer, a
    moved one from that for the image in its place too. One direction for each image, in turn.
    """
    rng = np.random.default_rng(seed)
    turns = [(sign * pixels, axis) for sign in (-1, 1) for axis in (1, 2)]
    there = np.concatenate([moved(row[None], *turns[i % 4]) for i, row in enumerate(x)])
    q, q_there = posterior(net, x), posterior(net, there)
    # Three ascents at once: the image from its answer, the moved one from its own and from that of the first.
    stacked = np.concatenate([x, there, there])
    both = gap.Gaussians(*(np.concatenate([a, b, a]) for a, b in zip(q, q_there)))
    best, _ = gap.ascend(net, stacked, both, rng=rng, **ASCENT)
    reached = gap.log_ratios(net, stacked, best, 100, rng).mean(axis=0).reshape(3, -1)
    encoded = gap.log_ratios(net, stacked[: 2 * len(x)], gap.Gaussians(*(p[: 2 * len(x)] for p in both)), 100, rng)
    here, away = encoded.mean(axis=0).reshape(2, -1)
    return {"encoder": float((here - away).mean()), "best": float((reached[0] - reached[1:].max(axis=0)).mean())}


def plane_share(kernels: np.ndarray) -> np.ndarray:
    """Return which part of the squared weights of each kernel, (n, k, k), less their mean, a plane explains.

    1 for a kernel that rises evenly in one direction; 2 / (k^2 - 1) on average for one of independent weights from
    one distribution.
    """
    k = kernels.shape[1]
    ramp = np.arange(k) - (k - 1) / 2
    planes = np.stack([np.repeat(ramp, k), np.tile(ramp, k)]) / np.sqrt(k * (ramp**2).sum())
    weights = kernels.reshape(len(kernels), -1)
    weights = weights - weights.mean(axis=1, keepdims=True)
    return ((weights @ planes.T) ** 2).sum(axis=1) / (weights**2).sum(axis=1)


def likeness(kernels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine between each kernel, (n, k, k), and its counterpart."""
    return (kernels * others).sum(axis=(1, 2)) / np.sqrt((kernels**2).sum(axis=(1, 2)) * (others**2).sum(axis=(1, 2)))


def silent_channels(net: HybridBlock, x: np.ndarray) -> list[int]:
    """Count, at every level of a convolutional encoder, the channels that are positive nowhere for any image."""
    h, silent = nd.array(x), {}
    for layer in net.encoder:
        h = layer(h)
        if h.ndim == 4 and h.shape[1] > 1:  # what is negative before a leaky ReLU is so after it
            silent[h.shape[1:]] = int((h.max(axis=(0, 2, 3)).asnumpy() <= 0).sum())
    return list(silent.values())


def first_kernels(net: HybridBlock) -> np.ndarray:
    """Return the kernels of the first convolution, (channels, k, k)."""
    return net.encoder[1].weight.data().asnumpy()[:, 0].copy()


def run(name: str, seed: int, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Train one model and measure it."""
    setting = SETTINGS[name]
    x, x_test = data.x_train, data.x_test
    if setting.images == "permuted":
        x, x_test = permuted(x), permuted(x_test)
    net = start(setting, seed)
    convolutional = isinstance(net, gluon_vae.ConvVAE)
    before = first_kernels(net) if convolutional else None
    begun = time.process_time()
    history = train(net, setting, seed, x, x_test if setting.curve else None)
    result: dict[str, Any] = {"seconds": time.process_time() - begun}
    result["parameters"] = sum(p.data().size for p in net.collect_params().values())
    result["test"] = gluon_vae.elbo(net, x_test, n_samples=3).mean
    result["train"] = gluon_vae.elbo(net, x[: setting.n_images], n_samples=2).mean
    if setting.curve:
        result["by_epoch"] = [-loss for loss in history["test_loss"]]
    if convolutional:
        kernels = first_kernels(net)
        result["silent"] = silent_channels(net, x_test)
        result["likeness"] = float(likeness(kernels, before).mean())
        result["plane"] = [float(plane_share(k).mean()) for k in (before, kernels)]
    if setting.closely:
        result["shift_cost"] = [shift_cost(net, x_test, pixels) for pixels in (1, 2)]
        result["code_shift"] = [code_shift(net, x_test, pixels) for pixels in (1, 2)]
        drawn = gluon_vae.generate(net, gluon_vae.prior_draws(N_SAMPLES, net.n_latent))
        quality = sample_quality(drawn, x_test, n_bootstrap=2)  # their spread is that over trainings
        result["samples"] = {key: measured.mean for key, measured in quality._asdict().items()}
        net.collect_params().setattr("grad_req", "null")  # only codes are moved from here on
        result["shift_cost_best"] = shift_cost_of_the_best(net, x_test[:N_MOVED], MOVED_BY)
    return _rounded(result)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETTINGS)} (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    for name in args.names:
        if name not in SETTINGS:
            parser.error(f"{name!r} is none of {', '.join(SETTINGS)}")
    data = gluon_vae.load_mnist()
    for name, seed in RECORD.missing(args.names or SETTINGS, args.seeds):
        result = run(name, seed, data)
        RECORD.add(name, seed, result)
        print(f"{name}, seed {seed}: test ELBO {result['test']:.1f}; {result['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
