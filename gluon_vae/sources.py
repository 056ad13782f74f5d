"""A source of images: which kind it is, and what is found there, as it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import array_files, classes, idx, picture_files
from .data import load_mnist
from .shapes import ImageShape

ACCEPTED = "source must be an array, 'sample', 'mnist', a .npy, .npz or IDX file, or a folder"


class Part(NamedTuple):
    """Pixels of any layout and labels of any kind, with names for messages; the files, where each image has one."""

    name: str
    x: np.ndarray
    label_name: str = ""
    y: np.ndarray | None = None
    files: Sequence[Path] = ()


class Found(NamedTuple):
    """Parts to train and to test, or all in one; names of the classes, if there are any; whether 1 is ink."""

    parts: list[Part]
    class_names: tuple[str, ...] | None
    ink: bool


def found(source: Any, labels: Any, image_shape: ImageShape | None, background: str | None) -> Found:
    """Return what a source has; ``load_images`` says what each argument may be.

    Raises
    ------
    ValueError
        If the source is of no known kind, or something in it is not as it should be.
    OSError
        If a file cannot be read.
    """
    if isinstance(source, np.ndarray):
        y = None if labels is None else np.asarray(labels)
        return Found([Part("source", source, "labels", y)], None, ink=False)
    if source in ("sample", "mnist"):
        mnist = load_mnist(source)
        parts = [
            Part("x_train", mnist.x_train, "y_train", mnist.y_train),
            Part("x_test", mnist.x_test, "y_test", mnist.y_test),
        ]
        return Found(parts, mnist.class_names, mnist.ink)
    path = existing(source)
    if path.is_dir():
        if pairs := idx.find(path):
            return Found(_of_idx(pairs), None, ink=True)
        return Found(of_pictures(path, image_shape, background), None, ink=False)
    if idx.NAME.fullmatch(path.name):
        return Found(_of_idx(idx.find(path)), None, ink=True)
    if path.suffix.lower() == ".npy":
        return Found([Part(str(path), array_files.read(path))], None, ink=False)
    if path.suffix.lower() == ".npz":
        arrays = array_files.read_archive(path)
        return Found(_of_archive(path, arrays), _class_names(path, arrays), ink=False)
    raise ValueError(f"{ACCEPTED}, got the file {path}")


def existing(source: Any) -> Path:
    """Accept the path of something that exists, or raise a ``ValueError``."""
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"{ACCEPTED}, got {type(source).__name__}")
    path = Path(os.fsdecode(source))
    if not os.fspath(source) or not path.exists():
        raise ValueError(f"{ACCEPTED}, got {str(source)!r}, which does not exist")
    return path


def _of_idx(pairs: Sequence[idx.Pair]) -> list[Part]:
    return [
        Part(str(images), idx.read(images), str(of), None if of is None else idx.read(of)) for images, of in pairs
    ]


def of_pictures(folder: Path, image_shape: ImageShape | None, background: str | None) -> list[Part]:
    """Return the parts of a folder of pictures, or one picture."""
    found = picture_files.find(folder)
    shape = picture_files.common_shape([picture for part in found for picture in part], image_shape)
    parts = []
    for part in found:
        y = None if part[0].label is None else np.array([picture.label for picture in part])
        x = picture_files.read(part, shape, background).reshape(-1, *shape)
        parts.append(Part(str(folder), x, str(folder), y, [picture.path for picture in part]))
    return parts


def _of_archive(path: Path, arrays: dict[str, np.ndarray]) -> list[Part]:
    suffixes = [suffix for suffix in ("", "_train", "_test") if f"x{suffix}" in arrays]
    wanted = {f"{kind}{suffix}" for suffix in suffixes for kind in "xy"}
    has = set(arrays) - {"class_names"}
    if suffixes not in ([""], ["_train"], ["_train", "_test"]) or not has <= wanted:
        raise ValueError(f"{path} has {', '.join(sorted(has)) or 'nothing'}, and is to have {array_files.UNDERSTOOD}")
    if has != wanted and any(name in has for name in ("y", "y_train", "y_test")):
        raise ValueError(f"{path} has {', '.join(sorted(has))}: labels are missing for a part")
    return [
        Part(f"x{suffix} of {path}", arrays[f"x{suffix}"], f"y{suffix} of {path}", arrays.get(f"y{suffix}"))
        for suffix in suffixes
    ]


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...] | None:
    names = arrays.get("class_names")
    if names is None:
        return None
    if not {"y", "y_train"} & set(arrays):
        raise ValueError(f"{path} has class_names, and no labels that they would be the names of")
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise ValueError(
            f"class_names of {path} must be text, one name to a class, got {names.dtype}, shape {names.shape}"
        )
    return tuple(map(str, classes.as_text(names)))
