"""The likelihoods of chapter 12 side by side: nats on one ruler, errors and samples, over several trainings.

    python experiments/likelihoods.py                                     train and measure what is not recorded yet
    python experiments/likelihoods.py --models learned clipped --seeds 0    some of it

Every model is trained on the bundled sample of grey MNIST and judged on its test images. Chapter 12 reads the record,
experiments/results/likelihoods.json, and trains some of its runs again. All numbers of nats are per image.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from record import Record
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr

import gluon_vae
from gluon_vae.arrays import Array
from gluon_vae.layers import mlp
from gluon_vae.losses import LOG_2PI, kl_to_standard_normal
from gluon_vae.sample_quality import features, frechet_distance, precision_recall

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

SEEDS = (0, 1, 2, 3, 4)
N_HIDDEN, N_LATENT = 200, 10
SMALL: dict[str, Any] = {"n_epochs": 8, "learning_rate": 1e-2}
TANH: dict[str, Any] = {"n_epochs": 20, "learning_rate": 1e-2}
BIG: dict[str, Any] = {"n_epochs": 4, "batch_size": 32, "learning_rate": 1e-3}
NO_FLOOR: dict[str, Any] = {"n_epochs": 8, "learning_rate": 3e-3}
RUINED = 5000  # nats: an image that costs more is ruined
N_DRAWS = 1000  # images drawn from each model, as many as there are test images
STEP, HALF = 1 / 255, 0.5 / 255  # between two grey levels, and from a level to the edge of its cell
RECORD = Record(
    "likelihoods",
    data="bundled sample of grey MNIST: 4000 training and 1000 test images",
    models="784-200-10-200-784 unless the name says otherwise",
    units="nats per image; squares per pixel",
)


def log_cdf(F: ModuleType, t: Array) -> Array:
    """Return the logarithm of the standard normal distribution function, with a gradient that stays right.

    Below -3 a continued fraction takes over, long before 1 + erf has lost its digits.
    """
    s = -F.minimum(t, -3)
    fraction = s
    for k in range(8, 0, -1):
        fraction = s + k / fraction
    tail = -0.5 * F.square(s) - F.log(fraction) - 0.5 * LOG_2PI
    middle = F.log(0.5 + 0.5 * F.erf(F.maximum(t, -3) / math.sqrt(2)))
    return F.where(t < -3, tail, middle)


class ClippedGaussian(HybridBlock):
    """Gaussian pixels that are clipped to [0, 1]: what lies beyond goes to the levels 0 and 1.

    Calling it maps logits, (batch, 2 * n_output), and grey images to the negative log-probability of their levels,
    (batch,) nats per image: exact for the levels 0 and 1, the density times 1/255 between them.

    Parameters
    ----------
    min_std : float
        The least standard deviation.
    bounded : bool
        Keep the location of the Gaussian in [0, 1], as an ordinary mean is; else it is free.
    """

    n_maps = 2

    def __init__(self, min_std: float = 0.05, bounded: bool = False, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self.min_std, self.bounded = min_std, bounded
        self.config = {"likelihood": "clipped Gaussian", "min_std": min_std, "bounded": bounded}

    def moments(self, F: ModuleType, logits: Array) -> tuple[Array, Array]:
        """Split logits into location and standard deviation; the location is the tangent of the sigmoid."""
        logit, raw = F.split(logits, num_outputs=2, axis=1)
        location = F.sigmoid(logit) if self.bounded else 0.5 + 0.25 * logit
        return location, self.min_std + F.Activation(raw - 1, act_type="softrelu")

    def hybrid_forward(self, F: ModuleType, logits: Array, x: Array) -> Array:
        location, std = self.moments(F, logits)
        beyond = F.where(x > 0.5, location - (1 - HALF), HALF - location)
        inside = -0.5 * F.square((x - location) / std) - F.log(std) - 0.5 * LOG_2PI + math.log(STEP)
        outermost = F.abs(x - 0.5) > 0.5 - HALF
        return -F.sum(F.where(outermost, log_cdf(F, beyond / std), inside), axis=1)

    def sample(self, logits: nd.NDArray) -> nd.NDArray:
        """Draw images, pixels in [0, 1]."""
        location, std = self.moments(nd, logits)
        return nd.clip(location + std * nd.random.normal(shape=std.shape), 0, 1)


class LevelsBernoulli(HybridBlock):
    """The Bernoulli log-probability of grey pixels, normalised over the 256 levels: P(k) ~ exp(l k / 255).

    Calling it maps logits and images, (batch, n_output) each, to the negative log-probability, (batch,) nats.
    """

    n_maps = 1
    config = {"likelihood": "levels"}  # noqa: RUF012

    def hybrid_forward(self, F: ModuleType, logits: Array, x: Array) -> Array:
        # The sum over the levels is geometric: (1 - e^(-256 a)) / (1 - e^(-a)), times e^l where l is positive.
        a = F.maximum(F.abs(logits) * STEP, 1e-7)
        log_sum = F.relu(logits) + F.log(F.expm1(-256 * a) / F.expm1(-a))
        return F.sum(log_sum - x * logits, axis=1)

    def sample(self, logits: nd.NDArray) -> nd.NDArray:
        """Draw the continuous variable by its inverse distribution function."""
        u = nd.random.uniform(shape=logits.shape)
        size = nd.maximum(nd.abs(logits), 1e-3)
        x = nd.log1p(u * nd.expm1(-size)) / -size  # for a negative logit
        return nd.where(logits > 0, 1 - x, x)


class PublishedVAE(gluon_vae.ComposedVAE):
    """A published Gaussian-decoder VAE as its code is: shifted pixels, a linear mean, no constants in the loss.

    Parameters
    ----------
    std : callable
        Maps F and the encoder's log-variance to the standard deviation of z.
    lam : float
        The variance of every pixel.
    """

    def __init__(self, std: Callable[[ModuleType, Array], Array], lam: float = 0.098) -> None:
        super().__init__(shifted_encoder, lambda n_columns: mlp(64, 512, 2, n_columns, "relu"), 64)
        self.std, self.lam = std, lam

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array | None, *label: Array) -> tuple[Array, ...]:
        mu, log_var = F.split(self.encoder(x), num_outputs=2, axis=1)
        mean = self.decoder.logits(mu + self.std(F, log_var) * eps) + 0.5
        nll = F.sum(F.square(x - mean), axis=1) / (2 * self.lam)
        kl = kl_to_standard_normal(F, mu, log_var)
        return nll + kl, mu, log_var, mean, nll, kl


def shifted_encoder() -> HybridBlock:
    """Return an encoder that moves pixels from [0, 1] to [-0.5, 0.5] first."""
    net = nn.HybridSequential()
    net.add(nn.HybridLambda(lambda F, x: x - 0.5), mlp(784, 512, 2, 128, "relu"))
    return net


def std_published(F: ModuleType, log_var: Array) -> Array:
    """Return exp(0.5 ** log_var), the published slip."""
    return F.exp(0.5**log_var)


def std_meant(F: ModuleType, log_var: Array) -> Array:
    """Return the standard deviation."""
    return F.exp(0.5 * log_var)


def vae(**likelihood: Any) -> Callable[[], HybridBlock]:
    """Return what makes the small model of most runs."""
    return lambda: gluon_vae.VAE(n_hidden=N_HIDDEN, n_latent=N_LATENT, **likelihood)


def per_pixel(min_std: float) -> Callable[[], HybridBlock]:
    """Return what makes the small model with a variance per pixel."""
    return vae(likelihood="gaussian", variance="per-pixel", min_std=min_std)


def clipped(min_std: float, bounded: bool = False) -> Callable[[], HybridBlock]:
    """Return what makes the small model with a clipped Gaussian."""
    return lambda: vae(likelihood=ClippedGaussian(min_std, bounded, prefix="likelihood_"))()


def tanh(**likelihood: Any) -> Callable[[], HybridBlock]:
    """Return what makes the 784-256-2 model with tanh."""
    return lambda: gluon_vae.VAE(256, 2, act_type="tanh", **likelihood)


MODELS: dict[str, tuple[Callable[[], HybridBlock], dict[str, Any]]] = {
    "Bernoulli, grey": (vae(), SMALL),
    "Bernoulli, binarized": (vae(), SMALL | {"binarize": True}),
    "Bernoulli on 256 levels": (lambda: vae(likelihood=LevelsBernoulli(prefix="likelihood_"))(), SMALL),
    **{f"Gaussian, {v:g}": (vae(likelihood="gaussian", variance=v), SMALL) for v in (392, 0.5, 0.098, 0.03, 0.01)},
    "Gaussian, learned": (vae(likelihood="gaussian", variance="learned"), SMALL),
    **{f"per pixel, floor {floor:g}": (per_pixel(floor), SMALL) for floor in (0.1, 0.05, 0.02)},
    **{f"clipped, floor {floor:g}": (clipped(floor), SMALL) for floor in (0.05, 0.02)},
    "clipped, location in [0, 1], floor 0.05": (clipped(0.05, bounded=True), SMALL),
    "no floor": (per_pixel(1e-4), NO_FLOOR),
    "784-256 tanh-2, cross-entropy": (tanh(), TANH),
    "784-256 tanh-2, squared error": (tanh(likelihood="gaussian", variance=0.5), TANH),
    "784-256 tanh-2, learned variance": (tanh(likelihood="gaussian", variance="learned"), TANH),
    "784-512-512-64, as published": (lambda: PublishedVAE(std_published), BIG),
    "784-512-512-64, mended": (lambda: PublishedVAE(std_meant), BIG),
}

PICTURED = (
    "Bernoulli, grey",
    "Bernoulli, binarized",
    "Gaussian, 0.5",
    "Gaussian, 0.098",
    "Gaussian, 0.03",
    "Gaussian, 0.01",
    "Gaussian, learned",
    "per pixel, floor 0.05",
    "clipped, floor 0.05",
)  # whose drawn images are compared with real ones


def train(name: str, seed: int, x: np.ndarray, **more: Any) -> HybridBlock:
    """Train a model of the list."""
    make, settings = MODELS[name]
    net = make()
    net.hybridize(static_alloc=True, static_shape=True)
    gluon_vae.fit(net, x, seed=seed, progress=False, **settings, **more)
    return net


def draw_codes(net: HybridBlock, x: np.ndarray, seed: int) -> np.ndarray:
    """Draw a code of each image from the encoder's posterior."""
    mu, log_var = np.split(net.encoder(nd.array(x)).asnumpy(), 2, axis=1)
    return mu + np.exp(0.5 * log_var) * gluon_vae.prior_draws(*mu.shape, seed=seed)


def log_mass(x: np.ndarray, mean: Any, std: Any, clip: bool = False) -> np.ndarray:
    """Return the logarithm of a Gaussian's mass in the cell of each pixel's level.

    With ``clip`` the outermost levels, 0 and 1, have all that lies beyond them too.
    """
    level = np.rint(255 * x.astype(float))
    low = np.where(clip & (level == 0), -np.inf, (level - 0.5) / 255 - mean) / std
    high = np.where(clip & (level == 255), np.inf, (level + 0.5) / 255 - mean) / std
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)  # by symmetry, never in the upper tail
    return log_ndtr(high) + np.log1p(-np.exp(log_ndtr(low) - log_ndtr(high)))


def clipped_mean(location: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the mean of a Gaussian that is clipped to [0, 1]: the integral of P(pixel > t) over t."""

    def integral(u: np.ndarray) -> np.ndarray:
        return u * ndtr(u) + np.exp(-0.5 * u**2 - 0.5 * LOG_2PI)

    return std * (integral(location / std) - integral((location - 1) / std))


def levels_mean(logits: np.ndarray) -> np.ndarray:
    """Return the mean of ``LevelsBernoulli``: the derivative of the logarithm of its sum over the levels."""
    a = np.maximum(np.abs(logits), 1e-3) * STEP
    mean = STEP * (1 / np.expm1(-a) - 256 / np.expm1(-256 * a))
    return np.where(logits > 0, mean, 1 - mean)


def gaussians(net: HybridBlock, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return location and standard deviation of every pixel's Gaussian, (n, n_output) each, in float64."""
    if kind_of(net) == "clipped":
        location, std = net.likelihood.moments(nd, net.decoder.logits(nd.array(z)))
        return location.asnumpy().astype(float), std.asnumpy().astype(float)
    return gluon_vae.generate(net, z).astype(float), np.sqrt(gluon_vae.pixel_variance(net, z).astype(float))


def mean_images(net: HybridBlock, z: np.ndarray) -> np.ndarray:
    """Return the mean of every pixel, E[x|z]."""
    if kind_of(net) == "clipped":
        return clipped_mean(*gaussians(net, z)).astype(np.float32)
    if isinstance(net, PublishedVAE):
        return net.decoder.logits(nd.array(z)).asnumpy() + np.float32(0.5)
    if net.likelihood.config["likelihood"] == "levels":
        return levels_mean(net.decoder.logits(nd.array(z)).asnumpy().astype(float)).astype(np.float32)
    return gluon_vae.generate(net, z)


def kind_of(net: HybridBlock) -> str:
    """Return what a model says of a pixel: 'bernoulli', 'one' variance, 'per-pixel', 'clipped'."""
    config = net.likelihood.config
    if config["likelihood"] != "gaussian":
        return "clipped" if config["likelihood"] == "clipped Gaussian" else "bernoulli"
    return "per-pixel" if config["variance"] == "per-pixel" else "one"


def levels_losses(net: HybridBlock, x: np.ndarray, seed: int) -> dict[str, float]:
    """Return the negative ELBO of the 256 levels, z drawn from the encoder's posterior.

    ``tails`` has what lies beyond 0 and 1 at the levels 0 and 1, ``cells`` has not. Where one variance was
    learned, ``best std`` is the standard deviation that would suit this decoder best by ``tails``, and ``at best``
    the loss with it, chosen on the first half of the images.
    """
    z = draw_codes(net, x, seed)
    kl = float(gluon_vae.kl_per_dimension(net, x).sum())
    if kind_of(net) == "bernoulli":
        return {
            "tails": float(LevelsBernoulli()(net.decoder.logits(nd.array(z)), nd.array(x)).mean().asscalar()) + kl
        }
    mean, std = gaussians(net, z)
    losses = {"tails": -log_mass(x, mean, std, clip=True).sum(axis=1).mean() + kl}
    if kind_of(net) != "clipped":
        losses["cells"] = -log_mass(x, mean, std).sum(axis=1).mean() + kl
    if kind_of(net) == "one" and net.likelihood.config["variance"] == "learned":
        losses["best std"] = best_std(x[:500], mean[:500])
        losses["at best"] = -log_mass(x, mean, losses["best std"], clip=True).sum(axis=1).mean() + kl
    return losses


def neighbours(deviations: np.ndarray) -> float:
    """Return how alike the deviations of adjacent pixels are: Moran's I about 0, 1 if they are equal.

    The mean product of two pixels that share an edge, by the mean square of a pixel.
    """
    r = deviations.reshape(-1, 28, 28)
    products = np.sum(r[:, 1:] * r[:, :-1]) + np.sum(r[:, :, 1:] * r[:, :, :-1])
    return float(products / (2 * 27 * 28 * len(r)) / np.mean(r**2))


def in_a_tenth(deviations: np.ndarray) -> float:
    """Return which share of the squared deviations of an image is in the tenth of its pixels with the largest."""
    squares = np.sort(deviations**2, axis=1)
    return float(squares[:, -78:].sum() / squares.sum())


def quality(images: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Measure drawn images by the features of the package's classifier; ``real`` are features already."""
    drawn = features(np.clip(images, 0, 1).astype(np.float32))
    precision, recall = precision_recall(real, drawn)
    return rounded({"frechet": frechet_distance(real, drawn), "precision": precision, "recall": recall})


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Keep five significant digits of every number."""
    return {k: float(f"{v:.5g}") if isinstance(v, float | np.floating) else v for k, v in values.items()}


def judge(
    net: HybridBlock, x: np.ndarray, grey: np.ndarray, real: np.ndarray, seed: int, pictured: bool
) -> dict[str, Any]:
    """Measure a model of the list.

    Parameters
    ----------
    net : HybridBlock
    x, grey : (n, 784)
        Test images of the kind that the model was trained on, and the grey ones.
    real : (n, n_features)
        Features of the grey ones.
    seed : int
        Of all draws.
    pictured : bool
        Compare decoded draws of the prior with the grey images, too.
    """
    kl, codes = float(gluon_vae.kl_per_dimension(net, x).sum()), gluon_vae.encode(net, x)
    mean = mean_images(net, codes)
    result = {"nll": -gluon_vae.elbo(net, x, n_samples=3, seed=seed).mean - kl, "kl": kl}
    result["square"] = float(np.mean((mean - x) ** 2))
    result["active"] = int(gluon_vae.active_units(net, x).sum())
    whole = not isinstance(net, PublishedVAE)  # that one has no likelihood to draw from
    if whole and x is grey:
        result |= {f"levels, {name}": value for name, value in levels_losses(net, x, seed).items()}
    if whole:
        drawn = gluon_vae.generate(net, codes, pixels="sample", seed=seed)
        for name, images in (("real", x), ("drawn", drawn)):
            result[f"in a tenth, {name}"] = in_a_tenth(images - mean)
            result[f"neighbours, {name}"] = neighbours(images - mean)
    if pictured:
        z = gluon_vae.prior_draws(N_DRAWS, net.n_latent, seed=seed)
        pictures = {
            "means": mean_images(net, z),
            "samples": gluon_vae.generate(net, z, pixels="sample", seed=seed),
        }
        for kind, images in pictures.items():
            result |= {f"{kind}, {name}": value for name, value in quality(images, real).items()}
    if kind_of(net) in ("per-pixel", "clipped"):
        std = gaussians(net, codes)[1]
        result["resting"] = float((std < 1.2 * net.likelihood.config["min_std"]).sum(axis=1).mean())
        result |= {"std above 0.1": np.mean(std > 0.1), "of these above 0.4": np.mean(std[std > 0.1] > 0.4)}
    return rounded(result)


def judge_published(net: PublishedVAE, x: np.ndarray, seed: int) -> dict[str, Any]:
    """Measure what the published model does to its codes, and how far its linear means leave [0, 1]."""
    mu, log_var = (part.asnumpy() for part in nd.split(net.encoder(nd.array(x)), num_outputs=2, axis=1))
    std = net.std(nd, nd.array(log_var)).asnumpy()
    codes = mu + std * gluon_vae.prior_draws(*mu.shape, seed=seed)
    square = np.mean((mean_images(net, codes) - x) ** 2)
    width = np.sqrt(np.mean(codes**2))
    means = mean_images(net, gluon_vae.prior_draws(N_DRAWS, net.n_latent, seed=seed))
    outside = np.mean((means < 0) | (means > 1))
    return rounded({"noise": np.median(std), "width": width, "square, drawn": square, "outside": outside})


def both_readings(net: HybridBlock, data: gluon_vae.data.Mnist, seed: int) -> dict[str, Any]:
    """Judge the decoder's outputs as probabilities of ink, and as means with the one variance that suits them best.

    Both are negative ELBOs of grey test images: of the Bernoulli kind, and of the Gaussian log-density, whose
    variance is the mean square of the deviations of training images. ``own kind`` is the share of test digits whose
    nearest training code is that of an equal digit.
    """
    kl = float(gluon_vae.kl_per_dimension(net, data.x_test).sum())
    logits = net.decoder.logits(nd.array(draw_codes(net, data.x_test, seed))).asnumpy().astype(float)
    as_bernoulli = float(np.sum(np.logaddexp(0, logits) - data.x_test * logits, axis=1).mean())
    variance = float(np.mean((gluon_vae.generate(net, draw_codes(net, data.x_train, seed)) - data.x_train) ** 2))
    square = float(np.mean((1 / (1 + np.exp(-logits)) - data.x_test) ** 2))
    as_gaussian = 392 * (square / variance + math.log(variance) + LOG_2PI)
    train_codes, codes = gluon_vae.encode(net, data.x_train), gluon_vae.encode(net, data.x_test)
    nearest = ((codes[:, None] - train_codes) ** 2).sum(axis=2).argmin(axis=1)
    result = {"as Bernoulli": as_bernoulli + kl, "as Gaussian": as_gaussian + kl, "variance": variance}
    return rounded(result | {"own kind": float(np.mean(data.y_train[nearest] == data.y_test))})


def best_std(x: np.ndarray, means: np.ndarray) -> float:
    """Return the one standard deviation under which clipped Gaussians explain the levels best."""

    def loss(log_std: float) -> float:
        return float(-log_mass(x, means, math.exp(log_std), clip=True).sum())

    return math.exp(minimize_scalar(loss, bounds=(math.log(0.03), 0.0), method="bounded", options={"xatol": 1e-2}).x)


def ruined_images(net: HybridBlock, data: gluon_vae.data.Mnist) -> dict[str, Any]:
    """Find the test images that cost thousands of nats, and in each the pixel that costs most.

    At z = mu. ``inked in training`` is how many training images have ink in that pixel.
    """
    mean, std = gaussians(net, gluon_vae.encode(net, data.x_test))
    nll = 0.5 * ((data.x_test - mean) / std) ** 2 + np.log(std) + 0.5 * LOG_2PI
    losses, pixels = nll.sum(axis=1), nll.argmax(axis=1)
    ruined = losses > RUINED
    return rounded(
        {
            "mean": losses.mean(),
            "median": np.median(losses),
            "mean of the others": losses[~ruined].mean(),
            "images": np.flatnonzero(ruined).tolist(),
            "pixels": pixels[ruined].tolist(),
            "inked in training": np.sum(data.x_train[:, pixels[ruined]] > 0, axis=0).tolist(),
            "least std": np.min(std),
        }
    )


def run(name: str, seed: int, data: gluon_vae.data.Mnist, real: np.ndarray) -> dict[str, Any]:
    """Train one model and measure it."""
    begun = time.process_time()
    if name == "no floor":
        epochs: list[dict[str, Any]] = []
        make, settings = MODELS[name]
        net, end = make(), "finished"
        net.hybridize(static_alloc=True, static_shape=True)
        settings = settings | {"seed": seed, "progress": False}
        try:
            gluon_vae.fit(net, data.x_train, on_epoch=lambda _: epochs.append(ruined_images(net, data)), **settings)
        except FloatingPointError as error:
            end = str(error)
        return {"end": end, "epochs": epochs, "seconds": round(time.process_time() - begun)}
    net = train(name, seed, data.x_train)
    x = gluon_vae.binarize(data.x_test, seed=0) if name == "Bernoulli, binarized" else data.x_test
    result = judge(net, x, data.x_test, real, seed, name in PICTURED)
    if isinstance(net, PublishedVAE):
        result |= judge_published(net, data.x_test, seed)
    if name.startswith("784-256"):
        result |= both_readings(net, data, seed)
    return result | {"seconds": round(time.process_time() - begun)}


def is_recorded(name: str, seed: int) -> bool:
    """Return whether a run, with all that is measured of it, is in the record."""
    run = RECORD.read()["runs"].get(name, {}).get(str(seed), {})
    return bool(run) and (name not in PICTURED or "means, frechet" in run)


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[""], help="those whose names contain one of these words")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    real = features(data.x_test)
    for seed in args.seeds:
        for name in MODELS:
            if is_recorded(name, seed) or not any(word in name for word in args.models):
                continue
            result = run(name, seed, data, real)
            RECORD.add(name, seed, result)
            print(f"{name}, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
