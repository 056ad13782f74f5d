"""What would stop a run, found before it begins: a model too large, a folder that cannot take its files."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mxnet.gluon import HybridBlock
from mxnet.name import NameManager

from .machine import gigabytes, memory

PARAMETER_BYTES = 4 * 4  # float32: a parameter, its gradient and Adam's two moments
LAYER_BYTES = 4096  # the objects of a layer in the encoder and one in the decoder take more


def check_memory(build: Callable[[int], HybridBlock], n_layers: int, n_processes: int = 1) -> None:
    """Refuse a model that cannot be in this machine's memory, without building it.

    Parameters
    ----------
    build : callable
        Makes a model of a number of layers, whose parameters are not initialised.
    n_layers : int
        How many of them the model has.
    n_processes : int
        How many processes of this machine have the model.

    Raises
    ------
    ValueError
        If parameters, gradients and moments alone are more than there is; says how much.
    """
    # Every layer beyond the first adds what the second does, so two small models tell the size of any.
    with NameManager():  # MXNet counts the names that it gives: models that are only counted take none
        one, two = (_n_parameters(build(n)) for n in (1, 2))
    n_parameters = one + (n_layers - 1) * (two - one)
    needed = n_processes * (n_parameters * PARAMETER_BYTES + n_layers * LAYER_BYTES)
    there = memory()
    if needed > there:
        each = f" in each of {n_processes} processes" if n_processes > 1 else ""
        raise ValueError(
            f"a model of {n_parameters:,} parameters needs {gigabytes(needed)} of memory for them, their gradients "
            f"and Adam's moments{each}, and there are {gigabytes(there)}"
        )


def check_folder(folder: Path, names: Sequence[str], to_read: Sequence[str] = ()) -> None:
    """Make a folder, and refuse it if files of these names cannot be written there, or those there not be read.

    Raises
    ------
    ValueError
        If it is no folder, nothing can be written to it, or one of the names belongs to something else than a file.
    OSError
        If one of the files in ``to_read`` is there and cannot be read.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, and a folder is needed")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        os.scandir(folder).close()
    except OSError as error:
        raise ValueError(f"nothing can be written to {folder}: {error.strerror}") from error
    for path in (folder / name for name in names):
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is not a file, and a file of this name is to be written")
    for path in (folder / name for name in to_read):
        with suppress(FileNotFoundError):
            path.open("rb").close()


def _n_parameters(net: HybridBlock) -> int:
    return sum(math.prod(parameter.shape) for parameter in net.collect_params().values())
