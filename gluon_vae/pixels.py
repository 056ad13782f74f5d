"""What an array of pictures means: which axes are channels, rows and columns, which numbers black and white."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import checks, machine
from .shapes import ImageShape, shape_of

MOST_OF_DEFLATE = 1032  # bytes that one compressed byte can stand for, in .gz as in .npz
LAYOUTS = "(n, height, width), (n, channels, height, width), (n, height, width, channels) or (n, width of a flat row)"


def reading(name: str, shape: Sequence[int], image_shape: Sequence[int] | None = None) -> tuple[ImageShape, bool]:
    """Tell what pictures an array of some shape has, and whether their channels come last.

    Parameters
    ----------
    name : str
        Of the array, for messages.
    shape : sequence of int
        (n, height, width), (n, channels, height, width), (n, height, width, channels), with 1 or 3 channels, or flat
        rows, (n, width).
    image_shape : (channels, height, width), optional
        What the pictures are. Without it, flat rows are square and grey, and axes are known by their lengths where
        only one reading is possible.

    Returns
    -------
    image_shape : (int, int, int)
        Channels, height and width.
    is_last : bool

    Raises
    ------
    ValueError
        If the shape has no meaning, several of them, or another than ``image_shape``; says what to give.
    """
    shape = tuple(shape)
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise ValueError(f"{name} must be a non-empty array of pictures, {LAYOUTS}, got shape {shape}")
    wanted = checks.optional(checks.image_shape)("image_shape", image_shape)
    if len(shape) == 2:
        return shape_of(f"the width of {name}", shape[1], wanted), False
    readings = _readings(shape[1:])
    if not readings:
        raise ValueError(
            f"{name} must have 1 or 3 channels, as its second axis or its last, got shape {shape}: leave an alpha "
            "channel out, or compose it over a colour"
        )
    if wanted is None and len(shape) == 3 and shape[2] in checks.CHANNELS:
        raise ValueError(
            f"{name} of shape {shape} could be a picture whose channels come last, or many that are {shape[2]} wide: "
            f"add an axis, x[None], or give image_shape={(1, *shape[1:])}"
        )
    fitting = [found for found in readings if wanted in (None, found[0])]
    if not fitting:
        has = " or ".join(str(found) for found, _ in readings)
        raise ValueError(f"{name} of shape {shape} has pictures of {has}, and image_shape={wanted} was given")
    if len(fitting) > 1:
        shapes = sorted({found for found, _ in fitting})
        if len(shapes) == 1:  # the axes are equal: no shape tells them apart
            what = f"flat rows, channel after channel, x.reshape(n, -1), and image_shape={shapes[0]}"
        else:
            what = " or ".join(f"image_shape={found}" for found in shapes)
        raise ValueError(f"{name} of shape {shape} could have its channels first or last: give {what}")
    return fitting[0]


def flat(name: str, x: np.ndarray, image_shape: Sequence[int] | None = None) -> tuple[np.ndarray, ImageShape]:
    """Bring pictures into the order that models take: a row each, a channel after the other; see ``reading``.

    Nothing is copied unless channels come last and there are three of them.

    Returns
    -------
    x : (n, channels * height * width)
        Of the given dtype, channel-first.
    image_shape : (int, int, int)
        Channels, height and width.
    """
    shape, is_last = reading(name, x.shape, image_shape)
    rows = np.moveaxis(x, -1, 1) if is_last else x
    return rows.reshape(len(x), -1), shape


def as_floats(name: str, x: np.ndarray) -> np.ndarray:
    """Return pixels as float32 in [0, 1]: bytes are divided by 255, and floating-point numbers have to be there.

    A float32 array is returned as it is.

    Raises
    ------
    ValueError
        If they are neither, or a number is outside; says what to do.
    """
    x = checks.unmasked(name, x)
    if x.dtype == np.uint8:
        return np.divide(x, np.float32(255), dtype=np.float32)
    if x.dtype.kind == "b":
        return x.astype(np.float32)
    if x.dtype.kind != "f":
        raise ValueError(
            f"{name} must be uint8, from 0 to 255, or floating point, from 0 to 1, got dtype {x.dtype}: what its "
            "black and white are is not known, so convert it"
        )
    try:
        checks.images(name, x.reshape(len(x), -1))
    except ValueError as error:
        hint = ": scale it, or save bytes from 0 to 255 as uint8" if np.isfinite(x).all() else ""
        raise ValueError(f"{error}{hint}") from None
    return x.astype(np.float32, copy=False)


def check_memory(name: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Refuse an array, before it is read, that this machine cannot hold: as it is, split, and as float32.

    Raises
    ------
    ValueError
        If that is more than there is of memory; says how much.
    """
    bytes_each = 2 * dtype.itemsize + (0 if dtype == np.float32 else 4)
    needed, there = bytes_each * math.prod(shape), machine.memory()
    if needed > there:
        raise ValueError(
            f"{name} has an array of shape {tuple(shape)} and dtype {dtype}, which needs {machine.gigabytes(needed)} "
            f"of memory, and there are {machine.gigabytes(there)}"
        )


def _readings(shape: tuple[int, ...]) -> list[tuple[ImageShape, bool]]:
    """Return what pictures of two or three axes can be: their shape, and whether channels come last."""
    first, middle, last = (1, *shape) if len(shape) == 2 else shape
    if len(shape) == 2:
        return [((1, middle, last), False)]
    found = [((first, middle, last), False)] if first in checks.CHANNELS else []
    if last in checks.CHANNELS and shape != (1, 1, 1):
        found += [((last, first, middle), True)]
    return found
