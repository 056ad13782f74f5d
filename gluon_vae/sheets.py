"""Sheets of images: many small pictures in rows and columns, with gutters, labels and frames where they help."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from . import checks
from .shapes import as_pictures

FRAME_COLOR = "#e76300"


def image_grid(
    images: np.ndarray,
    n_columns: int | None = None,
    *,
    pad: int = 1,
    pad_value: float = 1.0,
    row_gaps: Iterable[int] = (),
    column_gaps: Iterable[int] = (),
    image_shape: Sequence[int] | None = None,
) -> np.ndarray:
    """Tile images into one picture, row by row.

    Parameters
    ----------
    images : (n, n_output), (n, height, width), (n, 1, height, width) or (n, 3, height, width)
        Flat images are grey and square unless ``image_shape`` is given.
    n_columns : int, optional
        Images per row; as near to a square sheet as possible if not given.
    pad : int
        Pixels between neighbours; none around the sheet.
    pad_value : float
        Their value, also that of places left over in the last row.
    row_gaps, column_gaps : iterable of int
        How many rows or columns come before a gutter, a third of an image wide: (2, 4) for one after the second
        and one after the fourth.
    image_shape : (channels, height, width), optional
        Of flat images.

    Returns
    -------
    (n_rows * (height + pad) - pad, n_columns * (width + pad) - pad), and the gutters
        Of colour (..., 3): red, green and blue come last, as matplotlib has it.

    Raises
    ------
    ValueError
        If the images have another shape, or are none; or a gutter is not between two rows or columns.
    """
    images, n_columns, tops, lefts = _placed(images, n_columns, pad, row_gaps, column_gaps, image_shape)
    checks.finite_array("pad_value", pad_value, ())
    channels, height, width = images.shape[1:]
    sheet = np.full((channels, tops[-1] + height, lefts[-1] + width), pad_value, dtype=images.dtype)
    for i, image in enumerate(images):
        top, left = tops[i // n_columns], lefts[i % n_columns]
        sheet[:, top : top + height, left : left + width] = image
    return sheet[0] if channels == 1 else sheet.transpose(1, 2, 0)


def _placed(
    images: np.ndarray,
    n_columns: int | None,
    pad: int,
    row_gaps: Iterable[int],
    column_gaps: Iterable[int],
    image_shape: Sequence[int] | None,
) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    """Return images of rank 4, how many there are in a row, and the pixels where rows and columns begin."""
    images, pad = as_pictures("images", images, image_shape), checks.non_negative_int("pad", pad)
    n, _, height, width = images.shape
    n_columns = math.ceil(math.sqrt(n)) if n_columns is None else checks.positive_int("n_columns", n_columns)
    tops = _starts("row_gaps", row_gaps, math.ceil(n / n_columns), height, pad)
    return images, n_columns, tops, _starts("column_gaps", column_gaps, n_columns, width, pad)


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


def draw_ink(
    sheet: np.ndarray,
    ax: Axes,
    extent: tuple[float, float, float, float] | None = None,
    *,
    ink: bool = True,
    aspect: float = 1.0,
) -> None:
    """Draw pixels. Not interpolated, they stay one for one in a vector picture.

    Parameters
    ----------
    sheet : (height, width) or (height, width, 3)
        Grey, or red, green and blue; what lies outside of [0, 1] is drawn as the nearer end.
    extent : (left, right, bottom, top), optional
        The coordinates of its edges, where they are not pixels.
    ink : bool
        Whether 1 is black ink in a grey sheet, or light. Colour is light in any case.
    aspect : float
        The height of a unit of the vertical axis in units of the horizontal one.
    """
    if sheet.ndim == 3:
        sheet = np.nan_to_num(np.clip(sheet.astype(float), 0, 1), nan=1)  # NaN is left white, as in a grey sheet
    color_map = "gray_r" if ink else "gray"
    ax.imshow(sheet, cmap=color_map, vmin=0, vmax=1, interpolation="none", extent=extent, aspect=aspect)


def show_sheet(sheet: np.ndarray, ax: Axes, title: str = "", *, ink: bool = True) -> Axes:
    """Draw a sheet of images without axes, grey ones as ink on white or, with ``ink=False``, as light."""
    draw_ink(sheet, ax, ink=ink)
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
    image_shape: Sequence[int] | None = None,
    ink: bool = True,
) -> Axes:
    """Draw images as a sheet, prior samples for one. See ``image_grid`` for the shapes and the gutters.

    Pixels are floating point. Of grey images 0 is white and 1 black, like ink, unless ``ink`` says otherwise; colour
    is drawn as it is. What lies outside of [0, 1], as noise does, is drawn as the nearer end.

    Parameters
    ----------
    row_labels, column_labels : sequence, optional
        What stands to the left of each row, and above each column.
    framed : iterable of int
        Images that get a frame, by their place in ``images``.
    image_shape : (channels, height, width), optional
        Of flat images that are not grey squares.
    ink : bool
        Whether 1 is ink in grey images, as in MNIST, or light, as in photographs.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    row_gaps, column_gaps = tuple(row_gaps), tuple(column_gaps)
    tiles, n_columns, tops, lefts = _placed(checked_images(images), n_columns, 2, row_gaps, column_gaps, image_shape)
    n_channels, height, width = tiles.shape[1:]
    white = float(n_channels == 3 or not ink)
    sheet = image_grid(tiles, n_columns, pad=2, pad_value=white, row_gaps=row_gaps, column_gaps=column_gaps)
    show_sheet(sheet, ax, title, ink=ink)
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
    x: np.ndarray,
    output: np.ndarray,
    ax: Axes,
    *,
    title: str = "Originals (above) and reconstructions (below)",
    image_shape: Sequence[int] | None = None,
    ink: bool = True,
) -> Axes:
    """Draw each original above its reconstruction.

    Parameters
    ----------
    x, output : (n, n_output), or as ``image_grid`` takes images
        Originals and reconstructions in the same order.
    image_shape, ink
        As for ``plot_images``.
    """
    x, output = checks.unmasked("x", x), checks.unmasked("output", output)
    if x.shape != output.shape:
        raise ValueError(f"output must have the shape of x, {x.shape}, got {output.shape}")
    both = np.concatenate([x, output])
    return plot_images(both, ax, title=title, n_columns=len(x), image_shape=image_shape, ink=ink)
