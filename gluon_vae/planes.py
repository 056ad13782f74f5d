"""Pictures of a two-dimensional latent: where images are in it, and what its places decode to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.stats import norm

from . import checks
from .palette import class_colors, class_markers
from .shapes import as_pictures
from .sheets import checked_images, draw_ink, image_grid

MAX_SHAPES = 500
MANY = 10  # classes: with more, names are smaller, and the legend too
LEGEND_ROWS = 25
MOST_CLASSES = 1000  # without names: higher labels count something else
LONGEST_NAME, LONGEST_ENTRY = 3, 14  # characters: on the plane, and in the legend


def plot_latent(
    mu: np.ndarray,
    labels: np.ndarray | None,
    ax: Axes,
    *,
    uniform: bool = False,
    title: str | None = None,
    legend: bool = True,
    class_names: Sequence[str] | None = None,
) -> Axes:
    """Scatter 2-D posterior means, coloured by class, each class's name near its median.

    The axes are square, so that planes side by side are equally high. Beyond twenty classes colours come again, with
    another marker (``class_colors``, ``class_markers``).

    Parameters
    ----------
    mu : (n, 2)
        Posterior means, or draws.
    labels : (n,), optional
        Digits, or any classes from 0 to 999; None draws all points alike.
    uniform : bool
        Map each coordinate through ``norm.cdf``, under which the prior becomes uniform on the square.
    legend : bool
        Say beside the axes which colour is which class.
    class_names : sequence of str, optional
        What each label stands for. If one has more than three characters, the numbers of the classes are on the
        plane, and the names in the legend, up to 14 characters of each.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    mu = checks.codes("mu", mu)
    if mu.shape[1] != 2:
        raise ValueError(f"mu must be 2-D codes of shape (n, 2), got {mu.shape}; a scatter needs n_latent = 2")
    names = None if labels is None else _names(labels, class_names)
    points = norm.cdf(mu) if uniform else mu
    low, high = (np.zeros(2), np.ones(2)) if uniform else (points.min(axis=0), points.max(axis=0))
    if names is None:
        _scatter(points, class_colors(1)[0], "o", len(points), ax)
    else:
        labels = checks.labels("labels", labels, len(mu), len(names))
        _draw_classes(points, labels, names, low, high, ax)
        if legend:
            _add_legend(np.unique(labels), names, ax)
    name = r"\Phi(\mu_{%d})" if uniform else r"\mu_{%d}"
    middle, reach = (low + high) / 2, (0.5 if uniform else 0.525) * (high - low).max() or 0.5
    limits = np.stack([middle - reach, middle + reach], axis=1)
    ax.set(xlabel=f"${name % 1}$", ylabel=f"${name % 2}$", aspect="equal", xlim=limits[0], ylim=limits[1])
    ax.set_title(title or ("Posterior means through norm.cdf" if uniform else "Posterior means"))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _names(labels: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    """Return the name of every class: of those that have none, as many as there are labels, their numbers."""
    if class_names is not None:
        if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
            raise ValueError(f"class_names must be a sequence of str, one for each class, got {class_names!r}")
        return list(class_names)
    labels = np.asarray(labels)
    highest = int(labels.max()) if labels.size and labels.dtype.kind in "iu" else 0
    return [str(label) for label in range(min(max(10, highest + 1), MOST_CLASSES))]


def _scatter(points: np.ndarray, colors: Any, marker: str, n: int, ax: Axes) -> None:
    """Draw points, of ``n`` that there are on the plane."""
    x, y = points.T
    size = float(np.clip(12_000 / n, 3, 20))
    # In a vector picture every point is a shape; many are kept as pixels.
    ax.scatter(
        x, y, s=size, c=colors, marker=marker, alpha=0.75, linewidths=0, clip_on=False, rasterized=n > MAX_SHAPES
    )


def _draw_classes(
    points: np.ndarray, labels: np.ndarray, names: list[str], low: np.ndarray, high: np.ndarray, ax: Axes
) -> None:
    """Scatter points in the colours and markers of their classes, and put a name near the median of each class."""
    colors, markers = np.array(class_colors(len(names))), np.array(class_markers(len(names)))
    for marker in dict.fromkeys(markers[np.unique(labels)]):
        drawn = markers[labels] == marker
        _scatter(points[drawn], colors[labels[drawn]], marker, len(points), ax)
    classes = np.unique(labels)
    medians = np.array([np.median(points[labels == label], axis=0) for label in classes])
    scale = _scale(len(classes))
    distance = 0.085 * scale * (high - low).max()
    on_plane = names if _are_short(names) else [str(label) for label in range(len(names))]
    shape = "circle" if max(map(len, on_plane)) < LONGEST_NAME else "round"
    for label, place in zip(classes, _apart(medians, distance, low + distance / 2, high - distance / 2)):
        box: dict[str, Any] = {"boxstyle": f"{shape},pad=0.18", "fc": "white", "ec": colors[label], "lw": 1.6 * scale}
        size = scale * mpl.rcParams["font.size"]
        ax.annotate(on_plane[label], place, ha="center", va="center", fontweight="bold", fontsize=size, bbox=box)


def _add_legend(classes: np.ndarray, names: list[str], ax: Axes) -> None:
    """Say beside the axes which colour and marker is which class."""
    colors, markers = class_colors(len(names)), class_markers(len(names))
    dots = [Line2D([], [], marker=markers[i], ls="", ms=7, mew=0, color=colors[i]) for i in classes]
    entries = [_shortened(names[i]) if _are_short(names) else f"{i}  {_shortened(names[i])}" for i in classes]
    title = "digit" if set(names) <= set("0123456789") else "class"
    looks: dict[str, Any] = {"ncols": legend_columns(len(classes))}
    if len(classes) > MANY:
        looks |= {"fontsize": "small" if len(classes) < 60 else "x-small", "handlelength": 1, "columnspacing": 1}
    ax.legend(dots, entries, title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, **looks)


def legend_columns(n: int) -> int:
    """Return how many columns the legend of so many classes has."""
    return math.ceil(n / LEGEND_ROWS)


def _are_short(names: list[str]) -> bool:
    return max(map(len, names)) <= LONGEST_NAME


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_ENTRY else name[: LONGEST_ENTRY - 1] + "…"


def _scale(n: int) -> float:
    """Return by how much the names of so many classes are smaller than those of ten."""
    return 1.0 if n <= MANY else max(0.55, math.sqrt(MANY / n))


def _apart(places: np.ndarray, distance: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Move places, (n, 2), away from each other until none is nearer to another than ``distance``.

    They stay between ``low`` and ``high``, or in the middle where there is no room. Of a hundred rounds, that is: in
    a crowd they may end nearer.
    """
    low, high = np.minimum(low, (low + high) / 2), np.maximum(high, (low + high) / 2)
    angles = np.arange(len(places))
    aside = 1e-3 * distance * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for _ in range(100):
        places = np.clip(places, low, high) + aside  # equal ones, in a corner too, have a direction to leave in
        steps = places[:, None] - places
        between = np.hypot(steps[..., 0], steps[..., 1]) + np.diag(np.full(len(places), np.inf))
        if between.min(initial=np.inf) >= 0.99 * distance:
            break
        push = np.maximum(distance - between, 0) / 2 / between
        places = places + (push[..., None] * steps).sum(axis=1)
    return np.clip(places, low, high)


def plot_latent_grid(
    images: np.ndarray,
    ticks: np.ndarray,
    ax: Axes,
    *,
    title: str = "The latent plane, decoded",
    image_shape: Sequence[int] | None = None,
    ink: bool = True,
) -> Axes:
    """Draw the images decoded at the nodes of ``latent_grid`` with the latent coordinates on the axes.

    Parameters
    ----------
    images : (n * n, n_output), or as ``image_grid`` takes images
        Decodings of the nodes, in their order.
    ticks : (n,)
        The coordinates along an axis.
    image_shape, ink
        As for ``plot_images``.
    """
    ticks = checks.finite_array("ticks", ticks)
    if ticks.ndim != 1:
        raise ValueError(f"ticks must be the coordinates along an axis, (n,), got shape {ticks.shape}")
    n = len(ticks)
    if len(images) != n * n:
        raise ValueError(f"images must be the {n * n} decodings of an {n} x {n} grid, got {len(images)}")
    pictures = as_pictures("images", checked_images(images), image_shape)
    sheet = image_grid(pictures, n, pad=0)
    # One unit of the axes is one image, so that a node sits at the centre of its own.
    height, width = pictures.shape[2:]
    draw_ink(sheet, ax, (-0.5, n - 0.5, -0.5, n - 0.5), ink=ink, aspect=height / width)
    places, names = _round_ticks(ticks)
    ax.set_xticks(places, names)
    ax.set_yticks(places, names)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    return ax


def _round_ticks(ticks: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return round coordinates, 0 among them, as places between the nodes of a grid, and their names.

    Whole numbers have precedence over halves, and outer ones over inner ones. A grid in whose reach there are fewer
    than two, or that does not ascend, has its own coordinates named.
    """
    n = len(ticks)
    if n > 1 and (np.diff(ticks) > 0).all():
        unit = 10.0 ** np.floor(np.log10(abs(ticks).max()))
        halves = np.arange(np.ceil(ticks[0] / unit * 2), np.floor(ticks[-1] / unit * 2) + 1)
        halves = halves[np.lexsort([-abs(halves), halves % 2 != 0, halves != 0])]
        kept: list[tuple[float, float]] = []
        for z in halves * unit / 2:
            place = float(np.interp(z, ticks, np.arange(n)))
            if all(abs(place - other) > max(0.99, n / 14) for other, _ in kept):
                kept.append((place, z))
        if len(kept) > 1:
            places, values = map(np.array, zip(*sorted(kept)))
            return places, [f"{z + 0.0:g}" for z in values]
    shown = np.unique(np.linspace(0, n - 1, min(n, 9)).round().astype(int))
    return shown, [f"{ticks[i] + 0.0:.2g}" for i in shown]
