"""The pictures of a VAE. Every function takes arrays and an ``ax``, and returns the ``ax``.

Learning curves are drawn here, sheets of images in ``sheets``, the latent plane in ``planes``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from . import checks
from .palette import DIGIT_COLORS, class_colors, class_markers
from .planes import plot_latent, plot_latent_grid
from .sheets import image_grid, plot_images, plot_reconstructions, show_sheet

__all__ = [
    "DIGIT_COLORS",
    "TEST_COLOR",
    "TRAIN_COLOR",
    "class_colors",
    "class_markers",
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

TRAIN_COLOR, TEST_COLOR = "#3f90da", "#e76300"
# Of a histogram of scores: bars, and how many widths of the first group are shown on either side of it.
N_BINS, REACH = 50, 1


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
    beyond = "; those beyond are in the outer bars" if (every < low).any() or (every > high).any() else ""
    ax.set(title=title, xlabel=f"{label}{beyond}", ylabel="share of the group's images")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
