"""A folder of pictures, read by Pillow: which files, of which classes, and what becomes of their pixels.

    folder/*.png                     pictures without labels
    folder/cats/*.png  dogs/*.png    a class to a sub-folder
    folder/train/...   test/...      either of these, twice

Each picture is turned as its EXIF orientation says. A grey one of 8 or 16 bits, or of black and white, has one
channel; one with colours, or with a palette, has three. In a set with any colour, grey ones have three equal
channels. Of 16 bits of colour Pillow keeps 8. Colours are those of the file: an ICC profile is not applied.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import checks, pixels
from .shapes import ImageShape
from .storage import open_regular

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
# What file managers and Jupyter leave in folders; anything else that is no picture is refused by name.
IGNORED = (".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints")
GREY, COLOUR = ("1", "L", "LA", "I;16", "I;16B", "I"), ("P", "PA", "RGB", "RGBA")
BACKGROUNDS = ("black", "white")
ORIENTATION = 0x0112  # the tag of EXIF
MAX_PIXELS = 1 << 26  # of a file: 8192 x 8192
PARTS = ("train", "test")


class Picture(NamedTuple):
    """A file, the name of its class if there are any, and what its header says."""

    path: Path
    label: str | None
    size: tuple[int, int]  # height and width, turned
    is_colour: bool


def find(folder: Path) -> list[list[Picture]]:
    """Return the pictures of a folder, in the order of their names: those to train and to test, or all in one list.

    Of a file, which has to be a picture, the one.

    Raises
    ------
    ValueError
        If something in the folder is no picture, or folders and pictures are mixed; names what, and why.
    OSError
        If a folder cannot be read.
    """
    inside = _entries(folder) if folder.is_dir() else []
    is_split = sorted(path.name for path in inside) == sorted(PARTS) and all(path.is_dir() for path in inside)
    paths = [_labelled(folder / part) for part in PARTS] if is_split else [_labelled(folder)]
    if len({part[0][1] is None for part in paths}) > 1:
        raise ValueError(f"{folder} has classes in one of train and test, and none in the other")
    bad = _Bad()
    found: list[list[Picture]] = [[] for _ in paths]
    for part, pictures in zip(paths, found):
        for path, label in part:
            with bad.noted(path):
                pictures.append(_header(path, label))
    bad.refuse()
    return found


def common_shape(pictures: Sequence[Picture], image_shape: Sequence[int] | None = None) -> ImageShape:
    """Return the shape of a set: the one that is asked for, or that which all pictures have.

    Raises
    ------
    ValueError
        If none is asked for and they differ; names two files that do.
    """
    if image_shape is not None:
        return checks.image_shape("image_shape", image_shape)
    first = pictures[0]
    for other in pictures:
        if other.size != first.size:
            raise ValueError(
                f"{first.path} has {first.size[0]} x {first.size[1]} pixels (height x width) and {other.path} has "
                f"{other.size[0]} x {other.size[1]}: give image_shape=(channels, height, width) to have all brought "
                "to one size"
            )
    return 3 if any(picture.is_colour for picture in pictures) else 1, *first.size


def read(pictures: Sequence[Picture], shape: ImageShape, background: str | None = None) -> np.ndarray:
    """Decode pictures.

    One of another size is scaled, by Lanczos' filter, until it covers the shape, and cut to its middle: proportions
    stay, and what sticks out on two sides is lost. Of one that has the size no pixel changes. A colour picture in a
    shape of one channel becomes its luminance (ITU-R 601-2).

    Parameters
    ----------
    pictures : sequence of Picture
    shape : (channels, height, width)
    background : {'black', 'white'}, optional
        What transparent pixels are laid over; without it there must be none.

    Returns
    -------
    (n, channels * height * width) float32
        In [0, 1].

    Raises
    ------
    ValueError
        If a file is damaged or has transparent pixels, or all would not fit into memory; names what, and why.
    """
    pixels.check_memory(str(pictures[0].path.parent), (len(pictures), *shape), np.dtype(np.float32))
    x, bad = np.empty((len(pictures), *shape), np.float32), _Bad()
    for place, picture in zip(x, pictures):
        with bad.noted(picture.path):
            place[...] = _values(picture.path, shape, background)
    bad.refuse()
    return x.reshape(len(x), -1)


def _values(path: Path, shape: ImageShape, background: str | None) -> np.ndarray:
    """Return a picture as (channels, height, width), or with one channel instead of three equal ones."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    with _opened(path) as file:
        image = ImageOps.exif_transpose(file)
        is_colour, is_deep = image.mode in COLOUR, image.mode.startswith("I")
        if image.has_transparency_data:
            image = _opaque(image, background)
        if is_deep:
            image = Image.fromarray(np.asarray(image).astype(np.float32) / np.float32(65535))
        else:
            image = image.convert("RGB" if is_colour and channels == 3 else "L")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    values = np.asarray(image)
    # The filter overshoots at edges; bytes are cut off by Pillow.
    values = values.clip(0, 1) if is_deep else pixels.as_floats(str(path), values)
    return np.moveaxis(values, -1, 0) if values.ndim == 3 else values


def _opaque(image: Image.Image, background: str | None) -> Image.Image:
    """Return a picture without its alpha channel, which says nothing, or is laid over a background."""
    from PIL import Image

    if image.mode.startswith("I"):
        raise ValueError("it has 16 bits and a transparent value: save it without the latter")
    grey_or_colour, layer = "L" if image.mode in GREY else "RGB", image.convert("RGBA")
    if layer.getchannel("A").getextrema() != (255, 255):
        if background is None:
            raise ValueError("it has transparent pixels: give background='white' or 'black' to lay them over that")
        behind = Image.new("RGBA", image.size, background)
        layer = Image.alpha_composite(behind, layer)
    return layer.convert(grey_or_colour)


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name not in IGNORED)


def _labelled(folder: Path) -> list[tuple[Path, str | None]]:
    """Return what should be pictures in a folder, each with the name of its sub-folder if there are any."""
    if not folder.is_dir():
        return [(folder, None)]
    inside = _entries(folder)
    if not inside:
        raise ValueError(f"{folder} has no pictures")
    folders = [path for path in inside if path.is_dir()]
    if not folders:
        return [(path, None) for path in inside]
    if len(folders) < len(inside):
        other = next(path for path in inside if path not in folders)
        raise ValueError(f"{folder} has folders, which would be classes, and beside them {other.name}")
    found: list[tuple[Path, str | None]] = []
    for of_class in folders:
        inside = _entries(of_class)
        if not inside:
            raise ValueError(f"{of_class} has no pictures, and would be a class")
        found += [(path, of_class.name) for path in inside]
    return found


def _header(path: Path, label: str | None) -> Picture:
    if path.is_dir():
        raise ValueError("it is a folder in the folder of a class")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"its name does not end as a picture's, with {', '.join(SUFFIXES)}")
    with _opened(path) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
        width, height = image.size
        size = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
        return Picture(path, label, size, image.mode in COLOUR)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, of which Pillow reads the header now and the rest when it is asked for it."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings(), open_regular(path) as file:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is lower
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"it is damaged or none of {', '.join(FORMATS)}") from None
        except Image.DecompressionBombError:
            raise ValueError(f"it has more pixels than the {MAX_PIXELS} that are read") from None
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"it has {width} x {height} pixels, and at most {MAX_PIXELS} are read")
        # The second picture in a file of the format MPO is a camera's own.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise ValueError("it has more than one picture in it")
        if image.mode not in (*GREY, *COLOUR) or (image.mode == "I" and image.format != "PPM"):
            raise ValueError(
                f"its pixels are of the kind {image.mode}: convert it to RGB, or to grey of 8 or 16 bits"
            )
        yield image


class _Bad:
    """Files that cannot be read, each with the reason."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def noted(self, path: Path) -> Iterator[None]:
        """Go on after an error, whose kinds are as many as the ways in which a picture can be damaged."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.said.append(f"{path} cannot be read: {reason}")

    def refuse(self) -> None:
        """Raise a ``ValueError`` if there are any."""
        if self.said:
            more = f"; and {len(self.said) - 3} more" if len(self.said) > 3 else ""
            raise ValueError("; ".join(self.said[:3]) + more)
