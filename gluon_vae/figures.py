"""The pictures of a trained model, written to files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mxnet.gluon import HybridBlock

from . import plotting
from .data import Mnist
from .images import Images
from .latent import encode, generate, latent_grid, prior_draws, reconstruct
from .storage import replacing

Draw = Callable[[Axes], Any]
Size = tuple[float, float]  # inches

DPI = 120
NAMES = ("elbo.png", "loss.png", "reconstructions.png", "samples.png", "latent.png", "latent_grid.png")


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


def latent_planes(net: HybridBlock, mu: np.ndarray, data: Mnist | Images) -> tuple[Size, list[Draw]]:
    """Return the size of a picture of a 2-D latent, and what draws its axes.

    Those are the test images' posterior means, as they are and through ``norm.cdf``, or an autoencoder's codes.
    """
    if hasattr(net, "nll_given"):
        planes: list[dict[str, Any]] = [{"uniform": False}, {"uniform": True}]
    else:
        planes = [{"title": "Codes"}]
    draw: list[Draw] = [partial(plotting.plot_latent, mu, data.y_test, **options) for options in planes]
    return (12.5 if len(draw) > 1 else 6.5, 5.6), draw


def save_figures(
    folder: str | os.PathLike[str], net: HybridBlock, data: Mnist, history: dict[str, list[float]], *, seed: int = 0
) -> list[Path]:
    """Draw what a trained model has to show, as PNG files.

    ``elbo.png``, learning curves (``loss.png`` where there is no ELBO), and ``reconstructions.png`` of ten test
    images; of a VAE ``samples.png``, decoded draws from the prior, one label to a column where the model takes
    labels; of a two-dimensional latent ``latent.png``, the test images' posterior means, as they are and through
    ``norm.cdf``, or their codes, and, of a VAE without labels, ``latent_grid.png``, the plane in steps of equal
    prior probability.

    Parameters
    ----------
    folder : path
        An existing folder.
    net : HybridBlock
        A trained model of this package.
    data : Mnist
        Whose test images are drawn.
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
    picture(f"{term}.png", (7, 4.5), lambda ax: plotting.plot_history(history, ax, term=term))
    some = data.x_test[:10]
    output = reconstruct(net, some, None if y_test is None else y_test[:10])
    picture("reconstructions.png", (9, 2.3), lambda ax: plotting.plot_reconstructions(some, output, ax))
    if "samples.png" in wanted:
        z, digits, title = prior_draws(100, net.n_latent, seed), None, "Prior samples"
        if n_classes is not None:
            z, digits = np.repeat(z[:10], n_classes, axis=0), np.tile(np.arange(n_classes), 10)
            title = "One draw from the prior to a row, one digit to a column"
        samples = generate(net, z, digits)
        picture(
            "samples.png", (6, 6.4), lambda ax: plotting.plot_images(samples, ax, title=title, n_columns=n_classes)
        )
    if "latent.png" in wanted:
        size, draw = latent_planes(net, encode(net, data.x_test, y_test), data)
        picture("latent.png", size, *draw)
    if "latent_grid.png" in wanted:
        nodes, ticks = latent_grid(20, n_sigma=3)
        images = generate(net, nodes)
        picture("latent_grid.png", (7.4, 7.6), lambda ax: plotting.plot_latent_grid(images, ticks, ax))
    return [folder / name for name in wanted]
