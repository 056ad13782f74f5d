"""Arrays of images in ``.npy`` and ``.npz`` files, read without pickles and without trusting a header."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from . import pixels
from .storage import open_regular

# What an archive may call its arrays, whatever the case of the letters.
NAMES = {
    "x_train": ("x_train", "train_images"),
    "y_train": ("y_train", "train_labels"),
    "x_test": ("x_test", "test_images"),
    "y_test": ("y_test", "test_labels"),
    "x": ("x", "images", "data", "arr_0"),
    "y": ("y", "labels", "target", "arr_1"),
    "class_names": ("class_names", "target_names", "label_names"),
}
UNDERSTOOD = (
    "x_train and x_test with y_train and y_test, or x, images, data or arr_0 with y, labels, target or arr_1, and "
    "class_names"
)
MAX_HEADER = 10_000  # bytes; NumPy reads no more either
LONGEST_START = 12 + MAX_HEADER


class Header(NamedTuple):
    """What the beginning of a ``.npy`` file says of the rest, and how long that beginning is."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    start: int


def read(path: Path) -> np.ndarray:
    """Return the array of a ``.npy`` file.

    Raises
    ------
    ValueError
        If it is damaged, holds Python objects, or would not fit into memory, which is known before that is taken;
        names the file.
    OSError
        If it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        header = _checked_header(str(path), file, os.fstat(file.fileno()).st_size)
        pixels.check_memory(str(path), header.shape, header.dtype)
        return _array(str(path), file.read(), header)


def mapped(path: Path) -> np.memmap:
    """Return the array of a ``.npy`` file without reading it: it stays on the disk, and cannot be written to.

    Raises
    ------
    ValueError
        As ``read`` does, or if its numbers are not float32, one image after another.
    OSError
        If it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        header = _checked_header(str(path), file, os.fstat(file.fileno()).st_size)
    if header.dtype != np.float32 or header.is_fortran:
        raise ValueError(
            f"{path} must hold float32 numbers of this machine in C order to stay on the disk, got dtype "
            f"{header.dtype}{' in Fortran order' if header.is_fortran else ''}: load it into memory, or convert it"
        )
    return np.memmap(path, header.dtype, "r", header.start, header.shape)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file by the names of ``NAMES``.

    Raises
    ------
    ValueError
        If it is damaged, has an array of another name or two for one purpose, or as ``read``; names the file.
    OSError
        If it cannot be read, or is no regular file.
    """
    known = {name: purpose for purpose, names in NAMES.items() for name in names}
    entries: dict[str, zipfile.ZipInfo] = {}
    with open_regular(path) as file, ExitStack() as opened:
        with _damage_named(str(path)):
            archive = opened.enter_context(zipfile.ZipFile(file))
        for info in archive.infolist():
            purpose = known.get(info.filename.removesuffix(".npy").lower())
            if purpose is None:
                raise ValueError(f"{path} has {info.filename!r}, and the names that are understood are {UNDERSTOOD}")
            if purpose in entries:
                raise ValueError(f"{path} has both {entries[purpose].filename} and {info.filename}")
            entries[purpose] = info
        size = os.fstat(file.fileno()).st_size
        return {purpose: _read_entry(path, archive, info, size) for purpose, info in entries.items()}


def _read_entry(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> np.ndarray:
    name = f"{info.filename} of {path}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise ValueError(f"{name} is compressed or encrypted in a way that NumPy does not write")
    most = pixels.MOST_OF_DEFLATE if info.compress_type == zipfile.ZIP_DEFLATED else 1
    if info.compress_size > size or info.file_size > most * info.compress_size:
        raise ValueError(f"{name} promises {info.file_size} bytes, more than the file can hold")
    with ExitStack() as opened:
        with _damage_named(name):
            file = opened.enter_context(archive.open(info))
            start = file.read(LONGEST_START)
        header = _checked_header(name, io.BytesIO(start), info.file_size)
        pixels.check_memory(name, header.shape, header.dtype)
        with _damage_named(name):
            content = start[header.start :] + file.read()
    return _array(name, content, header)


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Put a name before what is found while a file is taken apart: the kinds of errors are many."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name} is damaged or no .npz file ({error})") from None


def _checked_header(name: str, file: IO[bytes], size: int) -> Header:
    """Read the header of a ``.npy`` file of so many bytes, which has to hold exactly the array that it promises."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0"):
        raise ValueError(f"{name} is no .npy file of numbers or text: it does not begin as one does")
    n_bytes = file.read(2 if magic[6] == 1 else 4)
    n = int.from_bytes(n_bytes, "little")
    if n > MAX_HEADER:
        raise ValueError(f"{name} is damaged: it has a header of {n} bytes")
    parse: Any = npy.read_array_header_1_0 if magic[6] == 1 else npy.read_array_header_2_0
    try:
        shape, is_fortran, dtype = parse(io.BytesIO(n_bytes + file.read(n)))
    except Exception as error:  # what NumPy raises depends on how the header is damaged
        raise ValueError(f"{name} is damaged: its header cannot be read ({error})") from None
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not read: save numbers, or text as dtype=str")
    start = len(magic) + len(n_bytes) + n
    if dtype.itemsize == 0 or start + math.prod(shape) * dtype.itemsize != size or min(shape, default=1) < 0:
        raise ValueError(
            f"{name} is not as long as its header says, an array of shape {shape} and dtype {dtype}: it is damaged "
            "or not complete"
        )
    if 0 in shape:
        raise ValueError(f"{name} is empty: an array of shape {shape}")
    return Header(shape, is_fortran, dtype, start)


def _array(name: str, content: bytes, header: Header) -> np.ndarray:
    shape, is_fortran, dtype, _ = header
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} became shorter while it was read")
    x = np.frombuffer(bytearray(content), dtype)  # which may be written to
    return x.reshape(shape[::-1]).T if is_fortran else x.reshape(shape)
