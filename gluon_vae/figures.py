"""The pictures of a trained model, written to files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mxnet.gluon import HybridBlock

from . import plotting
from .latent import encode, generate, latent_grid, prior_draws, reconstruct
from .storage import replacing

Draw = Callable[[Axes], Any]
Size = tuple[float, float]  # inches

DPI = 120
MOST_INCHES = 24  # of a picture's side, however many classes or pixels there are
NAMES = ("elbo.png", "loss.png", "reconstructions.png", "samples.png", "latent.png", "latent_grid.png")


class Data(Protocol):
    """What is drawn of a run's data; ``Mnist`` and ``Images`` have it.

    Attributes
    ----------
    x_test : (n, n_output)
        Flat images, pixels in [0, 1].
    y_test : (n,), optional
        Their labels.
    image_shape : (int, int, int)
        Channels, height and width.
    class_names : tuple of str, optional
        What each label stands for.
    ink : bool
        Whether 1 is ink in grey images, or light.
    """

    @property
    def x_test(self) -> np.ndarray: ...
    @property
    def y_test(self) -> np.ndarray | None: ...
    @property
    def image_shape(self) -> tuple[int, int, int]: ...
    @property
    def class_names(self) -> tuple[str, ...] | None: ...
    @property
    def ink(self) -> bool: ...


def names(net: HybridBlock) -> list[str]:
    """Return which of the pictures, ``NAMES``, there are of a model."""
    is_vae, is_plane = hasattr(net, "nll_given"), net.n_latent == 2
    there_is = (is_vae, not is_vae, True, is_vae, is_plane, is_plane and is_vae and net.n_classes is None)
    return [name for name, yes in zip(NAMES, there_is) if yes]


def save_picture(path: Path, size: Size, *draw: Draw) -> None:
    """Draw axes beside each other, each by a function of its own, and write them to a PNG file.

    Whatever a matplotlibrc asks for: what a run draws has its own looks.
    """
    from matplotlib import style  # here, since it reads many files and only drawing needs it

    with style.context("default"):
        fig = Figure(figsize=size, layout="constrained")
        for ax, function in zip(fig.subplots(1, len(draw), squeeze=False).flat, draw):
            function(ax)
        with replacing(path) as temporary:
            fig.savefig(temporary, dpi=DPI)


def latent_planes(net: HybridBlock, mu: np.ndarray, data: Data) -> tuple[Size, list[Draw]]:
    """Return the size of a picture of a 2-D latent, and what draws its axes.

    Those are the test images' posterior means, as they are and through ``norm.cdf``, or an autoencoder's codes.
    """
    planes: list[dict[str, Any]] = [{"title": "Codes"}]
    if hasattr(net, "nll_given"):
        planes = [{"uniform": False}, {"uniform": True}]
        if data.y_test is not None and data.class_names is not None and len(data.class_names) > 10:
            planes[0]["legend"] = False  # which would leave the planes no room
    draw: list[Draw] = [
        partial(plotting.plot_latent, mu, data.y_test, class_names=data.class_names, **options) for options in planes
    ]
    return (12.5 if len(draw) > 1 else 6.5, 5.6), draw


def save_figures(
    folder: str | os.PathLike[str], net: HybridBlock, data: Data, history: dict[str, list[float]], *, seed: int = 0
) -> list[Path]:
    """Draw what a trained model has to show, as PNG files.

    ``elbo.png``, learning curves (``loss.png`` where there is no ELBO), and ``reconstructions.png`` of ten test
    images; of a VAE ``samples.png``, decoded draws from the prior, one label to a column where the model takes
    labels; of a two-dimensional latent ``latent.png``, the test images' posterior means, as they are and through
    ``norm.cdf``, or their codes, coloured by class where there are labels, and, of a VAE without labels,
    ``latent_grid.png``, the plane in steps of equal prior probability.

    Parameters
    ----------
    folder : path
        An existing folder.
    net : HybridBlock
        A trained model of this package.
    data : Mnist, Images or alike
        Whose test images are drawn, in their shape; see ``Data``.
    history : dict
        As ``fit`` returned it.
    seed : int
        Fixes the draws from the prior.

    Returns
    -------
    list of pathlib.Path
        The files, in the order above.
    """
    folder, wanted = Path(folder), names(net)
    is_vae, n_classes = "elbo.png" in wanted, net.n_classes
    y_test = None if n_classes is None else data.y_test

    def picture(name: str, size: Size, *draw: Draw) -> None:
        save_picture(folder / name, size, *draw)

    term = "elbo" if is_vae else "loss"
    looks: dict[str, Any] = {"image_shape": data.image_shape, "ink": data.ink}
    picture(f"{term}.png", (7, 4.5), lambda ax: plotting.plot_history(history, ax, term=term))
    some = data.x_test[:10]
    output = reconstruct(net, some, None if y_test is None else y_test[:10])
    size = sheet_size(10, 2, 0.9, 0.5, data.image_shape)
    picture("reconstructions.png", size, lambda ax: plotting.plot_reconstructions(some, output, ax, **looks))
    if "samples.png" in wanted:
        z, y = prior_draws(100, net.n_latent, seed), None
        if n_classes is not None:
            z, y = np.repeat(z[:10], n_classes, axis=0), np.tile(np.arange(n_classes), 10)
        size = sheet_size(n_classes or 10, 10, 0.6, 0.4, data.image_shape)
        samples = generate(net, z, y)
        picture("samples.png", size, lambda ax: _draw_samples(samples, n_classes, data, looks, ax))
    if "latent.png" in wanted:
        size, draw = latent_planes(net, encode(net, data.x_test, y_test), data)
        picture("latent.png", size, *draw)
    if "latent_grid.png" in wanted:
        nodes, ticks = latent_grid(20, n_sigma=3)
        images, size = generate(net, nodes), sheet_size(20, 20, 0.37, 0.2, data.image_shape)
        picture("latent_grid.png", size, lambda ax: plotting.plot_latent_grid(images, ticks, ax, **looks))
    return [folder / name for name in wanted]


def sheet_size(
    n_columns: int, n_rows: int, tile: float, above: float, image_shape: tuple[int, int, int]
) -> tuple[float, float]:
    """Return the size in inches of a sheet of images, ``tile`` the width of one unless it has more pixels than that.

    As wide as ten would be at least, for the title; with ``above`` more of height.
    """
    _, height, width = image_shape
    tile = max(tile, width / DPI)
    sides = max(10, n_columns) * tile, n_rows * tile * height / width
    shrink = min(1, MOST_INCHES / max(sides))
    return sides[0] * shrink, sides[1] * shrink + above


def _draw_samples(samples: np.ndarray, n_classes: int | None, data: Data, looks: dict[str, Any], ax: Axes) -> None:
    """Draw decoded draws from the prior; of a conditional model say which column is which class."""
    title, columns = "Prior samples", None
    if n_classes is not None:
        classes = [str(label) for label in range(n_classes)]
        are_digits = classes == list(data.class_names or ())
        title = f"One draw from the prior to a row, one {'digit' if are_digits else 'class'} to a column"
        if not are_digits:  # digits need not be told what they are
            columns = list(data.class_names or classes)
    plotting.plot_images(samples, ax, title=title, n_columns=n_classes, column_labels=columns, **looks)
    if columns is not None and max(map(len, columns)) > 2:
        ax.tick_params(axis="x", labelrotation=90)
