"""How good samples are: drawn digits beside real ones, in the features of one fixed digit classifier.

A likelihood does not say what samples look like, and no distance of pixels says whether a picture is a digit. So
images are mapped to the last hidden layer of ``digit_classifier``, and two sets of them are compared there: by the
distance of their distributions, and by how far each covers the other. The classifier is always the same, so that
numbers can be compared between models and between scripts. It knows MNIST's digits alone: of other pictures, even of
28 x 28 pixels, these numbers say nothing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .digit_classifier import classify, features

__all__ = [
    "Measured",
    "SampleQuality",
    "classify",
    "features",
    "frechet_distance",
    "kernel_distance",
    "precision_recall",
    "sample_quality",
]
ROWS = 1000  # whose distances to all others are computed at once


class Measured(NamedTuple):
    """A number measured on samples, and the standard deviation that it has over other samples as many."""

    mean: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.standard_error:.2f}"


class SampleQuality(NamedTuple):
    """How drawn images compare with real ones: two distances, 0 at best, and two shares, about 1 at best.

    Each with its standard error; see ``frechet_distance``, ``kernel_distance`` and ``precision_recall``.
    """

    frechet: Measured
    kernel: Measured
    precision: Measured
    recall: Measured

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, arXiv 1706.08500).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``. With factors ``C = R' R`` the trace of the root is the sum
    of the singular values of ``R_a R_b'``: no root of a matrix, and nothing complex. A mean and a covariance of few
    images differ from the true ones, which adds to the distance, in proportion to 1/n for large n: only numbers
    of equally many images compare.

    Parameters
    ----------
    a, b : (n, k) and (m, k)
        Features, at least two rows each.

    Returns
    -------
    float
        In squared units of a feature, at least 0.

    Raises
    ------
    ValueError
        If a set is not as described.
    """
    a, b = _pair("a", a, "b", b)
    shift = a.mean(axis=0) - b.mean(axis=0)
    r_a, r_b = _factor(a), _factor(b)
    root = np.linalg.svd(r_a @ r_b.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + np.sum(r_a**2) + np.sum(r_b**2) - 2 * root))


def _factor(rows: np.ndarray) -> np.ndarray:
    """Return R with the covariance R'R."""
    return np.asarray(np.linalg.qr(rows - rows.mean(axis=0), mode="r")) / math.sqrt(len(rows) - 1)


def kernel_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Squared maximum mean discrepancy of two sets of features (Binkowski et al. 2018, arXiv 1801.01401).

    ``E k(a, a') + E k(b, b') - 2 E k(a, b)`` with the kernel ``k(x, y) = (x'y / k + 1)^3`` of k features, which sees
    differences of the first three moments. Pairs of an image with itself are left out, so the estimate is unbiased:
    of equal distributions it is 0 on average, and below 0 as often as not.

    Parameters
    ----------
    a, b : (n, k) and (m, k)
        Features, at least two rows each.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a set is not as described.
    """
    a, b = _pair("a", a, "b", b)
    within = [(_kernel(c, c) - _of_selves(c)) / (len(c) * (len(c) - 1)) for c in (a, b)]
    return float(sum(within) - 2 * _kernel(a, b) / (len(a) * len(b)))


def _kernel(a: np.ndarray, b: np.ndarray) -> float:
    """Sum the kernel over all pairs."""
    return sum(_cubes(part @ b.T, a.shape[1]) for part in _parts(a))


def _of_selves(a: np.ndarray) -> float:
    """Sum the kernel over the pairs of a row with itself."""
    return _cubes(np.sum(a**2, axis=1), a.shape[1])


def _cubes(products: np.ndarray, k: int) -> float:
    similar = products / k + 1
    return float(np.sum(similar * similar * similar))


def precision_recall(real: ArrayLike, generated: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Precision and recall of generated features (Kynkäänniemi et al. 2019, arXiv 1904.06991).

    A set covers what lies within a ball around one of its members that reaches to its k-th nearest neighbour.
    Precision is the share of the generated ones that the real ones cover: few strange pictures. Recall is the share
    of the real ones that the generated ones cover: few kinds left out. Both depend on how many there are, and are
    below 1 for two sets of real images. A strange real image has a large ball, in which many of the generated may
    lie: precision can hang on a few of those.

    Parameters
    ----------
    real, generated : (n, n_features) and (m, n_features)
        Features, more than k rows each.
    k : int
        Which neighbour.

    Returns
    -------
    precision, recall : float
        From 0 to 1.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    k = checks.positive_int("k", k)
    real, generated = _pair("real", real, "generated", generated, k + 1)
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(points: np.ndarray, members: np.ndarray, k: int) -> float:
    """Return which share of the points lies in a ball around a member."""
    # A member's nearest is itself. What is on the rim but for rounding is covered, by a ball of radius 0 too.
    radii = np.concatenate([np.partition(_squares(part, members), k, axis=1)[:, k] for part in _parts(members)])
    radii += 1e-9 * np.mean(members**2) * members.shape[1]
    return float(np.mean(np.concatenate([(_squares(part, members) <= radii).any(axis=1) for part in _parts(points)])))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distances of all pairs, (n, m); by a product of matrices, much faster than one by one."""
    return np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2 * a @ b.T


def sample_quality(x: Any, x_real: Any, *, n_bootstrap: int = 20, seed: int = 0) -> SampleQuality:
    """Compare drawn images with real ones, in the features of the digit classifier.

    The standard errors are for the images as a draw from the model and from the data, not for the training of the
    model. They come from random halves: as half the images of a set leave out the other half, a number's standard
    deviation over halves is that of the whole over new images. Drawing with replacement, as a bootstrap does
    otherwise, would add copies, which have no distance to each other. See chapters 11 and 13.

    Parameters
    ----------
    x : (n, 784)
        Drawn images: floating point, pixels in [0, 1]. At least eight.
    x_real : (m, 784)
        Real ones, best as many, and not those that the model was trained on.
    n_bootstrap : int
        Halves of each set; at least two.
    seed : int
        Chooses the halves.

    Returns
    -------
    SampleQuality
        ``frechet``, ``kernel``, ``precision``, ``recall``, each with ``mean``, of all images, and
        ``standard_error``. Compare numbers of equal n and m only: those of fewer images have a larger Fréchet
        distance.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Examples
    --------
    >>> x_test = gluon_vae.load_mnist().x_test
    >>> quality = sample_quality(x_test[:200], x_test[200:400])
    >>> quality.precision.mean > 0.7
    True
    """
    if checks.positive_int("n_bootstrap", n_bootstrap) < 2:
        raise ValueError(f"n_bootstrap must be at least 2, got {n_bootstrap}")
    rng = np.random.default_rng(checks.non_negative_int("seed", seed))
    sets = [_enough(name, features(images), 8) for name, images in (("x", x), ("x_real", x_real))]
    halves = [_measure(*(rng.permutation(rows)[: len(rows) // 2] for rows in sets)) for _ in range(n_bootstrap)]
    errors = np.std(halves, axis=0, ddof=1)
    return SampleQuality(*(Measured(mean, float(error)) for mean, error in zip(_measure(*sets), errors)))


def _measure(generated: np.ndarray, real: np.ndarray) -> tuple[float, ...]:
    distances = frechet_distance(generated, real), kernel_distance(generated, real)
    return *distances, *precision_recall(real, generated)


def _pair(name_a: str, a: ArrayLike, name_b: str, b: ArrayLike, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets of features, each of at least ``n`` rows."""
    a, b = (_enough(name, checks.finite_array(name, rows), n) for name, rows in ((name_a, a), (name_b, b)))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{name_b} must have {a.shape[1]} columns like {name_a}, got {b.shape[1]}")
    return a, b


def _enough(name: str, rows: np.ndarray, n: int) -> np.ndarray:
    if rows.ndim != 2 or len(rows) < n:
        raise ValueError(f"{name} must have at least {n} rows, (n, n_features), got shape {rows.shape}")
    return rows


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, math.ceil(len(rows) / ROWS))
