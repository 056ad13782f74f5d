"""The pictures of a VAE. Every function takes arrays and an ``ax``, and returns the ``ax``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.stats import norm

from . import checks
from .shapes import as_pictures
from .sheets import checked_images, draw_ink, image_grid, plot_images, plot_reconstructions, show_sheet

__all__ = [
    "DIGIT_COLORS",
    "TEST_COLOR",
    "TRAIN_COLOR",
    "image_grid",
    "plot_history",
    "plot_images",
    "plot_latent",
    "plot_latent_grid",
    "plot_reconstructions",
    "plot_scores",
    "show_sheet",
    "use_course_style",
]

# Ten colours that stay distinct under the common colour-vision deficiencies: P. Tol's "muted" scheme,
# whose tenth colour, a pale grey, is replaced by a dark one. Digits often confused (4 and 9, 3, 5 and
# 8) get distant colours.
DIGIT_COLORS = (
    "#332288",
    "#cc6677",
    "#ddcc77",
    "#117733",
    "#88ccee",
    "#882255",
    "#999933",
    "#444444",
    "#44aa99",
    "#aa4499",
)
TRAIN_COLOR, TEST_COLOR = "#3f90da", "#e76300"
N_BINS, REACH = (
    50,
    2,
)  # of a histogram of scores: bars, and how many widths of the first group it shows on either side
MAX_SHAPES = 500


def use_course_style() -> None:
    """Have the figures that follow look like the course's, and a notebook show them as SVG.

    Sets matplotlib's ``rcParams`` from ``gluon_vae/course.mplstyle``, and the format in which IPython keeps figures,
    where it draws them into a notebook.
    """
    from matplotlib import style  # here, since it reads many files

    style.use("gluon_vae.course")
    shell = "IPython" in sys.modules and sys.modules["IPython"].get_ipython()
    if shell:
        from matplotlib_inline.config import InlineBackend

        inline = InlineBackend.instance(parent=shell)
        inline.figure_formats = {"svg"}
        # Without the date of its making a figure that is drawn again is the same file.
        inline.set_trait("print_figure_kwargs", {"bbox_inches": "tight", "metadata": {"Date": None}})


def plot_history(history: dict[str, list[float]], ax: Axes, *, term: str = "elbo", title: str | None = None) -> Axes:
    """Draw a learning curve for training and, where there is one, test images.

    Parameters
    ----------
    history : dict
        As ``fit`` returns it.
    term : str
        'elbo', or a term of the history without its prefix: 'loss', 'nll', 'kl'.
    """
    key, sign = ("loss", -1) if term == "elbo" else (term, 1)
    if f"train_{key}" not in history:
        known = [name.removeprefix("train_") for name in history if name.startswith("train_")]
        raise ValueError(f"term must be one of elbo, {', '.join(known)}; got {term!r}")
    name = {"elbo": "ELBO", "loss": "loss", "nll": "NLL", "kl": "KL"}.get(term, term)
    for part, color, style in (("train", TRAIN_COLOR, "-"), ("test", TEST_COLOR, "--")):
        if f"{part}_{key}" in history:
            values = sign * np.asarray(history[f"{part}_{key}"])
            marker = "o" if len(values) == 1 else None
            ax.plot(history["epoch"], values, style, color=color, label=part, lw=2, marker=marker)
    ax.set(title=title or f"{name} per epoch", xlabel="epoch", ylabel=f"{name} (nats per image)")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_latent(
    mu: np.ndarray,
    labels: np.ndarray,
    ax: Axes,
    *,
    uniform: bool = False,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Scatter 2-D posterior means, coloured by digit, each digit's name near its median.

    The axes are square, so that planes side by side are equally high.

    Parameters
    ----------
    mu : (n, 2)
        Posterior means, or draws.
    labels : (n,)
        Digits, 0 to 9.
    uniform : bool
        Map each coordinate through ``norm.cdf``, under which the prior becomes uniform on the square.
    legend : bool
        Say beside the axes which colour is which digit.
    """
    mu = checks.codes("mu", mu)
    if mu.shape[1] != 2:
        raise ValueError(f"mu must be 2-D codes of shape (n, 2), got {mu.shape}; a scatter needs n_latent = 2")
    labels = checks.labels("labels", labels, len(mu))
    points = norm.cdf(mu) if uniform else mu
    size = float(np.clip(12_000 / len(points), 3, 20))
    colors = np.array(DIGIT_COLORS)[labels]
    # In a vector picture every point is a shape; many are kept as pixels.
    rasterized = len(points) > MAX_SHAPES
    x, y = points.T
    ax.scatter(x, y, s=size, c=colors, alpha=0.75, linewidths=0, clip_on=False, rasterized=rasterized)
    digits = np.unique(labels)
    medians = np.array([np.median(points[labels == digit], axis=0) for digit in digits])
    low, high = (np.zeros(2), np.ones(2)) if uniform else (points.min(axis=0), points.max(axis=0))
    distance = 0.085 * (high - low).max()
    for digit, place in zip(digits, _apart(medians, distance, low + distance / 2, high - distance / 2)):
        box: dict[str, Any] = {"boxstyle": "circle,pad=0.18", "fc": "white", "ec": DIGIT_COLORS[digit], "lw": 1.6}
        ax.annotate(str(digit), place, ha="center", va="center", fontweight="bold", bbox=box)
    name = r"\Phi(\mu_{%d})" if uniform else r"\mu_{%d}"
    middle, reach = (low + high) / 2, (0.5 if uniform else 0.525) * (high - low).max() or 0.5
    limits = np.stack([middle - reach, middle + reach], axis=1)
    ax.set(xlabel=f"${name % 1}$", ylabel=f"${name % 2}$", aspect="equal", xlim=limits[0], ylim=limits[1])
    ax.set_title(title or ("Posterior means through norm.cdf" if uniform else "Posterior means"))
    if legend:
        dots = [Line2D([], [], marker="o", ls="", ms=7, mew=0, color=DIGIT_COLORS[digit]) for digit in digits]
        ax.legend(dots, map(str, digits), title="digit", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


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


def plot_scores(
    scores: Mapping[str, np.ndarray],
    ax: Axes,
    *,
    threshold: float | None = None,
    label: str = "-log p(x) (nats per image)",
    title: str = "Scores: the higher, the stranger",
) -> Axes:
    """Draw histograms of scores, as shares of each group, and the threshold from which on an image is an anomaly.

    Scores far outside of the first group are counted in the outermost bars, and the axis says so.

    Parameters
    ----------
    scores : dict
        Groups, each with its scores, (n,): ordinary images first.
    threshold : float, optional
        Where there is one (``anomaly_threshold``).
    label : str
        What the scores are, and in which units.
    """
    groups = {name: checks.finite_array(name, values) for name, values in scores.items()}
    if not groups:
        raise ValueError("scores must have a group at least, got none")
    first, every = next(iter(groups.values())), np.concatenate(list(groups.values()))
    width = float(np.ptp(first)) or 1.0
    low, high = max(every.min(), first.min() - REACH * width), min(every.max(), first.max() + REACH * width)
    high = max(high, low + width / N_BINS, low if threshold is None else min(threshold, first.max() + REACH * width))
    edges = np.linspace(low, high, N_BINS + 1)
    for (name, values), color in zip(groups.items(), (TRAIN_COLOR, TEST_COLOR, *DIGIT_COLORS)):
        shares = np.full(len(values), 1 / len(values))
        ax.hist(np.clip(values, low, high), edges, weights=shares, color=color, alpha=0.6, label=name)
    if threshold is not None:
        ax.axvline(threshold, color="black", ls="--", lw=1.4, label=f"threshold, {threshold:.1f}")
    beyond = " and beyond" if (every < low).any() or (every > high).any() else ""
    ax.set(title=title, xlabel=f"{label}{beyond}", ylabel="share of the group's images")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
