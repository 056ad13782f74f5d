"""How strange an image is to a model, and from which score on it is to be called so."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from mxnet.gluon import HybridBlock

from . import checks, streams
from .contract import Prior, check_ready, inputs_of, unchecked
from .evaluation import Estimate, check_vae, log_weights, loss_terms
from .generator import seeded


def score(
    net: HybridBlock,
    x: Any,
    y: Any = None,
    *,
    n_samples: int = 100,
    seed: int | None = 0,
    progress: bool = True,
    prior: Prior | None = None,
) -> dict[str, np.ndarray]:
    """Tell how strange each image is to a model: the higher a score, the stranger.

    Of a VAE those are -log p(x), by importance sampling, and the negative ELBO, both from the same draws of z: the
    second is never below the first. A model that takes labels and is given none is asked about all of them, each
    as probable as any other: ``log p(x) = log 1/C sum_y p(x|y)``, and for the ELBO ``log 1/C sum_y exp ELBO(x|y)``,
    which is the bound under the best q(y|x).

    An autoencoder has no p(x). Its score is the reconstruction's loss, -log p(x|code), which is no likelihood of an
    image: it says how well the image passes the code, whatever else does. See chapter 18.

    Parameters
    ----------
    net : HybridBlock
        A model of this package.
    x : (n, n_output)
        Floating-point images, pixels in [0, 1].
    y : (n,), optional
        Their labels, of a model that takes labels: the scores are then those of p(x|y).
    n_samples : int
        Draws of z per image and label.
    seed : int, optional
        Seeds MXNet's global random generator for the call, which leaves it moved on; None draws from it as it is.
    progress : bool
        Show a bar over the images.
    prior : Prior, optional
        p(z), one of ``priors`` for instance, if it is not N(0, I).

    Returns
    -------
    dict
        ``neg_log_p`` and ``neg_elbo``, or ``nll`` of an autoencoder: (n,) float64, nats per image.

    Raises
    ------
    ValueError
        If an argument is not as described; the message names it.

    Examples
    --------
    >>> net = gluon_vae.VAE(n_hidden=64)
    >>> net.initialize()
    >>> scores = gluon_vae.score(net, gluon_vae.load_mnist().x_test[:50], n_samples=10, progress=False)
    >>> scores["neg_log_p"].shape, bool((scores["neg_log_p"] < scores["neg_elbo"]).all())
    ((50,), True)
    """
    check_ready(net)
    n_samples = checks.positive_int("n_samples", n_samples)
    if not hasattr(net, "nll_given"):
        if prior is not None:
            raise ValueError(f"prior must be None for a {type(net).__name__}, whose codes have none")
        inputs = inputs_of(net, x, y)
        with unchecked(net), seeded(seed):
            values = loss_terms(net, *inputs)
        if "nll" not in values:
            raise ValueError(f"net must be a model of this package, got {type(net).__name__}, whose loss has no nll")
        return {"nll": values["nll"]}
    check_vae(net, prior)
    n = len(checks.images("x", x, net.n_output))
    every = net.n_classes is not None and y is None
    labels = [np.full(n, c) for c in range(net.n_classes)] if every else [y]
    bar = streams.bar(shown=progress, total=len(labels) * n, desc="log p(x)", unit="image")
    log_p, elbo = [], []
    with seeded(seed), bar:
        for given in labels:
            for weights in log_weights(net, inputs_of(net, x, given), n_samples, prior):
                log_p.append(logsumexp(weights, axis=0) - math.log(n_samples))
                elbo.append(weights.mean(axis=0))
                bar.update(weights.shape[1])
    by_label = {"neg_log_p": log_p, "neg_elbo": elbo}
    return {
        name: math.log(len(labels)) - logsumexp(np.concatenate(values).reshape(-1, n), axis=0)
        for name, values in by_label.items()
    }


class Threshold(NamedTuple):
    """A score above which images are called anomalies, and how often that is wrong of ordinary ones."""

    value: float
    """The threshold, in the units of the scores."""
    share: float
    """The share of ordinary images that may be above it."""
    false_alarms: Estimate
    """The share of held-out images above it that it was not chosen on, with its standard error."""
    chosen_on: np.ndarray
    """Places of the scores that it was chosen on."""
    checked_on: np.ndarray
    """Places of the others."""


def anomaly_threshold(scores: Any, share: float = 0.05, *, seed: int = 0) -> Threshold:
    """Choose the score above which an image is called an anomaly, and check it.

    Half of the held-out images choose it: of n scores the k-th highest, k being the whole part of ``share (n + 1)``.
    The score of another image of the same kind is equally likely to fall into each of the n + 1 gaps between them, so
    that it is above with probability ``k / (n + 1)``, at most ``share``, whatever the scores' distribution (split
    conformal prediction: Papadopoulos et al. 2002). The other half tells what came of it. See chapter 18.

    Parameters
    ----------
    scores : (n,)
        Of ordinary images that the model was not trained on, the higher the stranger (``score``).
    share : float
        The share of ordinary images that may be above the threshold, between 0 and 1.
    seed : int
        Decides which half an image is in.

    Returns
    -------
    Threshold
        ``value``, ``share``, ``false_alarms``, an ``Estimate``, and the places ``chosen_on`` and ``checked_on``. A
        score is above if ``score > value``.

    Raises
    ------
    ValueError
        If an argument is not as described, or there are too few scores for so small a share.

    Examples
    --------
    >>> import numpy as np
    >>> threshold = gluon_vae.anomaly_threshold(np.random.default_rng(0).exponential(size=4000))
    >>> print(f"{threshold.value:.2f}: {100 * threshold.false_alarms.mean:.1f} % of the others are above")
    3.06: 5.2 % of the others are above
    """
    scores, share = checks.finite_array("scores", scores), checks.fraction("share", share)
    if scores.ndim != 1:
        raise ValueError(f"scores must have shape (n,), got {scores.shape}")
    order = np.random.default_rng(checks.non_negative_int("seed", seed)).permutation(len(scores))
    chosen_on, checked_on = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    k = math.floor(share * (len(chosen_on) + 1) + 1e-9)  # 0.29 * 100 is a whole number, whatever floats make of it
    if k == 0:
        needed = 2 * (math.ceil(1 / share - 1e-9) - 1)
        raise ValueError(
            f"scores must be at least {needed}, half of which choose a share of {share:g}, got {len(order)}"
        )
    value = float(np.sort(scores[chosen_on])[-k])
    above = Estimate.of((scores[checked_on] > value).astype(float))
    return Threshold(value, share, above, chosen_on, checked_on)
