"""Figure 2 of Kingma and Welling (2014, arXiv 1312.6114): the bound against training images, by latent dimension.

    python experiments/figure2.py                              the bundled digits, 400 and 4000 of them: five seeds
    python experiments/figure2.py --seeds 0 --latent 20 200    some of it
    python experiments/figure2.py --data FOLDER --epochs 20    all of MNIST, as far as that; again with more goes on

The paper's model and settings, 784-500-d-500-784 with tanh, batches of 100, one draw of z; but Adam at a constant
rate in the place of Adagrad, the package's initial parameters, and no weight decay. For few images it has 200 hidden
units, as the paper's model of its small data set. Training and test images are evaluated alike at the ends of epochs:
all test images, and the first of the training images, equally many if there are so many. Chapter 15 reads the record,
experiments/results/figure2.json, and trains three of its models. All numbers are in nats per grey image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from record import FOLDER, Record
from scipy.special import xlog1py, xlogy
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import gluon_vae
from gluon_vae import latent
from gluon_vae.data import Mnist
from gluon_vae.sample_quality import features, frechet_distance, precision_recall

from mxnet import nd
from mxnet.gluon import HybridBlock

LATENT, SEEDS = (3, 5, 10, 20, 200), (0, 1, 2, 3, 4)
FEW = {400: (20, 200), 4000: (3, 20, 200)}  # latent dimensions of the models of so many images
N_HIDDEN, N_HIDDEN_FEW, RATE = 500, 200, 2e-3
ENDS = {400: 200, 4000: 20}  # epochs, by training images: equally many steps
DESCRIBED = 20  # the epoch of the models that are looked at more closely, all on 4000 images
POINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
KEPT_SHARE = 0.01  # nats; the shares of dimensions below are not recorded
KEPT = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 200)
N_SAMPLES, N_CODES = 1000, 1000
REFIT_EPOCHS = 30
DATA = "grey MNIST: the bundled sample of 4000 and 1000 images, the first 400 of the 4000, or all 60,000 and 10,000"
RECORD = Record(
    "figure2",
    data=DATA,
    model="VAE, 784-n-d-n-784, n = 500 (200 for few images), tanh, Adam at 0.002, batches of 100",
    units="nats per image",
)


def setting(n_images: int, n_latent: int) -> str:
    """Name a model and its data in the record."""
    return f"{n_images} images, {n_latent} dimensions"


def small(data: Mnist, n_images: int) -> Mnist:
    """Keep the first of the training images."""
    return data._replace(x_train=data.x_train[:n_images], y_train=data.y_train[:n_images])


def posterior(net: HybridBlock, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of q(z|x), (n, n_latent) each."""
    mu, log_var = latent.posterior(net, x)
    return mu, np.exp(log_var)


def draw_codes(net: HybridBlock, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw one code of each image, (n, n_latent)."""
    mu, var = posterior(net, x)
    return mu + np.sqrt(var) * np.random.default_rng(seed).standard_normal(mu.shape)


def point(net: HybridBlock, data: Mnist) -> dict[str, Any]:
    """Measure bound and KL on test images and as many training images at most, and the shares of the dimensions."""
    result: dict[str, Any] = {}
    for part, x in (("train", data.x_train[: len(data.x_test)]), ("test", data.x_test)):
        shares = gluon_vae.kl_per_dimension(net, x)
        result |= {part: round(gluon_vae.elbo(net, x).mean, 3), f"{part}_kl": round(shares.sum(), 3)}
    shares = np.sort(shares)[::-1]
    active = int(gluon_vae.active_units(net, data.x_test).sum())
    return result | {"active": active, "shares": shares[shares > KEPT_SHARE].round(3).tolist()}


def bounds(point: dict[str, Any]) -> str:
    """Print the two bounds of a point."""
    return f"training {point['train']:.1f}, test {point['test']:.1f}"


class Enough(Exception):
    """Ends a training that could go on."""


def train(
    data: Mnist,
    n_latent: int,
    seed: int,
    n_epochs: int,
    points: dict[str, Any],
    at_point: Callable[[HybridBlock, int], None] | None = None,
    **options: Any,
) -> HybridBlock:
    """Train one model up to an epoch, and add what is measured at the epochs of ``POINTS`` to ``points``.

    The rate is constant, so that a longer training begins with the shorter one. ``at_point`` is called with the
    model and the epoch; options, a checkpoint for one, go to ``fit``.
    """
    n_hidden = N_HIDDEN_FEW if len(data.x_train) <= max(ENDS) else N_HIDDEN
    net = gluon_vae.VAE(n_hidden, n_latent, act_type="tanh")
    net.hybridize(static_alloc=True, static_shape=True)

    def measure(history: dict[str, list[float]]) -> None:
        epoch = history["epoch"][-1]
        if epoch in POINTS:
            points[str(epoch)] = point(net, data)
            if at_point:
                at_point(net, epoch)
        if epoch >= n_epochs:
            raise Enough

    settings = {"n_epochs": max(POINTS), "learning_rate": RATE, "schedule": "constant", "seed": seed}
    with suppress(Enough):
        gluon_vae.fit(net, data.x_train, on_epoch=measure, progress=False, **settings, **options)
    return net


def blur(images: np.ndarray) -> float:
    """Return the mean entropy of images as Bernoulli distributions, in nats: 0 for plain ink and paper."""
    p = images.astype(float)
    return float(-(xlogy(p, p) + xlog1py(1 - p, -p)).sum(axis=1).mean())


def moments(net: HybridBlock, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the aggregate posterior: codes of all images, drawn."""
    mu, var = posterior(net, x)
    return mu.mean(axis=0), np.cov(mu.T) + np.diag(var.mean(axis=0))


def told_apart(net: HybridBlock, data: Mnist, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> float:
    """Return how often a support-vector machine tells codes of test digits from draws of a Gaussian.

    It is fitted to codes of as many training digits and other draws; 1/2 is guessing.
    """
    rng = np.random.default_rng(seed)
    draws = rng.multivariate_normal(mean, covariance, 2 * N_CODES, method="cholesky")
    parts = [draw_codes(net, x[:N_CODES], seed) for x in (data.x_train, data.x_test)]
    is_code = np.arange(2 * N_CODES) < N_CODES
    train, test = (np.concatenate(pair) for pair in zip(parts, np.split(draws, 2)))
    return float(SVC().fit(train, is_code).score(test, is_code))


def bound_of_kept(net: HybridBlock, x: np.ndarray, n_kept: int, seed: int = 0) -> float:
    """Return the mean bound with q(z|x) in the strongest dimensions, and the prior for q in the others."""
    mu, var = posterior(net, x)
    shares = gluon_vae.kl_diagonal_gaussian(mu[..., None], var[..., None], 0, 1)  # of each coordinate
    kept = np.argsort(-shares.mean(axis=0))[:n_kept]
    z = np.random.default_rng(seed).standard_normal(mu.shape)
    z[:, kept] = mu[:, kept] + np.sqrt(var[:, kept]) * z[:, kept]
    nll = net.nll_given(nd.array(x), nd.array(z)).asnumpy()
    return -float((nll + shares[:, kept].sum(axis=1)).mean())


def quality(images: np.ndarray, data: Mnist) -> dict[str, float]:
    """Judge images by the ruler for samples, against the test digits, and by their blur."""
    a, b = features(images), features(data.x_test)
    precision, recall = precision_recall(b, a)
    values = {"frechet": frechet_distance(a, b), "precision": precision, "recall": recall, "blur": blur(images)}
    return {name: round(value, 3) for name, value in values.items()}


def confusion(net: HybridBlock, data: Mnist) -> dict[str, Any]:
    """Count how test digits are named by ten neighbours among the codes of training digits, (digit, named).

    By all coordinates, and, if there are three, by every two of them.
    """
    known, new = (gluon_vae.encode(net, x) for x in (data.x_train, data.x_test))

    def table(*axes: int) -> list[list[int]]:
        neighbours = KNeighborsClassifier(10).fit(known[:, axes], data.y_train)
        return confusion_matrix(data.y_test, neighbours.predict(new[:, axes])).tolist()

    result: dict[str, Any] = {"all": table(*range(net.n_latent))}
    return result | ({"pairs": [table(*pair) for pair in combinations(range(3), 2)]} if net.n_latent == 3 else {})


def describe(net: HybridBlock, data: Mnist) -> dict[str, Any]:
    """Look at a trained model: its samples, what a neighbour in its code knows, and the place of its codes."""
    n = net.n_latent
    z = gluon_vae.prior_draws(N_SAMPLES, n)
    codes = draw_codes(net, data.x_train[:N_SAMPLES]).astype(np.float32)
    mean, covariance = moments(net, data.x_train)
    standard = np.zeros(n), np.eye(n)
    return {
        "prior": quality(gluon_vae.generate(net, z), data),
        "codes": quality(gluon_vae.generate(net, codes), data),
        "confusion": confusion(net, data),
        "kept": [round(bound_of_kept(net, data.x_test, k), 3) for k in KEPT if k <= n],
        "moments": round(float(gluon_vae.kl_gaussian(mean, covariance, *standard)), 3),
        "told_from_prior": round(told_apart(net, data, *standard), 4),
        "told_from_moments": round(told_apart(net, data, mean, covariance), 4),
    }


def refit(net: HybridBlock, data: Mnist) -> dict[str, float]:
    """Return the bound on training and on test images when the encoder is fitted to just these, the decoder fixed.

    What is left of the distance between the two is the decoder's. The model is changed.
    """
    n, result = min(len(data.x_train), len(data.x_test)), {}
    net.decoder.collect_params().setattr("grad_req", "null")
    before = {name: p.data().copy() for name, p in net.encoder.collect_params().items()}
    for part, x in (("train", data.x_train[:n]), ("test", data.x_test[:n])):
        for name, p in net.encoder.collect_params().items():
            p.set_data(before[name])
        gluon_vae.fit(net, x, n_epochs=REFIT_EPOCHS, learning_rate=RATE / 2, progress=False)
        result[part] = round(gluon_vae.elbo(net, x).mean, 3)
    return result


def run(data: Mnist, n_latent: int, seed: int, n_epochs: int) -> tuple[HybridBlock, dict[str, Any]]:
    """Train one model on the data as they are, and measure it."""
    begun = time.perf_counter()
    points: dict[str, Any] = {}
    described: dict[str, Any] = {}

    def look(net: HybridBlock, epoch: int) -> None:
        if epoch == DESCRIBED and len(data.x_train) == max(ENDS):
            described.update(describe(net, data))

    net = train(data, n_latent, seed, n_epochs, points, look)
    result = {"points": points} | ({"described": described} if described else {})
    return net, result | {"seconds": round(time.perf_counter() - begun)}


def go_on(folder: Path, n_latent: int, seed: int, n_epochs: int) -> None:
    """Train on all of MNIST up to an epoch, from where an earlier call ended; record every point at once."""
    data = gluon_vae.load_mnist(folder)
    key, path = setting(len(data.x_train), n_latent), FOLDER / f"figure2-{n_latent}-{seed}.checkpoint"
    result = RECORD.read()["runs"].get(key, {}).get(str(seed), {"points": {}, "seconds": 0})
    points, begun, before = result["points"], time.perf_counter(), result["seconds"]
    if points and max(map(int, points)) >= n_epochs:
        return

    def keep(net: HybridBlock, epoch: int) -> None:
        RECORD.add(key, seed, result | {"seconds": round(before + time.perf_counter() - begun)})
        print(f"{key}, epoch {epoch}: {bounds(points[str(epoch)])}", flush=True)

    FOLDER.mkdir(exist_ok=True)
    train(data, n_latent, seed, n_epochs, points, keep, checkpoint=path, resume=True)


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent", type=int, nargs="*", help="latent dimensions (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", help="of the trainings (default: all; 0 with --data)")
    parser.add_argument("--images", type=int, nargs="*", default=sorted(ENDS, reverse=True), help="bundled digits")
    parser.add_argument("--data", type=Path, help="a folder with all of MNIST")
    parser.add_argument("--epochs", type=int, default=100, help="with --data, up to which (default: %(default)s)")
    args = parser.parse_args()
    if args.data:
        for seed in args.seeds or (0,):
            for n_latent in args.latent or LATENT:
                go_on(args.data, n_latent, seed, args.epochs)
        return
    data = gluon_vae.load_mnist()
    models = {setting(n_images, n): (n_images, n) for n_images in args.images for n in args.latent or FEW[n_images]}
    for key, seed in RECORD.missing(models, args.seeds or SEEDS):
        n_images, n_latent = models[key]
        net, result = run(small(data, n_images), n_latent, seed, ENDS[n_images])
        if n_images < max(ENDS):
            result["refit"] = refit(net, small(data, n_images))
        RECORD.add(key, seed, result)
        last = result["points"][str(ENDS[n_images])]
        print(f"{key}, seed {seed}: {bounds(last)}; {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
