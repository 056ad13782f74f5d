"""What may come in.

Each function returns its argument, converted, or raises a ``ValueError`` that names the argument,
what was given and what is accepted.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from mxnet import autograd, nd


def positive_int(name: str, value: Any) -> int:
    """Accept an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def sizes(**values: Any) -> dict[str, int]:
    """Accept positive integers, by name."""
    return {name: positive_int(name, value) for name, value in values.items()}


def non_negative_int(name: str, value: Any) -> int:
    """Accept an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {value!r}")
    return int(value)


def positive_number(name: str, value: Any) -> float:
    """Accept a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive finite number, got {value!r}")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Accept a number between 0 and 1, both excluded."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
    return float(value)


def one_of(name: str, value: Any, accepted: Sequence[str]) -> str:
    """Accept one of the names in ``accepted``."""
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(accepted)}; got {value!r}")
    return value


def finite_array(name: str, value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Accept a non-empty array of finite real numbers, of the given shape if there is one, as float64."""
    value = value.asnumpy() if isinstance(value, nd.NDArray) else np.asarray(value)
    if value.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold real numbers, got dtype {value.dtype}")
    if value.size == 0 or (shape is not None and value.shape != shape):
        wanted = "non-empty" if shape is None else f"of shape {shape}"
        raise ValueError(f"{name} must be {wanted}, got shape {value.shape}")
    return _finite(name, value).astype(np.float64)


def _rows(name: str, x: Any, width: int | None, meaning: str) -> np.ndarray:
    x = x.asnumpy() if isinstance(x, nd.NDArray) else np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} must be floating point, got dtype {x.dtype}")
    if x.ndim != 2 or x.shape[0] == 0 or (width is not None and x.shape[1] != width):
        wanted = meaning if width is None else width
        raise ValueError(f"{name} must be a non-empty array of shape (n, {wanted}), got {x.shape}")
    return x


def _finite(name: str, x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return x


def images(name: str, x: Any, n_output: int | None = None) -> np.ndarray:
    """Accept a non-empty floating-point array (n, n_output) with pixels in [0, 1]."""
    x = _rows(name, x, n_output, "n_output")
    if x.dtype.isnative and x.itemsize <= 8:
        # As unsigned integers, the bits of numbers from 0 up are in the order of the numbers, and those
        # of negative numbers and NaN come after them: one comparison, one pass over the memory.
        bits = np.dtype(f"u{x.itemsize}")
        if x.view(bits).max() <= x.dtype.type(1).view(bits):
            return x
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 1):  # neither holds of a NaN
        _finite(name, x)
        raise ValueError(f"{name} must have pixels in [0, 1], got values from {low:g} to {high:g}")
    return x


def codes(name: str, z: Any, n_latent: int | None = None) -> np.ndarray:
    """Accept a non-empty, finite floating-point array (n, n_latent)."""
    return _finite(name, _rows(name, z, n_latent, "n_latent"))


def labels(name: str, y: Any, n: int, n_classes: int = 10) -> np.ndarray:
    """Accept ``n`` labels, integers from 0 to ``n_classes - 1``, as int64.

    Those of an NDArray may have a floating-point type, which is what MXNet's own data sets use.
    """
    from_ndarray = isinstance(y, nd.NDArray)
    y = y.asnumpy() if from_ndarray else np.asarray(y)
    whole = y.dtype.kind in "iu" or (from_ndarray and np.array_equal(y, np.floor(y)))
    if not whole or y.shape != (n,) or (n and (y.min() < 0 or y.max() >= n_classes)):
        raise ValueError(
            f"{name} must be {n} integer labels from 0 to {n_classes - 1}, got dtype {y.dtype}, shape {y.shape}"
            + (f", values from {y.min()} to {y.max()}" if y.size and y.dtype.kind in "iuf" else "")
        )
    return y.astype(np.int64)


def batch(x: nd.NDArray, n_output: int, values: bool = True) -> nd.NDArray:
    """Accept what a model is called on: an NDArray (batch, n_output) with pixels in [0, 1].

    Looking at values waits for the device; ``values=False`` checks only what is known on the host.
    """
    if not isinstance(x, nd.NDArray):
        raise ValueError(f"x must be an mxnet NDArray or a NumPy array, got {type(x).__name__}")
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != n_output:
        raise ValueError(f"x must be a non-empty batch of shape (batch, {n_output}), got {x.shape}")
    if np.dtype(x.dtype).kind != "f":
        raise ValueError(f"x must be floating point, got dtype {np.dtype(x.dtype)}")
    if values:
        with autograd.pause():
            # NaN compares false, so one number answers for the range and for finiteness.
            if not nd.min((x >= 0) * (x <= 1)).asscalar():
                raise ValueError("x must have finite pixels in [0, 1], got a value outside")
    return x
