"""What the mistakes of chapter 9 cost, by an honest evaluation, and what the run with the mistake reports itself.

    python experiments/mistakes.py                     train and measure what is not recorded yet
    python experiments/mistakes.py --only 3 --seeds 0  some of it

Every mistake is trained with five seeds on the bundled sample of grey MNIST, beside the right model; so are the
weights of the KL, and posterior collapse with three treatments and without. These have five seeds more, since the
first five decided how slow a warm-up has to be. The honest evaluation takes the Bernoulli likelihood of pixels in
[0, 1], and the KL of the distribution from which the codes are really drawn. Chapter 9 reads the record,
experiments/results/mistakes.json, and trains one seed of its exhibits again. Numbers are in nats per image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from record import Record
from scipy.special import logsumexp
from scipy.stats import norm

import gluon_vae
from gluon_vae.arrays import Array
from gluon_vae.data import Mnist
from gluon_vae.losses import bernoulli_nll, kl_to_standard_normal
from gluon_vae.sample_quality import features, frechet_distance

import mxnet as mx
from mxnet import nd

SEEDS = (0, 1, 2, 3, 4)
UNSEEN = (5, 6, 7, 8, 9)  # of the sheets: the warm-up was not chosen by these
N_HIDDEN, N_LATENT, N_EPOCHS, LEARNING_RATE = 200, 10, 8, 1e-2
N_SHEETS, N_PIXELS = 1000, 16
LIGHT, DARK = 0.25, 0.75
RARE = 0.02  # the share of sheets that are dark
RATIO = 0.7  # the largest variance of the sheets, by direction, divided by that of the decoder
SHEET_EPOCHS, SHEET_FREE = 100, 0.05
N_SAMPLES = 1000  # pictures that are judged as samples
N_IMAGES = 100  # whose likelihood is integrated
FALSE_ALARMS = 0.01
AGAIN = 100  # added to the seed of draws from the prior that others are held against
RECORD = Record(
    "mistakes",
    data="bundled sample of grey MNIST: 4000 training images, 1000 test images",
    model=f"VAE, {N_LATENT}-D, one hidden layer of {N_HIDDEN}, {N_EPOCHS} epochs, if not said otherwise",
    units="nats per image",
)
Rule = Callable[..., Any]


class Exhibit(gluon_vae.VAE):
    """The package's VAE, three lines of whose loss can be replaced.

    Parameters
    ----------
    std : callable, optional
        Maps F and log_var to the standard deviation of the noise.
    nll : callable, optional
        Maps F, logits and x to the negative log-likelihood, (batch,).
    total : callable, optional
        Adds nll and kl.
    n_latent : int
        Dimension of the latent z.
    """

    def __init__(
        self, std: Rule | None = None, nll: Rule | None = None, total: Rule | None = None, n_latent: int = N_LATENT
    ) -> None:
        super().__init__(n_hidden=N_HIDDEN, n_latent=n_latent)
        self.std = std or (lambda F, log_var: F.exp(0.5 * log_var))
        self.nll_rule = nll or bernoulli_nll
        self.total = total or (lambda nll, kl: nll + kl)

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array, *label: Array) -> tuple[Array, ...]:
        mu, log_var = F.split(self.encoder(x), num_outputs=2, axis=1)
        logits = self.decoder.logits(mu + self.std(F, log_var) * eps)
        nll, kl = self.nll_rule(F, logits, x), kl_to_standard_normal(F, mu, log_var)
        return self.total(nll, kl), mu, log_var, F.sigmoid(logits), nll, kl


class FreeBits(gluon_vae.VAE):
    """A VAE that charges every dimension at least ``free`` nats, averaged over the batch."""

    def __init__(self, free: float, **options: Any) -> None:
        super().__init__(**options)
        self.free = free

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array, *label: Array) -> tuple[Array, ...]:
        _, mu, log_var, output, nll, kl = super().hybrid_forward(F, x, eps)
        per_dimension = F.mean(0.5 * (F.square(mu) + F.exp(log_var) - 1 - log_var), axis=0)
        charged = F.sum(F.maximum(per_dimension, self.free), keepdims=True)
        return F.broadcast_add(nll, self.beta * charged), mu, log_var, output, nll, kl


def power(F: ModuleType, log_var: Array) -> Array:
    """Mistake 1."""
    return F.exp(0.5**log_var)


def no_half(F: ModuleType, log_var: Array) -> Array:
    """Mistake 2."""
    return F.exp(log_var)


def averaged(F: ModuleType, logits: Array, x: Array) -> Array:
    """Mistake 3."""
    return bernoulli_nll(F, logits, x) / 784


def capped(F: ModuleType, logits: Array, x: Array) -> Array:
    """Mistake 4."""
    y = F.sigmoid(logits)
    return -F.sum(x * F.log(y + 1e-10) + (1 - x) * F.log(1 - y + 1e-10), axis=1)


def textbook(F: ModuleType, logits: Array, x: Array) -> Array:
    """Mistake 5."""
    return F.sum(F.relu(logits) - x * logits + F.Activation(-F.abs(logits), act_type="softrelu"), axis=1)


def rescaled(F: ModuleType, logits: Array, x: Array) -> Array:
    """Mistake 9, behind the check of the pixels."""
    return bernoulli_nll(F, logits, 2 * x - 1)


def weighted(beta: float) -> Rule:
    """Return a rule that gives the KL a weight: mistakes 10 and 11, and the sweep."""
    return lambda nll, kl: nll + beta * kl


def bar(net: Exhibit) -> None:
    """Start with four rows of the output sure of ink."""
    bias = np.zeros((28, 28), "f4")
    bias[12:16] = 40
    net.decoder.logits[-1].bias.set_data(nd.array(bias.ravel()))


def zero(net: Exhibit) -> None:
    """Start with all logits at 0."""
    net.decoder.logits[-1].weight.set_data(nd.zeros((784, N_HIDDEN)))  # the biases start there anyway


class Setting(NamedTuple):
    """How one exhibit is trained.

    Attributes
    ----------
    make : callable
        Makes the model.
    learning_rate, n_epochs
        Of ``fit``.
    start : callable, optional
        Changes the initial parameters.
    warm_up : int
        Epochs until ``beta`` has risen to its full value; 0 if it has it from the start.
    power : int
        With which of the epochs done it rises.
    images : callable, optional
        Makes the training images; those of the data, if not given.
    seeds : tuple of int
        Of its trainings.
    """

    make: Callable[[], gluon_vae.VAE] = Exhibit
    learning_rate: float = LEARNING_RATE
    n_epochs: int = N_EPOCHS
    start: Callable[[Exhibit], None] | None = None
    warm_up: int = 0
    power: int = 1
    images: Callable[[], np.ndarray] | None = None
    seeds: tuple[int, ...] = SEEDS


def sheets() -> np.ndarray:
    """Return sheets of one grey each, of which the share ``RARE`` is dark."""
    x = np.full((N_SHEETS, N_PIXELS), LIGHT, "f4")
    x[: round(RARE * N_SHEETS)] = DARK
    return x


def sheet_variance() -> float:
    """Return the variance of a decoder for which the sheets are too quiet: collapse is a local optimum."""
    return N_PIXELS * (DARK - LIGHT) ** 2 * RARE * (1 - RARE) / RATIO


def sheet_loss(net: gluon_vae.VAE, seed: int) -> tuple[float, float]:
    """Return the NLL of a sheet, above that of a perfect picture, and the KL."""
    both = np.repeat(sheets()[[-1, 0]], 500, axis=0)
    terms = [values.reshape(2, -1).mean(axis=1) for values in judge(net, both, seed, 20)]
    nll, divergence = np.array(terms) @ [1 - RARE, RARE]
    return float(nll - 0.5 * N_PIXELS * np.log(2 * np.pi * sheet_variance())), float(divergence)


def patient(kind: Callable[..., gluon_vae.VAE], **options: Any) -> Setting:
    """Return the setting of a model of the sheets."""
    sizes = {"n_hidden": 20, "n_latent": 1, "n_output": N_PIXELS}
    return Setting(
        lambda: kind(likelihood="gaussian", variance=sheet_variance(), **sizes),
        n_epochs=SHEET_EPOCHS,
        images=sheets,
        seeds=(*SEEDS, *UNSEEN),
        **options,
    )


SETTINGS = {
    "right": Setting(),
    "1": Setting(lambda: Exhibit(std=power), learning_rate=1e-3),
    "2": Setting(lambda: Exhibit(std=no_half)),
    "2 in 2-D": Setting(lambda: Exhibit(std=no_half, n_latent=2)),
    "3": Setting(lambda: Exhibit(nll=averaged)),
    "4": Setting(lambda: Exhibit(nll=capped)),
    "4 from a bar": Setting(lambda: Exhibit(nll=capped), start=bar),
    "right from a bar": Setting(start=bar),
    "5 from zero": Setting(lambda: Exhibit(nll=textbook), start=zero),
    "right from zero": Setting(start=zero),
    "9": Setting(lambda: Exhibit(nll=rescaled), 1e-3, 4),
    "10": Setting(lambda: Exhibit(total=lambda nll, kl: nll)),
    "11 heavy": Setting(lambda: Exhibit(total=weighted(400))),
    "11 light": Setting(lambda: Exhibit(total=weighted(1 / 400))),
    **{f"beta {beta}": Setting(lambda beta=beta: Exhibit(total=weighted(beta))) for beta in (0.3, 3, 10, 30)},
    "sheets plain": patient(gluon_vae.VAE),
    "sheets warm-up": patient(gluon_vae.VAE, warm_up=60, power=2),
    "sheets fast warm-up": patient(gluon_vae.VAE, warm_up=50),
    "sheets free bits": patient(partial(FreeBits, SHEET_FREE)),
}
AS_SAMPLES = ("right", "3", "10", "11 heavy", "11 light")  # whose samples are judged too


def train(setting: Setting, seed: int, data: Mnist) -> tuple[gluon_vae.VAE, gluon_vae.training.History]:
    """Train one exhibit."""
    x_train, x_test = (setting.images(), None) if setting.images else (data.x_train, data.x_test)
    net = setting.make()
    if setting.start:
        mx.random.seed(seed)
        net.initialize(gluon_vae.training.INITIALIZER)
        setting.start(net)
    full = net.beta

    def raise_beta(history: gluon_vae.training.History) -> None:
        net.beta = full * min(1, (history["epoch"][-1] / setting.warm_up) ** setting.power)

    if setting.warm_up:
        net.beta = 0.01**setting.power * full
    net.hybridize(static_alloc=True, static_shape=True)
    history = gluon_vae.fit(
        net,
        x_train,
        x_test,
        n_epochs=setting.n_epochs,
        learning_rate=setting.learning_rate,
        seed=seed,
        progress=False,
        on_epoch=raise_beta if setting.warm_up else None,
    )
    return net, history


def drawn(net: gluon_vae.VAE, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mu, log_var as the KL of the loss takes it, and that of the noise, (n, n_latent) float64 each."""
    mu, log_var = (part.asnumpy().astype(float) for part in net.encoder(nd.array(x)).split(num_outputs=2, axis=1))
    if not isinstance(net, Exhibit):
        return mu, log_var, log_var
    with np.errstate(over="ignore"):
        return mu, log_var, 2 * net.std(nd, nd.array(log_var)).log().asnumpy().astype(float)


def kl(mu: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return KL(N(mu, diag exp(log_var)) || N(0, I)), (n,)."""
    return 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1)


def judge(net: gluon_vae.VAE, x: np.ndarray, seed: int, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the NLL and the KL of images, (n,) each, for the codes as they are really drawn."""
    mu, _, log_var = drawn(net, x)
    rng = np.random.default_rng(seed)
    nll = np.zeros(len(x))
    for _ in range(n_samples):
        z = mu + np.exp(0.5 * log_var) * rng.standard_normal(mu.shape)
        nll += net.nll_given(nd.array(x), nd.array(z)).asnumpy() / n_samples
    return nll, kl(mu, log_var)


def overstated(log_var: np.ndarray) -> np.ndarray:
    """Return by how much mistake 2 overstates the ELBO, (n,): 1/2 sum_j [exp(2 s_j) - exp(s_j) - s_j]."""
    return 0.5 * (np.exp(2 * log_var) - np.exp(log_var) - log_var).sum(axis=1)


def log_evidence(net: gluon_vae.VAE, x: np.ndarray, n: int = 301) -> np.ndarray:
    """Integrate log p(x), (n,), over a 2-D latent: a sum over n x n nodes from -6 to 6."""
    axis, step = np.linspace(-6, 6, n, retstep=True)
    total = np.full(len(x), -np.inf)
    for z_2 in axis:
        z = np.stack([axis, np.full_like(axis, z_2)], axis=1)
        logits = net.decoder.logits(nd.array(z))
        log_partition = nd.Activation(logits, "softrelu").sum(axis=1).asnumpy()
        log_joint = logits.asnumpy() @ x.T + (norm.logpdf(z).sum(axis=1) - log_partition)[:, None]
        total = np.logaddexp(total, logsumexp(log_joint, axis=0))
    return total + 2 * np.log(step)


def nearest(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distance of each image to the nearest of the others, (n,)."""
    squares = (images**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * images @ others.T
    return np.sqrt(np.maximum(squares.min(axis=1), 0))


def pictures(net: gluon_vae.VAE, data: Mnist, seed: int) -> dict[str, np.ndarray]:
    """Return samples of the prior, and what mistakes 6 and 7 show in their place."""
    rng = np.random.default_rng(seed)
    mu, _, log_var = drawn(net, data.x_train[rng.choice(len(data.x_train), N_SAMPLES, replace=False)])
    codes = {
        "prior": gluon_vae.prior_draws(N_SAMPLES, net.n_latent, seed=seed),
        "6": mu,
        "7": mu + np.exp(0.5 * log_var) * rng.standard_normal(mu.shape),
    }
    return {name: gluon_vae.generate(net, z.astype("f4")) for name, z in codes.items()}


def as_copies(net: gluon_vae.VAE, data: Mnist, shown: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the share of pictures that are nearer to a decoded training image than decoded test images are.

    By chance it would be ``FALSE_ALARMS``, since that is the share of the test images.
    """
    known = gluon_vae.reconstruct(net, data.x_train)
    threshold = np.quantile(nearest(gluon_vae.reconstruct(net, data.x_test), known), FALSE_ALARMS)
    return {name: float(np.mean(nearest(images, known) < threshold)) for name, images in shown.items()}


def run(name: str, seed: int, data: Mnist) -> dict[str, Any]:
    """Train one exhibit and measure it."""
    begun = time.perf_counter()
    net, history = train(SETTINGS[name], seed, data)
    if name.startswith("sheets"):
        nll, divergence = sheet_loss(net, seed)
        spent = [round(value, 3) for value in history["train_kl"]]
        seconds = round(time.perf_counter() - begun, 1)
        return {"nll": nll, "kl": divergence, "train_kl": spent, "seconds": seconds}
    nll, divergence = (float(values.mean()) for values in judge(net, data.x_test, seed))
    result = {"nll": nll, "kl": divergence, "reported": history["test_loss"][-1]}
    shares = np.sort(gluon_vae.kl_per_dimension(net, data.x_test))[::-1]
    result["shares"] = [round(float(share), 3) for share in shares]
    result["active"] = int(gluon_vae.active_units(net, data.x_test).sum())
    if name in AS_SAMPLES:
        shown = pictures(net, data, seed) if name == "right" else {"prior": pictures(net, data, seed)["prior"]}
        seen, real = {kind: features(images) for kind, images in shown.items()}, features(data.x_test)
        result["frechet"] = {kind: round(frechet_distance(some, real), 2) for kind, some in seen.items()}
    if name == "right":
        # Beside draws from the prior that have nothing to do with them.
        again = features(gluon_vae.generate(net, gluon_vae.prior_draws(N_SAMPLES, N_LATENT, seed=seed + AGAIN)))
        result["redrawn"] = {kind: round(frechet_distance(some, again), 2) for kind, some in seen.items()}
        result["copies"] = as_copies(net, data, {kind: images[:300] for kind, images in shown.items()})
        at_mean = net(nd.array(data.x_test), nd.zeros((len(data.x_test), N_LATENT)))
        result["at_mean"] = float(at_mean.mean().asscalar())
    if name == "2 in 2-D":
        x = data.x_train[:N_IMAGES]
        elbo = -np.sum(judge(net, x, seed, n_samples=50), axis=0)
        values = {"elbo": elbo, "reported": elbo + overstated(drawn(net, x)[1]), "log_p": log_evidence(net, x)}
        result["train"] = {key: [round(float(v), 2) for v in some] for key, some in values.items()}
    return result | {"seconds": round(time.perf_counter() - begun, 1)}


def main() -> None:
    """Run what is asked for and not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=SETTINGS, choices=SETTINGS, help="default: all", metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="*", help="of the trainings (default: all)")
    args = parser.parse_args()
    data = gluon_vae.load_mnist()
    for name in args.only:
        for _, seed in RECORD.missing([name], args.seeds or SETTINGS[name].seeds):
            result = run(name, seed, data)
            RECORD.add(name, seed, result)
            numbers = {key: value for key, value in result.items() if not isinstance(value, list | dict)}
            print(f"{name}, seed {seed}:", numbers, flush=True)


if __name__ == "__main__":
    main()
