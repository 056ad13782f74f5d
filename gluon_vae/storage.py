"""Files that are either the old ones or the new ones, never half of each."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it into place if the block succeeds.

    The temporary file keeps the suffix, which tells matplotlib the format. It is flushed to disk
    before the move, and removed if anything fails, so that ``path`` is left as it was. What a killed
    process could not remove, the next call for the same ``path`` does. A link stays, and its target is replaced.

    Raises
    ------
    OSError
        If the file cannot be written, or there is something that is not a regular file.
    """
    target = target_of(path)
    beside = target.with_suffix(Path(path).suffix)
    _remove_leftovers(beside)
    handle, temporary = _create_locked(beside)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def as_path(name: str, value: Any) -> Path:
    """Accept the path of a file, or raise a ``ValueError`` that names the argument.

    A number is none: it would be taken for that of an open file.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise ValueError(f"{name} must be a path, got {type(value).__name__}")
    if not text or "\0" in text or text.endswith(os.sep):
        raise ValueError(f"{name} must be the path of a file, got {text!r}")
    return Path(text)


def target_of(path: str | os.PathLike[str]) -> Path:
    """Return where a file is or would be, behind all links.

    Raises
    ------
    OSError
        If there is something that is not a regular file: a folder, a device, a FIFO, a link to itself.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
    return target


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file for reading, and nothing else: a FIFO would wait for a writer, a device might never end.

    Raises
    ------
    OSError
        If there is no such file, it is not a regular one, or it cannot be read.
    """
    target_of(path)
    return open(path, "rb")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out whether ``replacing`` can create its temporary file; what is there stays as it is.

    Raises
    ------
    OSError
        If it cannot; names the path.
    """
    target = target_of(path)
    try:
        handle, temporary = _create_locked(target.with_suffix(Path(path).suffix))
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    temporary.unlink()
    os.close(handle)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON; infinity and NaN are refused."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# Whether the writer of a temporary file still lives is asked of the kernel: while it writes it holds
# a lock on the file, which ends with the process, however that ends. A process number in the name
# would say less: it may belong to another process by now, and means nothing in another container or
# on another machine that shares the folder. A file without a name (O_TMPFILE) would leave nothing
# behind, but it cannot take the place of an existing file, and what writes here wants a path.


def _prefix(path: Path) -> str:
    return f".{path.stem}.partial-"


def _create_locked(path: Path) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
        with suppress(OSError):  # without locks on this file system nothing is taken for a leftover either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # taken for a leftover in the instant before it was locked


def _remove_leftovers(path: Path) -> None:
    ours = re.compile(re.escape(_prefix(path)) + "[a-z0-9_]{8}" + re.escape(path.suffix))  # as mkstemp names them
    for name in filter(ours.fullmatch, os.listdir(path.parent)):
        # An error says that the file is being written, already gone, or not ours to remove.
        with suppress(OSError), open(path.parent / name, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(file.name)


def _sync_folder(folder: Path) -> None:
    """Make a move inside a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
