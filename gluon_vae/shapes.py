"""The picture behind a flat row of pixels: (channels, height, width), row by row, one channel after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from . import checks

ImageShape: TypeAlias = tuple[int, int, int]

DEFAULT_WIDTH = 784  # of a model that is told nothing else: 28 x 28 grey pixels


def checked_width(n_output: int, image_shape: ImageShape | None) -> int:
    """Return how many numbers an image has: the product of its shape where there is one.

    Raises
    ------
    ValueError
        If ``n_output`` is no positive integer, or neither the product nor ``DEFAULT_WIDTH``.
    """
    n_output = checks.positive_int("n_output", n_output)
    if image_shape is None:
        return n_output
    width = math.prod(image_shape)
    if n_output not in (width, DEFAULT_WIDTH):
        raise ValueError(
            f"n_output must be {width}, the product of image_shape={image_shape}, or be left out; got {n_output}"
        )
    return width


def shape_of(name: str, width: int, image_shape: Sequence[int] | None = None) -> ImageShape:
    """Return the shape of an image of so many numbers: the given one, or that of a square grey picture.

    Parameters
    ----------
    name : str
        What has this width, for messages.
    width : int
        Numbers of a flat image.
    image_shape : (channels, height, width), optional
        Where it is known.

    Raises
    ------
    ValueError
        If ``image_shape`` is none, or of another width; or is not given, and ``width`` is no square.
    """
    shape = checks.optional(checks.image_shape)("image_shape", image_shape)
    if shape is None:
        side = math.isqrt(width)
        if side * side != width:
            square = math.isqrt(width // 3)
            example = f", {(3, square, square)} for one" if 3 * square * square == width else ""
            raise ValueError(
                f"{name} must be the square of a side, as of a grey picture; of another, image_shape=(channels, "
                f"height, width) is to be given{example}; got {width}"
            )
        return 1, side, side
    if math.prod(shape) != width:
        raise ValueError(f"image_shape must be of {name}, {width}, got {shape}, of {math.prod(shape)}")
    return shape


def as_pictures(name: str, images: np.ndarray, image_shape: Sequence[int] | None = None) -> np.ndarray:
    """Return images, flat or not, as (n, channels, height, width).

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    images : (n, n_output), (n, height, width), (n, 1, height, width) or (n, 3, height, width)
        Flat ones are square and grey unless a shape is given.
    image_shape : (channels, height, width), optional
        What they are to be.

    Raises
    ------
    ValueError
        If there are none, or they have another shape.
    """
    images = checks.unmasked(name, images)
    shape = checks.optional(checks.image_shape)("image_shape", image_shape)
    if images.ndim == 2 and images.size:
        return images.reshape(-1, *shape_of(f"the width of {name}", images.shape[1], shape))
    pictures = images[:, None] if images.ndim == 3 else images
    if pictures.ndim != 4 or not pictures.size or pictures.shape[1] not in checks.CHANNELS:
        raise ValueError(
            f"{name} must be a non-empty array of shape (n, height, width), (n, 1, height, width), "
            f"(n, 3, height, width), or flat (n, n_output), got {images.shape}{_hint(name, images.shape)}"
        )
    if shape is not None and pictures.shape[1:] != shape:
        raise ValueError(f"image_shape must be that of {name}, {pictures.shape[1:]}, got {shape}")
    return pictures


def _hint(name: str, shape: tuple[int, ...]) -> str:
    """Return what makes pictures of images whose channels are in another place, or one too many."""
    if len(shape) != 4:
        return ""
    if shape[3] in checks.CHANNELS:
        return f": channels come first, {name}.transpose(0, 3, 1, 2)"
    if shape[1] == 4:
        return f": leave the alpha channel out, {name}[:, :3]"
    if shape[3] == 4:
        return f": leave the alpha channel out, and the others come first, {name}[..., :3].transpose(0, 3, 1, 2)"
    return ""
