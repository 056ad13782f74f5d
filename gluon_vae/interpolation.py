"""Ways through the latent space from one code to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks

OPPOSITE = 1e-6  # radians: of codes nearer to opposite than that no arc is the shortest


def interpolate(start: Any, end: Any, n_steps: int = 10, *, arc: bool = False) -> np.ndarray:
    """Walk from codes to other codes in equal steps, both ends included.

    A straight line in many dimensions passes nearer to the origin than codes lie: between two draws from N(0, I) its
    middle has the length of ``sqrt(n_latent / 2)``, where the prior's draws have ``sqrt(n_latent)``. The arc turns
    from one direction to the other by equal angles, and changes the length by equal steps (White 2016, arXiv
    1609.04468). In few dimensions that gains nothing, for codes lie near the origin too; and an autoencoder's codes,
    which have no prior, know no origin.

    Parameters
    ----------
    start, end : (n, n_latent)
        Codes, such as ``encode`` returns.
    n_steps : int
        Codes on each way, 2 or more.
    arc : bool
        Along a circle around the origin instead of straight.

    Returns
    -------
    (n, n_steps, n_latent) float32

    Raises
    ------
    ValueError
        If an argument is not as described; of an arc, if two codes are opposite, or one of them is the origin.

    Examples
    --------
    >>> import numpy as np
    >>> gluon_vae.interpolate(np.zeros((1, 2)), np.ones((1, 2)), 3).tolist()
    [[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]]
    """
    start, end = checks.codes("start", start).astype(np.float64), checks.codes("end", end).astype(np.float64)
    if start.shape != end.shape:
        raise ValueError(f"end must have the shape of start, {start.shape}, got {end.shape}")
    if checks.positive_int("n_steps", n_steps) == 1:
        raise ValueError("n_steps must be at least 2, the ends, got 1")
    done = np.linspace(0, 1, n_steps)[:, None]
    if checks.flag("arc", arc):
        path = np.stack([_arc(*ends, done) for ends in zip(start, end)])
    else:
        path = (1 - done) * start[:, None] + done * end[:, None]
    path[:, 0], path[:, -1] = start, end  # to the last bit
    return path.astype(np.float32)


def _arc(start: np.ndarray, end: np.ndarray, done: np.ndarray) -> np.ndarray:
    """Return codes (n_steps, n_latent) where shares ``done`` (n_steps, 1) of the way from one code to another end."""
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) == 0:
        raise ValueError("arc must be False where a code is the origin, which has no direction")
    u, v = start / lengths[0], end / lengths[1]
    # Of small angles, and of those near a half turn, a cosine would know half of the digits only.
    angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
    if np.pi - angle < OPPOSITE:
        raise ValueError("arc must be False where codes are opposite, between which no arc is the shortest")
    if angle == 0:
        turned = u + 0 * done
    else:
        turned = (np.sin((1 - done) * angle) * u + np.sin(done * angle) * v) / np.sin(angle)
    return ((1 - done) * lengths[0] + done * lengths[1]) * turned
