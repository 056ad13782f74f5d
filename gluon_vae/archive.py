"""The file of a checkpoint: arrays by name behind a checksum, read without trusting a byte of them.

A file is one line of magic with the format's version, one line with the SHA-256 of the rest, and the rest, which
``numpy.savez`` writes: an uncompressed zip of ``.npy`` files. The checksum finds damage; whoever forges a file
computes it too. So the reader knows this one layout and no other: compression, encryption, pickles, and whatever
else a zip or a ``.npy`` file may contain are refused by not being read. It allocates no array before it has gone
through the headers of all of them, which promise no more than the file holds.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

MAGIC = b"gluon-vae checkpoint "
VERSION = b"1"
HEAD = MAGIC + VERSION + b"\n"
MAX_ENTRIES = 30_000  # ten thousand parameters, each with its two moments
MAX_NAME = 60_000  # bytes; a zip has two to count them with
CHUNK = 1 << 16

# The local header of a zip, in front of each entry: signature, version, flags, method, time, date, CRC, size in the
# file, size, lengths of the name and of the extra field; and the one extra field that Python writes, for long sizes.
LOCAL = struct.Struct("<4s5H3I2H")
LONG_SIZES = struct.Struct("<2H2Q")
UTF8 = 0x800
# What NumPy writes in front of an array's values, and only of arrays that MXNet can hold.
NPY = re.compile(
    rb"\{'descr': '(<f[248]|\|[ui]1|<i[48])', 'fortran_order': False, "
    rb"'shape': \(((?:\d{1,18}, ){0,31}(?:\d{1,18},?)?)\), \} *\n"
)


class Entry(NamedTuple):
    """An array that has not been read: what it holds, and where in the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


class Archive:
    """The arrays of an open file, by name.

    Parameters
    ----------
    file : binary file
        Open for reading, and for as long as arrays are to be read.

    Attributes
    ----------
    entries : dict
        The arrays' names, each with its ``Entry``.

    Raises
    ------
    ValueError
        If the file is not of the one layout; the message goes on after the file's name.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        _check_head(file)
        self.entries: dict[str, Entry] = {}
        size = file.seek(0, io.SEEK_END)
        file.seek(len(HEAD) + 65)
        while found := _next_entry(file, size):
            name, entry = found
            if name in self.entries:
                raise ValueError(f"is malformed: two of its entries are named {name[:80]!a}")
            if len(self.entries) == MAX_ENTRIES:
                raise ValueError(f"is malformed: it has more than {MAX_ENTRIES} entries")
            self.entries[name] = entry

    def read(self, name: str) -> np.ndarray:
        """Return an array."""
        dtype, shape, start = self.entries[name]
        array = np.empty(shape, dtype)
        self._file.seek(start)
        if self._file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
            raise ValueError("became shorter while it was read")
        return array


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a file with these arrays.

    Raises
    ------
    ValueError
        If a name is none that a zip can hold.
    """
    for name in arrays:
        encoded = name.encode(errors="replace")
        if "\0" in name or len(encoded) > MAX_NAME or encoded.decode() != name:
            raise ValueError(f"cannot hold an array named {name[:80]!a}")
    buffer = io.BytesIO()
    named: Mapping[str, Any] = arrays  # the types of NumPy 2 have another use for one name
    np.savez(buffer, **named)
    payload = buffer.getbuffer()
    return b"".join([HEAD, hashlib.sha256(payload).hexdigest().encode(), b"\n", payload])


def _check_head(file: io.BufferedIOBase) -> None:
    file.seek(0)
    magic, digest, checksum = file.readline(80), file.readline(65), hashlib.sha256()
    if not magic.startswith(MAGIC):
        raise ValueError("is not a gluon-vae checkpoint")
    if magic != HEAD:
        version = ascii(magic.removeprefix(MAGIC).decode(errors="replace").rstrip())[1:-1]
        raise ValueError(f"is a checkpoint of version {version}; this gluon-vae reads version {VERSION.decode()}")
    while block := file.read(CHUNK):
        checksum.update(block)
    if digest != checksum.hexdigest().encode() + b"\n":
        raise ValueError("is damaged: its checksum is wrong")


def _next_entry(file: io.BufferedIOBase, size: int) -> tuple[str, Entry] | None:
    """Go over one entry of a file of ``size`` bytes; None where there are no more."""
    header = file.read(LOCAL.size)
    if header[:4] in (b"PK\1\2", b"PK\5\6"):  # the zip's table of contents, which says nothing new
        return None
    if len(header) < LOCAL.size or not header.startswith(b"PK\3\4"):
        raise ValueError("is malformed: it holds something between its entries")
    _, _, flags, method, _, _, _, n_packed, n_bytes, n_name, n_extra = LOCAL.unpack(header)
    name, extra = file.read(n_name), file.read(n_extra)
    if n_bytes == n_packed == 0xFFFFFFFF and len(extra) == LONG_SIZES.size:
        _, _, n_bytes, n_packed = LONG_SIZES.unpack(extra)
    start = file.tell()
    if method or flags & ~UTF8 or n_bytes != n_packed or n_bytes > size - start or not name.endswith(b".npy"):
        raise ValueError("is malformed: an entry is not stored as NumPy stores it")
    try:
        return name.decode().removesuffix(".npy"), _entry(file, start + n_bytes)
    except UnicodeDecodeError:
        raise ValueError("is malformed: the name of an entry is not text") from None


def _entry(file: io.BufferedIOBase, end: int) -> Entry:
    """Go over a ``.npy`` file that ends where it should."""
    magic = file.read(10)
    header = file.read(int.from_bytes(magic[8:], "little"))
    match = NPY.fullmatch(header)
    if magic[:8] != b"\x93NUMPY\1\0" or not match:
        raise ValueError("is malformed: an entry is not an array of numbers as NumPy writes it")
    start = file.tell()
    dtype, shape = np.dtype(match[1].decode()), tuple(int(n) for n in match[2].replace(b",", b" ").split())
    # Dimensions beside one of 0 are bounded too: NumPy multiplies them.
    if start + math.prod(shape) * dtype.itemsize != end or math.prod(n or 1 for n in shape) > end:
        raise ValueError("is malformed: an array is not of the size that it claims")
    file.seek(end)
    return Entry(dtype, shape, start)
