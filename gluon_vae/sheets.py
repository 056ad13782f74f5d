"""Sheets of images: many small pictures in rows and columns, with gutters, labels and frames where they help."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from . import checks

FRAME_COLOR = "#e76300"


def image_grid(
    images: np.ndarray,
    n_columns: int | None = None,
    *,
    pad: int = 1,
    pad_value: float = 1.0,
    row_gaps: Iterable[int] = (),
    column_gaps: Iterable[int] = (),
) -> np.ndarray:
    """Tile images into one picture, row by row.

    Parameters
    ----------
    images : (n, height * width) or (n, height, width) or (n, 1, height, width)
        Flat images must be square.
    n_columns : int, optional
        Images per row; as near to a square sheet as possible if not given.
    pad : int
        Pixels between neighbours; none around the sheet.
    pad_value : float
        Their value, also that of places left over in the last row.
    row_gaps, column_gaps : iterable of int
        How many rows or columns come before a gutter, a third of an image wide: (2, 4) for one after the second
        and one after the fourth.

    Returns
    -------
    (n_rows * (height + pad) - pad, n_columns * (width + pad) - pad), and the gutters

    Raises
    ------
    ValueError
        If the images have another rank, are none, or are flat and not square; or a gutter is not between two rows
        or columns.
    """
    images, n_columns, tops, lefts = _placed(images, n_columns, pad, row_gaps, column_gaps)
    checks.finite_array("pad_value", pad_value, ())
    height, width = images.shape[1:]
    sheet = np.full((tops[-1] + height, lefts[-1] + width), pad_value, dtype=images.dtype)
    for i, image in enumerate(images):
        top, left = tops[i // n_columns], lefts[i % n_columns]
        sheet[top : top + height, left : left + width] = image
    return sheet


def _placed(
    images: np.ndarray, n_columns: int | None, pad: int, row_gaps: Iterable[int], column_gaps: Iterable[int]
) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    """Return images of rank 3, how many there are in a row, and the pixels where rows and columns begin."""
    images, pad = checks.unmasked("images", images), checks.non_negative_int("pad", pad)
    given = images.shape
    n = len(images) if images.ndim else 0
    if images.ndim == 2 and math.isqrt(images.shape[1]) ** 2 == images.shape[1]:
        side = math.isqrt(images.shape[1])
        images = images.reshape(n, side, side)
    elif images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3 or n == 0:
        raise ValueError(
            "images must be a non-empty array of shape (n, side * side), (n, height, width) or "
            f"(n, 1, height, width), got {given}"
        )
    n_columns = math.ceil(math.sqrt(n)) if n_columns is None else checks.positive_int("n_columns", n_columns)
    tops = _starts("row_gaps", row_gaps, math.ceil(n / n_columns), images.shape[1], pad)
    return images, n_columns, tops, _starts("column_gaps", column_gaps, n_columns, images.shape[2], pad)


def _starts(name: str, gaps: Iterable[int], n: int, size: int, pad: int) -> np.ndarray:
    """Return the first pixel of each of ``n`` rows or columns."""
    starts = np.arange(n) * (size + pad)
    for gap in gaps:
        if not checks.positive_int(name, gap) < n:
            raise ValueError(f"{name} must be from 1 to {n - 1}, after which of {n} a gutter comes, got {gap}")
        starts[gap:] += math.ceil(size / 3)
    return starts


def checked_images(images: np.ndarray) -> np.ndarray:
    """Refuse integers: of those from 0 to 255 every one above 0 would be black."""
    images = checks.unmasked("images", images)
    if images.dtype.kind not in "fb":
        raise ValueError(f"images must be floating point with pixels in [0, 1], got dtype {images.dtype}")
    return images


def draw_ink(sheet: np.ndarray, ax: Axes, extent: tuple[float, float, float, float] | None = None) -> None:
    """Draw grey pixels, 1 as black ink. Not interpolated, they stay one for one in a vector picture."""
    ax.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="none", extent=extent)


def show_sheet(sheet: np.ndarray, ax: Axes, title: str = "") -> Axes:
    """Draw a sheet of grey images, ink dark on white, without axes."""
    draw_ink(sheet, ax)
    ax.set_title(title)
    ax.set_axis_off()
    return ax


def plot_images(
    images: np.ndarray,
    ax: Axes,
    *,
    title: str,
    n_columns: int | None = None,
    row_labels: Sequence[object] | None = None,
    column_labels: Sequence[object] | None = None,
    row_gaps: Iterable[int] = (),
    column_gaps: Iterable[int] = (),
    framed: Iterable[int] = (),
) -> Axes:
    """Draw images as a sheet, prior samples for one. See ``image_grid`` for the shapes and the gutters.

    Pixels are floating point, 0 is white and 1 black; what lies outside, as noise does, is drawn as the nearer one.

    Parameters
    ----------
    row_labels, column_labels : sequence, optional
        What stands to the left of each row, and above each column.
    framed : iterable of int
        Images that get a frame, by their place in ``images``.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    row_gaps, column_gaps = tuple(row_gaps), tuple(column_gaps)
    images = checked_images(images)
    sheet = image_grid(images, n_columns, pad=2, pad_value=0.0, row_gaps=row_gaps, column_gaps=column_gaps)
    tiles, n_columns, tops, lefts = _placed(images, n_columns, 2, row_gaps, column_gaps)
    height, width = tiles.shape[1:]
    show_sheet(sheet, ax, title)
    for i in framed:
        if not 0 <= i < len(tiles):
            raise ValueError(f"framed must be places of images, 0 to {len(tiles) - 1}, got {i}")
        corner = (lefts[i % n_columns] - 1.5, tops[i // n_columns] - 1.5)
        # Half of the frame lies in the pad.
        ax.add_patch(Rectangle(corner, width + 2, height + 2, fill=False, ec=FRAME_COLOR, lw=1.4, clip_on=False))
    if row_labels is not None or column_labels is not None:
        ax.set_axis_on()
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, top=False, labelbottom=False, labeltop=True)
        ax.set_xticks(*_labelled("column_labels", column_labels, lefts + (width - 1) / 2))
        ax.set_yticks(*_labelled("row_labels", row_labels, tops + (height - 1) / 2))
    return ax


def _labelled(name: str, labels: Sequence[object] | None, middles: np.ndarray) -> tuple[np.ndarray, list[str]]:
    if labels is None:
        return np.empty(0), []
    if len(labels) != len(middles):
        raise ValueError(f"{name} must be {len(middles)}, one for each, got {len(labels)}")
    return middles, [str(label) for label in labels]


def plot_reconstructions(
    x: np.ndarray, output: np.ndarray, ax: Axes, *, title: str = "Originals (above) and reconstructions (below)"
) -> Axes:
    """Draw each original above its reconstruction.

    Parameters
    ----------
    x, output : (n, height * width)
        Originals and reconstructions in the same order.
    """
    x, output = checks.unmasked("x", x), checks.unmasked("output", output)
    if x.shape != output.shape:
        raise ValueError(f"output must have the shape of x, {x.shape}, got {output.shape}")
    return plot_images(np.concatenate([x, output]), ax, title=title, n_columns=len(x))
