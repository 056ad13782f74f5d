"""The KL divergence between Gaussians in closed form: NumPy, in nats.

N(0, I), the prior of a VAE, is ``mu_p = 0, var_p = 1``; the reverse direction is the same call with the two
distributions exchanged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular

from . import checks


def _excess(scale: np.ndarray) -> np.ndarray:
    """``s^2 - 1 - log s^2``, at least 0, of a ratio of standard deviations.

    The subtraction of 1 comes first: near s = 1 it is exact. Of a ratio of variances less would be within range.
    """
    return (scale - 1) * (scale + 1) - 2 * np.log(scale)


def _cholesky(name: str, cov: np.ndarray) -> np.ndarray:
    """The lower triangular factor of a covariance. LAPACK reads one triangle only, so symmetry is checked first."""
    scale = np.sqrt(np.abs(np.diag(cov)))
    symmetric = np.all(np.abs(cov - cov.T) <= 1e-6 * np.outer(scale, scale))
    try:
        if symmetric:
            return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        pass
    what = "not positive definite" if symmetric else "not symmetric"
    raise ValueError(f"{name} must be a symmetric positive definite matrix, got one that is {what}")


def kl_gaussian(mu_q: ArrayLike, cov_q: ArrayLike, mu_p: ArrayLike, cov_p: ArrayLike) -> float:
    """KL divergence of N(mu_q, cov_q) from N(mu_p, cov_p), full covariances.

    ``1/2 [tr(inv(cov_p) cov_q) + (mu_p - mu_q)' inv(cov_p) (mu_p - mu_q) - k + log det cov_p - log det cov_q]``.
    With the Cholesky factors ``cov = L L'`` and ``M = inv(L_p) L_q``, which is triangular, this is
    ``1/2 [sum_i (M_ii^2 - 1 - log M_ii^2) + sum_{i>j} M_ij^2 + |inv(L_p) (mu_p - mu_q)|^2]``: no inverse, no
    determinant, and no term below 0. See chapter 5.

    Parameters
    ----------
    mu_q, mu_p : (k,)
        Means.
    cov_q, cov_p : (k, k)
        Covariances, symmetric positive definite.

    Returns
    -------
    float
        KL(q || p) in nats, at least 0.

    Raises
    ------
    ValueError
        If a mean is not a non-empty finite vector, shapes disagree, or a covariance is not symmetric positive
        definite.
    """
    mu_q = checks.finite_array("mu_q", mu_q)
    if mu_q.ndim != 1:
        raise ValueError(f"mu_q must be a vector of shape (k,), got shape {mu_q.shape}")
    k = len(mu_q)
    cov_q = checks.finite_array("cov_q", cov_q, (k, k))
    mu_p = checks.finite_array("mu_p", mu_p, (k,))
    cov_p = checks.finite_array("cov_p", cov_p, (k, k))
    factor_q, factor_p = _cholesky("cov_q", cov_q), _cholesky("cov_p", cov_p)
    relative = solve_triangular(factor_p, factor_q, lower=True)
    shift = solve_triangular(factor_p, mu_p - mu_q, lower=True)
    volume = _excess(np.diag(relative)).sum()
    return float(0.5 * (volume + np.sum(np.tril(relative, -1) ** 2) + np.sum(shift**2)))


def kl_diagonal_gaussian(
    mu_q: ArrayLike, var_q: ArrayLike, mu_p: ArrayLike, var_p: ArrayLike
) -> np.ndarray | np.float64:
    """KL divergence of N(mu_q, diag var_q) from N(mu_p, diag var_p), summed over the last axis.

    ``1/2 sum_j [r_j - 1 - log r_j + (mu_q,j - mu_p,j)^2 / var_p,j]`` with ``r_j = var_q,j / var_p,j``; for
    ``mu_p = 0, var_p = 1`` the KL term of a VAE (Kingma and Welling 2014, appendix B). See chapter 5.

    Parameters
    ----------
    mu_q, mu_p : (..., k)
        Means. All four arguments broadcast against each other before the sum; four scalars are the 1-D case.
    var_q, var_p : (..., k)
        Variances (not standard deviations, not their logarithms), above 0.

    Returns
    -------
    (...)
        KL(q || p) in nats, at least 0.

    Raises
    ------
    ValueError
        If an argument is empty or not finite, a variance is not positive, or the shapes do not broadcast.
    """
    given = {"mu_q": mu_q, "var_q": var_q, "mu_p": mu_p, "var_p": var_p}
    arrays = {name: checks.finite_array(name, value) for name, value in given.items()}
    for name in ("var_q", "var_p"):
        if arrays[name].min() <= 0:
            raise ValueError(f"{name} must be positive, got a smallest value of {arrays[name].min():g}")
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"mu_q, var_q, mu_p and var_p must broadcast together, got shapes {shapes}") from None
    mu_q, var_q, mu_p, var_p = arrays.values()
    std_p = np.sqrt(var_p)
    with np.errstate(over="ignore"):  # a divergence beyond the numbers is infinite
        terms = _excess(np.sqrt(var_q) / std_p) + ((mu_q - mu_p) / std_p) ** 2
    return 0.5 * np.sum(np.atleast_1d(terms), axis=-1)
