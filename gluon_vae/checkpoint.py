"""Checkpoints: all that a run needs to go on, in a file that is never unpickled.

A file is written beside its target, read back, and only then moved into place. One that is read is refused with a
line, or is a checkpoint, whoever wrote it: ``archive`` is the layout, ``metadata`` what a file says of itself, and
``reading`` compares it with the model. Nothing of a model is changed before all of the file is known.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mxnet import init, nd
from mxnet.gluon import HybridBlock
from mxnet.name import NameManager

from . import checks, metadata, reading, storage
from .adam import Adam, moments_of, trained_parameters
from .archive import MAGIC, Archive, pack
from .arrays import to_numpy
from .metadata import COLUMN, shown
from .reading import MODELS
from .storage import replacing


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    ``parameters`` and ``moments`` map names to arrays; ``meta`` is JSON: ``model`` and ``config``,
    from which the model is built, and what training needs beyond them. ``best`` has the parameters of the best
    epoch, if that is kept and is not the last one.
    """

    parameters: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]
    meta: dict[str, Any]
    best: Mapping[str, np.ndarray] = MappingProxyType({})

    @classmethod
    def of(
        cls,
        net: HybridBlock,
        adam: Adam,
        facts: dict[str, Any],
        history: dict[str, list[float]],
        best: dict[str, np.ndarray] | None = None,
    ) -> Checkpoint:
        """Take what a run needs to go on: parameters, moments, what decides it (``run.facts``), and its history.

        Of the history only the columns of ``fit``: what a callback adds to it is its own. ``best`` are the parameters
        of the best epoch.

        Raises
        ------
        FloatingPointError
            If a number of the history or a moment stopped being finite, with which no run can go on.
        """
        unknown = set() if "patience" in facts else {"best_epoch"}
        history = {name: column for name, column in history.items() if COLUMN.fullmatch(name) and name not in unknown}
        moments = adam.moments()
        last = {name: column[-1] for name, column in history.items()}
        for name, value in (last | moments).items():
            if not np.isfinite(value).all():
                raise FloatingPointError(f"{name} stopped being finite by epoch {len(history['epoch'])}")
        meta = {"model": facts["model"], "config": facts["config"], "run": facts}
        meta |= {"n_steps": adam.n_steps, "history": history}
        return cls(parameters_of(net), moments, meta, (best or {}) if metadata.has_better(meta) else {})

    def restore(self, net: HybridBlock, adam: Adam) -> dict[str, list[float]]:
        """Give a model and its optimizer the saved state; return the history so far."""
        set_parameters(net, self.parameters)
        adam.restore(self.moments, self.meta["n_steps"])
        history: dict[str, list[float]] = self.meta["history"]
        return history


def parameters_of(net: HybridBlock) -> dict[str, np.ndarray]:
    """Return a model's parameters by their place in the model."""
    return {name: to_numpy(p.list_data()[0]) for name, p in net._collect_params_with_prefix().items()}


def set_parameters(net: HybridBlock, values: dict[str, np.ndarray]) -> None:
    """Set all parameters of a model."""
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(nd.from_numpy(values[name].view()))


def begin(
    path: str | os.PathLike[str] | None,
    net: HybridBlock,
    facts: dict[str, Any],
    *,
    resume: bool = False,
    saves: bool = True,
) -> Checkpoint | None:
    """Find out, before anything is trained, whether a run can keep checkpoints; return the one that it goes on from.

    Parameters
    ----------
    path : path, optional
        Where they are to be kept; None for nowhere.
    net : HybridBlock
        The model, initialised or not. It is only looked at.
    facts : dict
        What decides the run (``run.facts``).
    resume : bool
        Read what ``path`` holds; without the file there is nothing to go on from.
    saves : bool
        Whether this process is the one that writes.

    Raises
    ------
    ValueError
        If the path is none, or leads to a file that is no checkpoint; if the model or its settings do not go into a
        file; with ``resume``, if there is no path, the file is damaged or malformed, or anything that decides a run
        (``run.facts``) was another, but for ``n_epochs``, which may be more.
    OSError
        If nothing can be written there: the folder does not exist, it is a folder itself or no regular file, or it
        is not permitted.
    """
    if path is None:
        if resume:
            raise ValueError("resume needs the path of a checkpoint, got checkpoint=None")
        return None
    path = storage.as_path("checkpoint", path)
    _rehearse(net, facts)
    saved = _read_to_resume(path, net, facts) if resume and path.exists() else None
    if saves:
        _check_own(path)
        storage.check_writable(path)
    return saved


def write(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a failure leaves the file that was there as it was.

    Raises
    ------
    OSError
        If the file cannot be written, a full disk included.
    ValueError
        If the file that is there is no checkpoint, or what was written does not read back as it should.
    """
    path = storage.as_path("path", path)
    _check_own(path)
    with reading.named(path):
        content = _packed(checkpoint)
    with replacing(path) as temporary, reading.named(path):
        temporary.write_bytes(content)
        with temporary.open("rb") as file:
            Archive(file)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, one of another version, damaged or malformed.
    """
    with reading.opened(path) as file:
        parameters, moments, best = file.read()
        return Checkpoint(parameters, moments, file.meta, best)


def load(path: str | os.PathLike[str], net: HybridBlock | None = None) -> HybridBlock:
    """Rebuild the model of a checkpoint, architecture and parameters, from the file alone.

    Parameters
    ----------
    path : path
        A file written by ``fit(..., checkpoint=path)`` or the command line. It may come from anyone: nothing in it
        is executed.
    net : HybridBlock, optional
        A model to load the parameters into. Needed for one that was composed of networks of your
        own, which a file cannot rebuild.

    Returns
    -------
    HybridBlock
        The model, on the CPU unless ``net`` is elsewhere, ready to be called. Of a run with ``patience`` that of
        the best epoch.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, one of another version, damaged or malformed; if the model cannot be rebuilt, or
        ``net`` is of another architecture, and is then as it was; if ``mx.npx.set_np()`` was called.

    Examples
    --------
    >>> net, path = gluon_vae.VAE(n_hidden=64), folder / "vae.checkpoint"
    >>> history = gluon_vae.fit(net, gluon_vae.load_mnist().x_train, n_epochs=1, checkpoint=path, progress=False)
    >>> gluon_vae.load(path).config == net.config
    True
    """
    checks.classic_arrays()
    with reading.opened(path) as file:
        with NameManager():  # MXNet counts the names that it gives: only a model that is handed out takes some
            model = reading.rebuilt(file) if net is None else net
        file.check_fit(model)
        values, _, best = file.read(model)
        values = best or values
        if net is None:
            net = reading.rebuilt(file)
    for name, parameter in reading.named_parameters(net).items():
        if parameter._data is None and not parameter._deferred_init:
            parameter.shape = values[name].shape
            parameter.initialize(init.Zero())  # which draws no random numbers
    set_parameters(net, values)
    return net


def _read_to_resume(path: Path, net: HybridBlock, facts: dict[str, Any]) -> Checkpoint:
    """Read the checkpoint of a run that is to go on with this model and these facts."""
    with reading.opened(path) as file:
        before, now = _flat(file.meta["run"]), _flat(json.loads(json.dumps(facts)))
        length, n_epochs = before.get("n_epochs"), facts["n_epochs"]
        longer = {"n_epochs"} if type(length) is int and length <= n_epochs else set()
        for name in [*now, *before]:
            if before.get(name) != now.get(name) and name not in longer:
                then = f"{shown(name)} = {shown(before.get(name))}"
                raise ValueError(f"cannot be resumed: its run had {then}, this one has {shown(now.get(name))}")
        file.check_fit(net)
        file.check_trained(net)
        history = file.meta["history"]
        terms = ("loss", *net.output_names) if type(net) in MODELS.values() else None
        metadata.check_columns(history, terms, tested="test images" in facts, patient="patience" in facts)
        if len(history["epoch"]) > length:
            raise ValueError(f"is malformed: it has {len(history['epoch'])} epochs of {length}")
        parameters, moments, best = file.read(net)
        return Checkpoint(parameters, moments, file.meta, best)


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with those of the model's configuration among them."""
    return {name: value for name, value in facts.items() if name != "config"} | (facts.get("config") or {})


def _rehearse(net: HybridBlock, facts: dict[str, Any]) -> None:
    """Write a checkpoint of this run to memory, without numbers, and read it: what cannot be kept shows now."""
    try:
        dtypes = {name: np.dtype(p.dtype) for name, p in reading.named_parameters(net).items()}
        parameters = {name: np.empty(0, dtype) for name, dtype in dtypes.items()}
        trained = {moment: name for name in trained_parameters(net) for moment in moments_of(name)}
        moments = {moment: parameters[name] for moment, name in trained.items()}
        meta = {"model": facts["model"], "config": facts["config"], "run": facts}
        meta |= {"n_steps": 2, "history": {"epoch": [1, 2]}}
        if "patience" in facts:  # the largest file is one with a best epoch before the last
            meta["history"] |= {"test_loss": [0, 0], "best_epoch": [1, 1]}
        best = parameters if "patience" in facts else {}
        file = reading.Opened(io.BytesIO(_packed(Checkpoint(parameters, moments, meta, best))))
        file.check_trained(net)
        if {name: entry.dtype for name, entry in file.parameters.items()} != dtypes:
            raise ValueError("has other names or dtypes of parameters than the model")
        if type(net) in MODELS.values():
            metadata.check_config(type(net), file.meta["config"], len(parameters))
        metadata.check_length(facts["n_epochs"], file.meta)
    except (ValueError, TypeError) as error:
        raise ValueError(f"checkpoint cannot keep this run: its file {shown(error)}") from None


def _check_own(path: Path) -> None:
    """Raise a ``ValueError`` if there is something in a file that no run has written."""
    if storage.target_of(path).exists():
        with storage.open_regular(path) as file:
            if file.read(len(MAGIC)) not in (b"", MAGIC):
                raise ValueError(f"{path} is not a gluon-vae checkpoint, and is not replaced by one")


def _packed(checkpoint: Checkpoint) -> bytes:
    """Return the content of a checkpoint's file."""
    arrays = {"meta": np.frombuffer(metadata.encoded(checkpoint.meta), np.uint8)}
    arrays |= {f"parameters/{name}": value for name, value in checkpoint.parameters.items()}
    arrays |= {f"moments/{name}": value for name, value in checkpoint.moments.items()}
    arrays |= {f"best/{name}": value for name, value in checkpoint.best.items()}
    return pack(arrays)
