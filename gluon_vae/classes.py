"""Classes by number, and which images are kept for the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import checks


def numbered(
    parts: Sequence[tuple[str, np.ndarray]], names: Sequence[str] | None = None
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Map labels of any kind to int64 from 0 up, in the order of their values.

    Parameters
    ----------
    parts : sequence of (str, array)
        Labels, (n,) or (n, 1), integers or text, each with its name for messages; all are mapped alike.
    names : sequence of str, optional
        Names of the classes 0, 1, ..., for integer labels, which then stay what they are.

    Returns
    -------
    labels : list of (n,) int64
    class_names : tuple of str
        What each number stood for.

    Raises
    ------
    ValueError
        If a label is neither an integer nor text, or has no name.
    """
    columns = [_column(name, y) for name, y in parts]
    kinds = {y.dtype.kind for y in columns}
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(name for name, _ in parts)} must both be integers, or both text")
    if names is not None:
        return _named(parts[0][0], columns, names)
    values, numbers = np.unique(np.concatenate(columns), return_inverse=True)
    ends = np.cumsum([len(y) for y in columns])[:-1]
    return np.split(numbers.reshape(-1).astype(np.int64), ends), tuple(map(str, values.tolist()))


def split(
    n: int, labels: np.ndarray | None, class_names: Sequence[str] | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose which of n images train a model and which test it, both in a random order.

    Parameters
    ----------
    n : int
        How many there are.
    labels : (n,) int64, optional
        Classes from 0 up. With them, every class has its share of the test, rounded, and at least an image in each
        part.
    class_names : sequence of str, optional
        Their names, for messages.
    share : float
        Of the test.
    seed : int
        The same seed gives the same parts.

    Returns
    -------
    train, test : (n_train,), (n_test,) int64
        Places of the images.

    Raises
    ------
    ValueError
        If a class has fewer than two images, or ``share`` is not between 0 and 1.
    """
    share = checks.fraction("test_share", share)
    rng = np.random.default_rng(checks.non_negative_int("seed", seed))
    of_class = np.zeros(n, np.int64) if labels is None else labels
    parts: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for number, count in zip(*np.unique(of_class, return_counts=True)):
        if count < 2:
            where = "" if class_names is None else f" of class {class_names[number]!r}"
            raise ValueError(f"there is one image{where}, and two are needed: one to train with, one to test with")
        places = rng.permutation(np.flatnonzero(of_class == number))
        n_kept = n_test(count, share)
        parts[0].append(places[n_kept:])
        parts[1].append(places[:n_kept])
    train, test = (rng.permutation(np.concatenate(part)) for part in parts)
    return train, test


def n_test(n: int, share: float) -> int:
    """Return how many of n images are their share of the test, rounded, so that some are in each part."""
    if n < 2:
        raise ValueError("there must be two images at least: one to train with, one to test with")
    return min(max(1, round(share * n)), n - 1)


def as_text(names: np.ndarray) -> np.ndarray:
    """Return names, bytes or text, as text."""
    return np.char.decode(names, "utf-8", "backslashreplace") if names.dtype.kind == "S" else names


def _column(name: str, y: np.ndarray) -> np.ndarray:
    y = checks.unmasked(name, y)
    wanted = f"{name} must be labels, (n,), integers or text"
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = ": of one-hot rows, save argmax(axis=1)" if y.ndim == 2 else ""
        raise ValueError(f"{wanted}, got shape {y.shape}{hint}")
    if y.dtype.kind == "O":
        raise ValueError(f"{wanted}, got Python objects: save them as np.array(labels, dtype=str)")
    if y.dtype.kind not in "iuUS":
        hint = ": convert them by astype(int)" if y.dtype.kind in "fb" else ""
        raise ValueError(f"{wanted}, got dtype {y.dtype}{hint}")
    if y.dtype.kind == "u" and y.size and y.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{wanted}, got {y.max()}, which is beyond 64 bits with a sign")
    return as_text(y) if y.dtype.kind in "US" else y.astype(np.int64)


def _named(name: str, columns: list[np.ndarray], names: Sequence[str]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    for y in columns:
        if y.dtype.kind == "U":
            raise ValueError(f"{name} must be integers where there are names of classes, got text")
        if y.size and not 0 <= y.min() <= y.max() < len(names):
            raise ValueError(
                f"{name} must be from 0 to {len(names) - 1}, as there are {len(names)} names of classes, got values "
                f"from {y.min()} to {y.max()}"
            )
    return columns, tuple(map(str, names))
