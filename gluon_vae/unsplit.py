"""All images of a source in their order, not split, with what each of them is called: those that are to be judged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import checks, picture_files, pixels, sources
from .shapes import ImageShape


class Unsplit(NamedTuple):
    """Images, and what they are.

    Attributes
    ----------
    x : (n, n_output) float32
        Flat pixels in [0, 1].
    names : tuple of str
        Their files, relative to the folder, or places in the array: ``3``, or ``test[3]`` where there are two parts.
    image_shape : (int, int, int)
        Channels, height and width.
    ink : bool
        Whether 1 is ink on white paper, and not light.
    """

    x: np.ndarray
    names: tuple[str, ...]
    image_shape: ImageShape
    ink: bool


def load_unsplit(
    source: str | os.PathLike[str], *, image_shape: Sequence[int] | None = None, background: str | None = None
) -> Unsplit:
    """Load all images of a source, whatever part they are in; labels are of no concern.

    Parameters
    ----------
    source : path, 'sample' or 'mnist'
        As for ``load_images``, or a single picture.
    image_shape, background : optional
        As for ``load_images``.

    Returns
    -------
    Unsplit

    Raises
    ------
    ValueError
        As ``load_images`` does.
    OSError
        If a file cannot be read, or is no regular one.
    """
    shape = checks.optional(checks.image_shape)("image_shape", image_shape)
    path = Path(source)
    if path.suffix.lower() in picture_files.SUFFIXES and path.is_file():
        parts, ink = sources.of_pictures(path, shape, background), False
    else:
        parts, _, ink = sources.found(source, None, shape, background)
    rows, names = [], []
    for part, kind in zip(parts, ("train", "test")):
        x, shape = pixels.flat(part.name, part.x, shape)
        rows.append(pixels.as_floats(part.name, x))
        if part.files:
            names += [file.relative_to(path if path.is_dir() else path.parent).as_posix() for file in part.files]
        else:
            names += [f"{kind}[{i}]" if len(parts) > 1 else str(i) for i in range(len(x))]
    assert shape is not None
    return Unsplit(np.concatenate(rows) if len(rows) > 1 else rows[0], tuple(names), shape, ink)
