"""Images of your own, from arrays, IDX files and folders of pictures, as every model takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import array_files, checks, classes, picture_files, pixels, sources
from .data import Mnist, is_mnist
from .shapes import ImageShape

TEST_SHARE = 0.2
MOST_NAMES, MOST_LETTERS = 12, 100  # of the classes, in a line


class Images(NamedTuple):
    """Images to train and to test a model with, and what they are.

    Parameters
    ----------
    x_train, x_test : (n, n_output) float32
        Flat pixels in [0, 1]; of colour, all of red, then of green, then of blue.
    y_train, y_test : (n,) int64 or None
        Labels from 0 up; None where there are none.
    image_shape : (int, int, int)
        Channels, 1 or 3, height and width, whose product is ``n_output``.
    class_names : tuple of str or None
        What each label stood for; None without labels.
    ink : bool
        Whether 1 is ink on white paper, as in MNIST, and not light.
    """

    x_train: np.ndarray
    y_train: np.ndarray | None
    x_test: np.ndarray
    y_test: np.ndarray | None
    image_shape: ImageShape
    class_names: tuple[str, ...] | None
    ink: bool


def load_images(
    source: str | os.PathLike[str] | np.ndarray,
    *,
    labels: Any = None,
    image_shape: Sequence[int] | None = None,
    test_share: float | None = None,
    seed: int = 0,
    background: str | None = None,
    in_memory: bool = True,
) -> Images:
    """Load images of your own: an array, a ``.npy`` or ``.npz`` file, IDX files, or a folder of pictures.

    Bytes become floating-point numbers by division by 255, here and nowhere else; other numbers have to be in
    [0, 1] already. What is ambiguous, damaged, or not understood is refused by name, and nothing is left out.
    See chapter 18.

    Parameters
    ----------
    source : path, array, 'sample' or 'mnist'
        An array or a ``.npy`` file
            of (n, height, width), (n, channels, height, width), (n, height, width, channels) or (n, width), with 1
            or 3 channels; uint8, or floating point in [0, 1].
        A ``.npz`` file
            with such arrays: ``x_train`` and, if there is a test part, ``x_test``, with ``y_train`` and ``y_test`` if
            there are labels (also ``train_images``, ``train_labels`` ...); or all in one, ``x``, ``images``,
            ``data`` or ``arr_0``, with ``y``, ``labels``, ``target`` or ``arr_1``. ``class_names`` names labels 0,
            1, ... Pickles are never read.
        A folder of IDX files
            of uint8, as MNIST, Fashion-MNIST and EMNIST are published: ``train-images-idx3-ubyte``,
            ``train-labels-idx1-ubyte``, ``t10k-...`` or ``test-...``, or one pair without a part, compressed (.gz)
            or not, with any prefix. If there are several sets, a file of one of them. Other files are not looked at.
            EMNIST's pictures are stored with rows and columns exchanged, and stay so.
        A folder of pictures
            (PNG, JPEG, BMP, GIF, TIFF, WebP, PPM), without labels, or in one sub-folder for each class; or
            twice that, in ``train`` and ``test``. Besides, there may be only .DS_Store, Thumbs.db, desktop.ini and
            .ipynb_checkpoints. EXIF orientation is heeded; 8 or 16 bits of grey, black and white, palettes
            and colour are read; a set with any colour has three channels.
        'sample' or 'mnist'
            as for ``load_mnist``.
    labels : (n,), optional
        Of an array: integers or text.
    image_shape : (channels, height, width), optional
        What the images are, where a shape could mean two things: flat rows are square and grey without it. Pictures
        of a folder are brought to it: scaled until they cover it, proportions kept, and cut to the middle. Without
        it they must have one size.
    test_share : float, optional
        Share of the images to test with where the source has no test part, 0.2 unless given; of every class, if there
        are labels, and at least one of each.
    seed : int
        Of this split.
    background : {'black', 'white'}, optional
        What transparent pixels of pictures are laid over; without it they are refused.
    in_memory : bool
        False leaves the float32 numbers of a ``.npy`` file on the disk, mapped into memory. The last images are then
        the test part: nothing is shuffled.

    Returns
    -------
    Images
        Flat and float32. Labels are numbered from 0 in the order of their values, which ``class_names`` keeps.

    Raises
    ------
    ValueError
        If a source, an array, a file or an argument is not as described, or needs more memory than there is; says
        which, and what to do.
    OSError
        If a file cannot be read, or is no regular one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> data = gluon_vae.load_images(digits.images / 16, labels=digits.target)
    >>> gluon_vae.images.describe(data)
    '1438 training and 359 test pictures, 1 x 8 x 8, 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9'
    """
    shape = checks.optional(checks.image_shape)("image_shape", image_shape)
    share = TEST_SHARE if test_share is None else checks.fraction("test_share", test_share)
    checks.non_negative_int("seed", seed)
    checks.optional(checks.choice(picture_files.BACKGROUNDS))("background", background)
    if labels is not None and not isinstance(source, np.ndarray):
        raise ValueError("labels are given beside an array, and source is none")
    if not checks.flag("in_memory", in_memory):
        return _mapped(source, shape, share)
    parts, class_names, ink = sources.found(source, labels, shape, background)
    if len(parts) > 1 and test_share is not None:
        raise ValueError(
            f"test_share is for a source without a test part, got {test_share} for {source}, which has one"
        )
    rows = []
    for part in parts:
        x, shape = pixels.flat(part.name, part.x, shape)
        rows.append(x)
    assert shape is not None
    y: Sequence[np.ndarray | None] = [None] * len(parts)
    if any(part.y is not None for part in parts):
        labelled = [(part.label_name, part.y) for part in parts if part.y is not None]
        y, class_names = classes.numbered(labelled, class_names)
        for part, x, numbers in zip(parts, rows, y):
            if len(numbers) != len(x):
                raise ValueError(f"{part.label_name} has {len(numbers)} labels, and {part.name} has {len(x)} images")
    if len(parts) == 1:
        places = classes.split(len(rows[0]), y[0], class_names, share, seed)
        rows = [rows[0][some] for some in places]
        y = [None if y[0] is None else y[0][some] for some in places]
    x_train, x_test = (pixels.as_floats(part.name, x) for part, x in zip([*parts, parts[0]], rows))
    return Images(x_train, y[0], x_test, y[1], shape, class_names, ink)


def describe(images: Images | Mnist) -> str:
    """Say in a line what was loaded: how many, of which shape, of which classes.

    MNIST is called by its name if every image and label is that of the published files.
    """
    n_train, n_test = len(images.x_train), len(images.x_test)
    if isinstance(images, Mnist):
        return f"{n_train} training and {n_test} test digits, grey"
    name = "MNIST: " if is_mnist(images) else ""
    shape = " x ".join(map(str, images.image_shape))
    found = f"{name}{n_train} training and {n_test} test pictures, {shape}"
    if images.class_names is None:
        return f"{found}, no labels"
    names = [" ".join(name.split()) for name in images.class_names]
    n_shown = min(len(names), MOST_NAMES)
    while n_shown > 1 and len(", ".join(names[:n_shown])) > MOST_LETTERS:
        n_shown -= 1
    more = ", ..." if n_shown < len(names) else ""
    return f"{found}, {len(names)} classes: {', '.join(names[:n_shown])}{more}"


def _mapped(source: Any, image_shape: ImageShape | None, share: float) -> Images:
    """Leave an array on the disk, its last images as the test part."""
    path = sources.existing(source)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"in_memory=False is for the float32 numbers of a .npy file, got {path}")
    array = array_files.mapped(path)
    shape, is_last = pixels.reading(str(path), array.shape, image_shape)
    if is_last and shape[0] > 1:
        raise ValueError(f"{path} must have its channels before height and width to stay on the disk")
    rows = array.reshape(len(array), -1)
    checks.images(str(path), rows)
    n_test = classes.n_test(len(rows), share)
    return Images(rows[:-n_test], None, rows[-n_test:], None, shape, None, False)
