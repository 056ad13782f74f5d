"""A checkpoint's file and a model, compared before a number of either is touched.

What a configuration needs is not computed a second time: making a model allocates no parameter, so the model is made,
once the file's own size bounds how many layers it has, and asked for its names and shapes. Only then are arrays read,
each as large as one of that model.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from mxnet.gluon import HybridBlock, Parameter

from . import metadata, storage
from .adam import BETA1, BETA2, moments_of, trained_parameters
from .archive import Archive, Entry
from .autoencoders import Autoencoder, DenoisingAutoencoder, SparseAutoencoder
from .metadata import shown
from .semi_supervised import SemiSupervisedVAE
from .vae import VAE, ConditionalVAE, ConvVAE

MODELS = {
    model.__name__: model
    for model in (
        Autoencoder,
        SparseAutoencoder,
        DenoisingAutoencoder,
        VAE,
        ConditionalVAE,
        ConvVAE,
        SemiSupervisedVAE,
    )
}

# Whatever the gradients were, their running mean is at most so many times the root of that of their squares (Cauchy
# and Schwarz): no step from moments that keep this is larger than one of training. A tenth is for rounding.
MOST_OF_MEAN = 1.1 * (1 - BETA1) / math.sqrt((1 - BETA2) * (1 - BETA1**2 / BETA2))

Arrays = dict[str, np.ndarray]


class Opened:
    """A checkpoint of which everything has been checked but the arrays' values, which have not been read.

    Parameters
    ----------
    file : binary file
        Open for reading, and for as long as arrays are to be read.

    Attributes
    ----------
    meta : dict
        What it says of itself.
    parameters, moments, best : dict
        Names, each with an ``archive.Entry``. ``best`` is empty unless an epoch before the last was the best one.

    Raises
    ------
    ValueError
        If it is not as training writes it; the message goes on after the file's name. So do those of the methods.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._archive = Archive(file)
        self.parameters: dict[str, Entry] = {}
        self.moments: dict[str, Entry] = {}
        self.best: dict[str, Entry] = {}
        groups = {"parameters": self.parameters, "moments": self.moments, "best": self.best}
        for key, entry in self._archive.entries.items():
            group, _, name = key.partition("/")
            if group in groups:
                groups[group][name] = entry
            elif key != "meta":
                raise ValueError(f"is malformed: it has an entry {shown(key)}")
        text = self._archive.entries.get("meta")
        if text is None or text.dtype != np.uint8 or len(text.shape) != 1 or text.shape[0] > metadata.MAX_BYTES:
            raise ValueError(f"is malformed: it has no JSON of at most {metadata.MAX_BYTES} bytes")
        self.meta = metadata.decoded(self._archive.read("meta").tobytes())
        self._trained = {moment.rpartition("/")[0] for moment in self.moments}
        expected = {moment: name for name in self._trained for moment in moments_of(name)}
        if set(expected) != set(self.moments):
            raise ValueError(f"is malformed: it has one moment of two, {_some(set(expected) ^ set(self.moments))}")
        for moment, name in expected.items():
            like = self.parameters.get(name)
            if like is None or self.moments[moment][:2] != like[:2] or like.dtype.kind != "f":
                raise ValueError(f"is malformed: {shown(moment)} is not like a parameter")
        expected_best = self.parameters if metadata.has_better(self.meta) else {}
        for name in set(self.best) | set(expected_best):
            one, like = self.best.get(name), expected_best.get(name)
            if one is None or like is None or one[:2] != like[:2]:
                raise ValueError(f"is malformed: it has not the parameters of its best epoch, {shown(name)}")

    def check_fit(self, net: HybridBlock) -> None:
        """Raise a ``ValueError`` if names, shapes or dtypes of parameters are not those of a model."""
        other = "holds the parameters of another architecture"
        parameters = named_parameters(net)
        if set(self.parameters) != set(parameters):
            raise ValueError(f"{other}: they differ in {_some(set(self.parameters) ^ set(parameters))}")
        for name, (dtype, shape, _) in self.parameters.items():
            parameter = parameters[name]
            if not _same_shape(shape, parameter.shape):
                raise ValueError(
                    f"{other}: {shown(name)} has shape {shape} in the file and {parameter.shape} in the model"
                )
            if dtype != np.dtype(parameter.dtype):
                raise ValueError(
                    f"{other}: {shown(name)} is {dtype} in the file and {np.dtype(parameter.dtype)} in the model"
                )

    def check_trained(self, net: HybridBlock) -> None:
        """Raise a ``ValueError`` if a parameter of a model is trained that has no moments yet."""
        others = set(trained_parameters(net)) - self._trained
        if others:
            raise ValueError(f"is of a run that trained other parameters: not {_some(others)}")

    def read(self, net: HybridBlock | None = None) -> tuple[Arrays, Arrays, Arrays]:
        """Return parameters, moments and the best parameters, if others, whose values are possible.

        For ``net``, if that is where they go.
        """
        parameters, moments = self._values("parameters", self.parameters), self._values("moments", self.moments)
        best = self._values("best", self.best)
        for name in self._trained:
            mean, square = (moments[moment] for moment in moments_of(name))
            rounding = 1e3 * math.sqrt(np.finfo(mean.dtype).tiny)  # where squares are too small for the dtype
            if (square < 0).any() or (np.abs(mean) > MOST_OF_MEAN * np.sqrt(square) + rounding).any():
                raise ValueError(f"is malformed: no gradients have the moments of {shown(name)}")
        first: dict[Parameter, str] = {}
        for name, parameter in ({} if net is None else named_parameters(net)).items():
            one = first.setdefault(parameter, name)
            if not all(np.array_equal(values[name], values[one]) for values in (parameters, best) if values):
                raise ValueError(f"is malformed: {shown(name)} and {shown(one)}, which are one, differ")
        return parameters, moments, best

    def _values(self, group: str, entries: Iterable[str]) -> Arrays:
        values = {name: self._archive.read(f"{group}/{name}") for name in entries}
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise ValueError(f"is malformed: {shown(name)} has a number that is not finite")
        return values


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Opened]:
    """Open a checkpoint; put its name before what is found wrong with it.

    Raises
    ------
    ValueError
        If it is not as training writes it, or what is done with it says so.
    OSError
        If there is no such file, or it cannot be read.
    """
    path = storage.as_path("path", path)
    with storage.open_regular(path) as file, named(path):
        yield Opened(file)


@contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put a file's name before the message of a ``ValueError``."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} {error}") from None


def rebuilt(file: Opened) -> HybridBlock:
    """Make the model that a file describes, without values, or raise a ``ValueError``."""
    name, config = file.meta["model"], file.meta["config"]
    if name not in MODELS or config is None:
        raise ValueError(f"holds a {shown(name)}, which only your code can build: build it and give it as net")
    metadata.check_config(MODELS[name], config, len(file.parameters))
    try:
        net = MODELS[name](**config)
    except Exception as error:  # of that class itself is what MXNet raises of sizes beyond its own
        raise ValueError(f"is malformed: its {name} cannot be made ({shown(error)})") from None
    dtypes = {entry.dtype for entry in file.parameters.values()}
    if dtypes == {np.dtype(np.float64)}:
        net.cast(np.float64)
    return net


def named_parameters(net: HybridBlock) -> dict[str, Parameter]:
    """Return a model's parameters by their place in the model.

    Raises
    ------
    ValueError
        If there are parameters that a name does not lead to.
    """
    parameters: dict[str, Parameter] = net._collect_params_with_prefix()
    lost = set(net.collect_params().values()) - set(parameters.values())
    if lost:
        names = _some(parameter.name for parameter in lost)
        raise ValueError(f"cannot hold every parameter of the model, two of which have one name: {names}")
    return parameters


def _same_shape(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> bool:
    # A dimension of 0, or -1 under NumPy's semantics, is one that the first call would tell.
    return expected is None or (
        len(shape) == len(expected) and all(wanted in (n, 0, -1) for n, wanted in zip(shape, expected))
    )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(map(shown, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
