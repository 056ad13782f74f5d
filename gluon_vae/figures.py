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
from .planes import legend_columns
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
    if is_vae := hasattr(net, "nll_given"):
        planes = [{"uniform": False}, {"uniform": True}]
    width = 12.5 if is_vae else 6.5
    if data.class_names is not None and len(data.class_names) > 10:
        planes[0]["legend"] = not is_vae  # one is large enough
        column = 0.6 if max(map(len, data.class_names)) < 4 else 1.2
        width += (legend_columns(len(data.class_names)) - 1) * column
    scatter = partial(plotting.plot_latent, mu, data.y_test, class_names=data.class_names)
    return (width, 5.6), [partial(scatter, **options) for options in planes]


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
        title, columns = _arrangement(n_classes, data)
        above = 0.4 + (0.3 + 0.08 * max(map(len, columns)) if columns else 0)
        size = sheet_size(n_classes or 10, 10, 0.6, above, data.image_shape)
        samples = generate(net, z, y)

        def draw_samples(ax: Axes) -> None:
            options = looks | {"n_columns": n_classes, "column_labels": columns}
            plotting.plot_images(samples, ax, title=title, **options)
            if columns and max(map(len, columns)) > 2:
                ax.tick_params(axis="x", labelrotation=90)

        picture("samples.png", size, draw_samples)
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
    """Return the size in inches of a sheet of images, with ``above`` more of height.

    The longer side of an image is ``tile``, or as many dots as it has pixels. For the title, a sheet is as wide as
    ten square ones at least.
    """
    _, height, width = image_shape
    longer = max(height, width)
    tile = max(tile, longer / DPI)
    sides = tile * max(10, n_columns * width / longer), tile * n_rows * height / longer
    shrink = min(1, MOST_INCHES / max(sides))
    return sides[0] * shrink, sides[1] * shrink + above


def _arrangement(n_classes: int | None, data: Data) -> tuple[str, list[str] | None]:
    """Return the title of a sheet of samples, and what is to be said above its columns."""
    if n_classes is None:
        return "Prior samples", None
    numbers = list(map(str, range(n_classes)))
    classes = list(data.class_names or numbers)
    title = f"One draw from the prior to a row, one {'digit' if numbers == classes else 'class'} to a column"
    return title, None if numbers == classes else classes  # digits say themselves which they are
