"""What may come in.

Each function returns its argument, converted, or raises a ``ValueError`` that names the argument,
what was given and what is accepted.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from mxnet import autograd, nd
from mxnet.util import is_np_array

from .arrays import to_numpy

Checked = TypeVar("Checked")

CHANNELS = (1, 3)  # of a picture: grey, or red, green and blue


def shown(value: Any) -> str:
    """Return a value for a message: one line, and not a long one."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python prints
        return f"a {type(value).__name__} of many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def positive_int(name: str, value: Any) -> int:
    """Accept an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {shown(value)}")
    return int(value)


def non_negative_int(name: str, value: Any) -> int:
    """Accept an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {shown(value)}")
    return int(value)


def _number(name: str, value: Any, wanted: str, high: float) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    except OverflowError:
        number = math.inf
    if not 0 < number < high:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return number


def positive_number(name: str, value: Any) -> float:
    """Accept a finite number above 0."""
    return _number(name, value, "a positive finite number", math.inf)


def non_negative_number(name: str, value: Any) -> float:
    """Accept a finite number from 0 up."""
    is_zero = isinstance(value, numbers.Real) and not isinstance(value, bool) and value == 0
    return 0.0 if is_zero else _number(name, value, "a finite number from 0 up", math.inf)


def fraction(name: str, value: Any) -> float:
    """Accept a number between 0 and 1, both excluded."""
    return _number(name, value, "a number between 0 and 1", 1)


def positive_ints(name: str, value: Any) -> tuple[int, ...]:
    """Accept a sequence of integers of at least 1, and at least one of them."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"{name} must be a sequence of positive integers, got {shown(value)}")
    return tuple(positive_int(name, number) for number in value)


def image_shape(name: str, value: Any) -> tuple[int, int, int]:
    """Accept (channels, height, width): three positive integers, the first of them 1 or 3."""
    wanted = f"{name} must be (channels, height, width), with 1 or 3 channels, and sides of at least a pixel"
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(f"{wanted}, got {shown(value)}")
    try:
        channels, height, width = (positive_int(name, number) for number in value)
    except ValueError:
        raise ValueError(f"{wanted}, got {shown(value)}") from None
    if channels not in CHANNELS:
        first = f"; channels come first: {(width, channels, height)}" if width in CHANNELS else ""
        raise ValueError(f"{wanted}, got {shown(value)}{first}")
    return channels, height, width


def optional(check: Callable[[str, Any], Checked]) -> Callable[[str, Any], Checked | None]:
    """Return a check that accepts None too."""
    return lambda name, value: None if value is None else check(name, value)


def choice(accepted: Sequence[str]) -> Callable[[str, Any], str]:
    """Return a check that accepts one of several names."""
    return lambda name, value: one_of(name, value, accepted)


def of_type(name: str, value: Any, *types: type) -> None:
    """Accept an object of one of several types."""
    if not isinstance(value, types):
        raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in types)}, got {shown(value)}")


def flag(name: str, value: Any) -> bool:
    """Accept True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def one_of(name: str, value: Any, accepted: Sequence[str]) -> str:
    """Accept one of the names in ``accepted``."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(accepted)}; got {shown(value)}")
    return value


def finite_array(name: str, value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Accept a non-empty array of finite real numbers, of the given shape if there is one, as float64."""
    value = to_numpy(value) if isinstance(value, nd.NDArray) else unmasked(name, value)
    if value.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold real numbers, got dtype {value.dtype}")
    if value.size == 0 or (shape is not None and value.shape != shape):
        wanted = "non-empty" if shape is None else f"of shape {shape}"
        raise ValueError(f"{name} must be {wanted}, got shape {value.shape}")
    return _finite(name, value).astype(np.float64)


def _finite(name: str, x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return x


def unmasked(name: str, x: Any) -> np.ndarray:
    """Accept what makes an array, without masked values."""
    if isinstance(x, np.ma.MaskedArray) and np.any(x.mask):
        raise ValueError(f"{name} must have no masked values: what is behind a mask would be used")
    return np.asarray(x)


def classic_arrays() -> None:
    """Accept MXNet as it is by default, or refuse by name the call that made it compute on other arrays."""
    if is_np_array():
        raise ValueError(
            "mx.npx.set_np() was called, which makes MXNet compute on mx.np where gluon_vae computes on mx.nd: call "
            "mx.npx.reset_np() before"
        )


def _array(name: str, x: Any) -> np.ndarray | nd.NDArray:
    """Accept what is computed on, NumPy's arrays or those of ``mx.nd``; one of ``mx.np`` is a view of the latter."""
    classic_arrays()
    return x.as_nd_ndarray() if isinstance(x, nd.NDArray) else unmasked(name, x)


def _rows(name: str, x: Any, width: int | None, meaning: str) -> np.ndarray | nd.NDArray:
    x = _array(name, x)
    if np.dtype(x.dtype).kind != "f":
        hint = "; divide pixels from 0 to 255 by 255" if x.dtype == np.uint8 else ""
        raise ValueError(f"{name} must be floating point, got dtype {np.dtype(x.dtype)}{hint}")
    shape = x.shape
    if len(shape) != 2 or shape[0] == 0 or (width is not None and shape[1] != width):
        wanted = meaning if width is None else width
        raise ValueError(f"{name} must be a non-empty array of shape (n, {wanted}), got {shape}")
    return x


def images(name: str, x: Any, n_output: int | None = None, *, values: bool = True) -> np.ndarray | nd.NDArray:
    """Accept a non-empty floating-point array (n, n_output) with pixels in [0, 1].

    An NDArray stays one, where it is. Looking at its values waits for the device; ``values=False`` checks only
    what is known on the host. See chapter 9.
    """
    x = _rows(name, x, n_output, "n_output")
    if isinstance(x, nd.NDArray):
        if values:
            with autograd.pause():
                # NaN compares false, so one number answers for the range and for finiteness.
                if not nd.min((x >= 0) * (x <= 1)).asscalar():
                    raise ValueError(f"{name} must have finite pixels in [0, 1], got a value outside")
        return x
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


def codes(name: str, z: Any, n_latent: int | None = None, dtype: Any = None) -> np.ndarray:
    """Accept a non-empty floating-point array (n, n_latent) that is finite, also as the dtype that is computed in."""
    z = to_numpy(_rows(name, z, n_latent, "n_latent"))
    with np.errstate(over="ignore"):
        return _finite(name, z if dtype is None else z.astype(dtype, copy=False))


def labels(name: str, y: Any, n: int, n_classes: int | None, *, values: bool = True, missing: bool = False) -> Any:
    """Accept ``n`` labels, integers from 0 to ``n_classes - 1``, as int64; None where there are no classes.

    With ``missing=True`` also -1, where a label is not known.

    Those of an NDArray may have a floating-point type, which is what MXNet's own data sets use. With ``values=False``
    an NDArray of the right shape is returned as it is, without waiting for the device.
    """
    if n_classes is None:
        if y is not None:
            raise ValueError(f"{name} must be None for a model that takes no labels, got {type(y).__name__}")
        return None
    lowest = -1 if missing else 0
    wanted = f"{name} must be {n} integer labels from {lowest} to {n_classes - 1}"
    if y is None:
        raise ValueError(f"{wanted} for a conditional model, got None")
    y = _array(name, y)
    from_ndarray = isinstance(y, nd.NDArray)
    if from_ndarray and not values and y.shape == (n,):
        return y
    y = to_numpy(y)
    whole = y.dtype.kind in "iu" or (from_ndarray and np.array_equal(y, np.floor(y)))
    if not whole or y.shape != (n,) or (n and (y.min() < lowest or y.max() >= n_classes)):
        raise ValueError(
            f"{wanted}, got dtype {y.dtype}, shape {y.shape}"
            + (f", values from {y.min()} to {y.max()}" if y.size and y.dtype.kind in "iuf" else "")
        )
    return y.astype(np.int64)
