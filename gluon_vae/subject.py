"""What a command of the command line is about: a model, the images that are given for it, and how both are drawn."""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

import mxnet as mx
from mxnet.gluon import HybridBlock

from . import checkpoint, checks, plotting, reading, shapes
from .data import Mnist
from .figures import Draw, Size, sheet_size
from .images import Images, describe

Data = Mnist | Images
Loader = Callable[[argparse.Namespace], Data]  # by the options --data, --image-shape, --test-share, --background


class Result(NamedTuple):
    """What a command has computed, before anything is written.

    Attributes
    ----------
    arrays : dict
        For the ``.npz`` file; None is left out.
    said : str
        For the terminal.
    size : (float, float)
        Of the picture, in inches.
    draws : sequence of callable
        What draws its axes; without any there is no picture.
    """

    arrays: dict[str, Any]
    said: str
    size: Size = (1, 1)
    draws: Sequence[Draw] = ()


class Subject(NamedTuple):
    """A model, and the images that are given for it.

    Attributes
    ----------
    net : HybridBlock
        Of a checkpoint.
    data : Images, Mnist or None
        None where the command needs none, and none was given.
    shape : (int, int, int)
        Channels, height and width of an image.
    ink : bool
        Whether 1 is ink on white, and not light.
    """

    net: HybridBlock
    data: Data | None
    shape: shapes.ImageShape
    ink: bool

    @property
    def images(self) -> Data:
        """The data, of a command that has some."""
        assert self.data is not None
        return self.data

    @property
    def white(self) -> float:
        """The value of paper."""
        return float(self.shape[0] == 3 or not self.ink)

    @property
    def names(self) -> tuple[str, ...]:
        """What the labels are called: by the data, and else by their numbers."""
        known = () if self.data is None else self.data.class_names or ()
        return known + tuple(map(str, range(len(known), self.net.n_classes or 0)))

    def labels(self, y: np.ndarray | None) -> np.ndarray | None:
        """Return labels if the model is told any."""
        return None if self.net.n_classes is None else y

    def class_of(self, option: str, text: str) -> int:
        """Return the label that an option means by a class's name, or by its number."""
        names = self.names
        if text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise ValueError(f"{option} must be one of {known}, or a number from 0 to {len(names) - 1}, got {text!r}")

    def sheet(self, images: np.ndarray, n_columns: int, title: str, **settings: Any) -> tuple[Size, Draw]:
        """Return the size of a sheet of images, and what draws it (``plotting.plot_images``)."""
        settings |= {"title": title, "n_columns": n_columns, "image_shape": self.shape, "ink": self.ink}
        longest = max(map(len, settings.get("column_labels") or ("",)))
        size = sheet_size(n_columns, math.ceil(len(images) / n_columns), 0.6, 0.5 + 0.08 * longest, self.shape)

        def draw(ax: Axes) -> None:
            plotting.plot_images(images, ax, **settings)
            if longest > 2:  # names would run into each other
                ax.tick_params(axis="x", labelrotation=90)

        return size, draw


def load(args: argparse.Namespace, device: mx.Context, load_data: Loader) -> Subject:
    """Load what the options name, and print what it is.

    Raises
    ------
    ValueError
        If a file is not what it should be, the model cannot be rebuilt, or the images are not such as it takes.
    OSError
        If a file cannot be read.
    """
    net, facts = _model(args.checkpoint, device)
    named = f"{type(net).__name__}, {net.n_latent}-D latent"
    if args.data is None and args.command == "generate":
        if args.test_share is not None:
            raise ValueError("--test-share is of --data, which is not given")
        if args.image_shape is not None:
            check_shape(net, "--image-shape", args.image_shape)
        shape = shapes.shape_of("the width of an image", net.n_output, net.image_shape or args.image_shape)
        print(named)
        return Subject(net, None, shape, ink=True)
    source = "sample" if args.data is None else args.data
    shape_given = {"data": source, "image_shape": asked_shape(net, source, args)}
    data = load_data(argparse.Namespace(**vars(args) | shape_given))
    given = "the sample (--data names other data)" if args.data is None else "--data"
    check_shape(net, given, data.image_shape)
    if net.n_classes is not None:
        if data.class_names is None and args.command not in ("generate", "score"):
            raise ValueError(f"{given} has no labels, and {type(net).__name__} is told them")
        if len(data.class_names or ()) > net.n_classes:
            raise ValueError(f"{given} has {len(data.class_names or ())} classes, and the model {net.n_classes}")
    print(f"{named}; {describe(data)} ({_origin(data, facts)})")
    return Subject(net, data, data.image_shape, data.ink)


def asked_shape(net: HybridBlock, source: str, args: argparse.Namespace) -> Sequence[int] | None:
    """Return the shape to load images with: arrays have the model's rows, pictures are resized on request only."""
    shape: Sequence[int] | None = args.image_shape
    return net.image_shape if shape is None and Path(source).suffix.lower() in (".npy", ".npz") else shape


def places(option: str, values: Sequence[Any], n: int) -> np.ndarray:
    """Return places among n images, or raise a ``ValueError`` that names the option."""
    index = np.array(values)
    if index.min() < 0 or index.max() >= n:
        raise ValueError(
            f"{option} must be places in the test part, 0 to {n - 1}, got {index.min()} to {index.max()}"
        )
    return index


def check_shape(net: HybridBlock, given: str, shape: shapes.ImageShape) -> None:
    """Refuse images that are not of the model's shape, or where it has none, of its width."""
    if net.image_shape not in (None, shape) or math.prod(shape) != net.n_output:
        wanted = " x ".join(map(str, net.image_shape or (net.n_output,)))
        raise ValueError(
            f"{given} must be of images of {wanted} numbers, as the model is, got {' x '.join(map(str, shape))}"
        )


def _model(path: Path, device: mx.Context) -> tuple[HybridBlock, dict[str, Any]]:
    """Return the model of a checkpoint, and what decided its run."""
    with reading.opened(path) as file:
        name, facts = file.meta["model"], file.meta["run"]
        if name not in reading.MODELS or file.meta["config"] is None:
            raise ValueError(
                f"holds a {checks.shown(name)}, which only your code can build: build it in a script, and load the "
                "file with gluon_vae.load(path, net)"
            )
    net = checkpoint.load(path)
    net.collect_params().reset_ctx(device)
    net.hybridize()
    return net, facts


def _origin(data: Data, facts: dict[str, Any]) -> str:
    """Say whether the test images were kept from the training, as far as checksums tell."""
    kept = [zlib.crc32(np.ascontiguousarray(x)) for x in (data.x_train, data.x_test)]
    if kept == [facts.get("training images"), facts.get("test images")]:
        return "as in its training"
    if kept[1] == facts.get("training images"):
        return "the test images are those that it was trained on"
    return "not as in its training"
