"""IDX files, the format of MNIST: a folder of them, found by their names and read without trusting a header."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from . import pixels
from .storage import open_regular

# train-images-idx3-ubyte.gz, emnist-letters-test-labels-idx1-ubyte, or with a dot: t10k-images.idx3-ubyte
NAME = re.compile(
    r"(?P<set>(?:.*?[-_.])??)(?:(?P<part>train|test|t10k)-)?(?P<kind>images|labels)[-.]idx(?P<n_dims>[1-4])-ubyte"
    r"(?:\.gz)?"
)
N_DIMS = {"images": (3, 4), "labels": (1,)}
UINT8 = 8  # the format's code of the only type that is read


class Pair(NamedTuple):
    """The files of one part: images, and labels if there are any."""

    images: Path
    labels: Path | None


def find(source: Path) -> list[Pair]:
    """Return the pairs of IDX files, to train and to test or all in one, of a folder; [] if it has none.

    Other files beside them are of no concern. Of a file that is there compressed and as it is, the former counts.

    Parameters
    ----------
    source : Path
        A folder with one set, or a file of one of its sets.

    Raises
    ------
    ValueError
        If there is more than one set, or files of a set are missing; says which.
    """
    folder = source if source.is_dir() else source.parent
    given = None if source.is_dir() else NAME.fullmatch(source.name)
    sets: dict[str, dict[tuple[str, str], Path]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (not path.is_file(), path.suffix != ".gz", path.name)):
        match = NAME.fullmatch(path.name)
        if match and (given is None or match["set"] == given["set"]):
            part = "test" if match["part"] == "t10k" else match["part"] or ""
            sets.setdefault(match["set"], {}).setdefault((part, match["kind"]), path)
    if len(sets) > 1:
        some = ", ".join(sorted(min(files.values()).name for files in sets.values()))
        raise ValueError(f"{folder} has several sets of IDX files: give a file of one of them, such as {some}")
    return [pair for files in sets.values() for pair in _pairs(folder, files)]


def read(path: Path) -> np.ndarray:
    """Return the bytes of an IDX file as an array of the shape that its header says.

    Raises
    ------
    ValueError
        If it is damaged, has another type than uint8 or another number of axes than its name says, or would not fit
        into memory, which is known before that is taken; names the file.
    OSError
        If it cannot be read, or is no regular file.
    """
    match = NAME.fullmatch(path.name)
    assert match is not None
    with open_regular(path) as raw, _damage_named(path):
        packed_size = os.fstat(raw.fileno()).st_size
        is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
        file = cast(BinaryIO, gzip.GzipFile(fileobj=raw) if is_gzip else raw)
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4:
            raise ValueError(f"{path} is no IDX file: it does not begin as one does")
        if head[2] != UINT8:
            raise ValueError(f"{path} has numbers of the type {head[2]:#04x}, and only uint8, 0x08, is read")
        n_dims = head[3]
        if n_dims != int(match["n_dims"]) or n_dims not in N_DIMS[match["kind"]]:
            raise ValueError(f"{path} has {n_dims} axes in its header, which are others than its name says")
        shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(n_dims))
        n_bytes, promised = math.prod(shape), f"what its header promises, an array of shape {shape}"
        if n_bytes > (pixels.MOST_OF_DEFLATE if is_gzip else 1) * packed_size:
            raise ValueError(f"{path} cannot hold {promised}: it is damaged or not complete")
        pixels.check_memory(str(path), shape, np.dtype(np.uint8))
        content = file.read(n_bytes)
        if len(content) != n_bytes or file.read(1):
            raise ValueError(f"{path} is {'longer' if len(content) == n_bytes else 'shorter'} than {promised}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _pairs(folder: Path, files: dict[tuple[str, str], Path]) -> list[Pair]:
    parts = sorted({part for part, _ in files}, key=["", "train", "test"].index)
    if parts not in ([], [""], ["train"], ["train", "test"]):
        names = ", ".join(path.name for path in files.values())
        raise ValueError(f"{folder} must have a part to train with, and may have one to test with, got {names}")
    pairs = []
    for part in parts:
        if (part, "images") not in files:
            raise ValueError(f"{files[part, 'labels']} has no file of images beside it")
        pairs.append(Pair(files[part, "images"], files.get((part, "labels"))))
    if len({pair.labels is None for pair in pairs}) > 1:
        lacking = next(pair.images for pair in pairs if pair.labels is None)
        raise ValueError(f"{lacking} has no file of labels beside it, and the other part has one")
    return pairs


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Put a file's name before what is found while it is decompressed."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged ({error})") from None
