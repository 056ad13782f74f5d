"""Checkpoints: all that a run needs to go on, in a file that is never unpickled.

A file is one line of magic with the format's version, one line with the SHA-256 of the rest, and
the rest: NumPy's ``.npz`` with the arrays and, as UTF-8 bytes, a JSON text. It is written beside
its target, read back, and only then moved into place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mxnet import nd
from mxnet.gluon import HybridBlock

from .adam import Adam
from .arrays import to_numpy
from .autoencoders import Autoencoder, DenoisingAutoencoder, SparseAutoencoder
from .contract import is_initialized
from .storage import replacing
from .vae import VAE, ConditionalVAE, ConvVAE

MAGIC = b"gluon-vae checkpoint "
VERSION = b"1"
MODELS = {
    model.__name__: model
    for model in (Autoencoder, SparseAutoencoder, DenoisingAutoencoder, VAE, ConditionalVAE, ConvVAE)
}


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    ``parameters`` and ``moments`` map names to arrays; ``meta`` is JSON: ``model`` and ``config``,
    from which the model is built, and what training needs beyond them.
    """

    parameters: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]
    meta: dict[str, Any]

    @classmethod
    def of(cls, net: HybridBlock, adam: Adam, facts: dict[str, Any], history: dict[str, list[float]]) -> Checkpoint:
        """Take what a run needs to go on: parameters, moments, what decides it (``run.facts``), and its history."""
        meta = {"model": facts["model"], "config": facts["config"], "run": facts}
        meta |= {"n_steps": adam.n_steps, "history": history}
        return cls(parameters_of(net), adam.moments(), meta)

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


def check_fit(path: str | os.PathLike[str], net: HybridBlock, checkpoint: Checkpoint) -> None:
    """Raise a ``ValueError`` if names or shapes of parameters are not those of a model."""
    other = f"{path} holds the parameters of another architecture"
    parameters, values = net._collect_params_with_prefix(), checkpoint.parameters
    if set(values) != set(parameters):
        raise ValueError(f"{other}: they differ in {', '.join(sorted(set(values) ^ set(parameters)))}")
    for name, value in values.items():
        if value.shape != parameters[name].shape:
            shapes = f"{value.shape} in the file and {parameters[name].shape} in the model"
            raise ValueError(f"{other}: {name} has shape {shapes}")


def read_to_resume(path: str | os.PathLike[str] | None, net: HybridBlock, facts: dict[str, Any]) -> Checkpoint | None:
    """Read the checkpoint of a run that is to go on; None if there is no such file yet.

    Raises
    ------
    ValueError
        If no path is given, or the file is damaged, or anything that decides a run (``run.facts``) was another.
    """
    if path is None:
        raise ValueError("resume needs the path of a checkpoint, got checkpoint=None")
    if not Path(path).exists():
        return None
    saved = read(path)
    before, now = (_flat(each) for each in (saved.meta["run"], json.loads(json.dumps(facts))))
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{path} cannot be resumed: its run had {name} = {before.get(name)}, this one has {now.get(name)}"
            )
    check_fit(path, net, saved)
    return saved


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with those of the model's configuration among them."""
    return {name: value for name, value in facts.items() if name != "config"} | (facts.get("config") or {})


def write(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a failure leaves the file that was there as it was.

    Raises
    ------
    OSError
        If the file cannot be written, a full disk included.
    ValueError
        If what was written does not read back as it should.
    """
    arrays = {f"parameters/{name}": value for name, value in checkpoint.parameters.items()}
    arrays |= {f"moments/{name}": value for name, value in checkpoint.moments.items()}
    text = json.dumps(checkpoint.meta, allow_nan=False).encode()
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.frombuffer(text, np.uint8), **arrays)
    payload = buffer.getvalue()
    digest = hashlib.sha256(payload).hexdigest().encode()
    with replacing(path) as temporary:
        temporary.write_bytes(MAGIC + VERSION + b"\n" + digest + b"\n" + payload)
        _payload(temporary)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint whose checksum is right.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, one of another version, or damaged.
    """
    with np.load(io.BytesIO(_payload(Path(path))), allow_pickle=False) as archive:
        meta = json.loads(archive["meta"].tobytes())
        groups: dict[str, dict[str, np.ndarray]] = {"parameters": {}, "moments": {}}
        for key in archive.files:
            group, _, name = key.partition("/")
            if group in groups:
                groups[group][name] = archive[key]
    return Checkpoint(groups["parameters"], groups["moments"], meta)


def load(path: str | os.PathLike[str], net: HybridBlock | None = None) -> HybridBlock:
    """Rebuild the model of a checkpoint, architecture and parameters, from the file alone.

    Parameters
    ----------
    path : path
        A file written by ``fit(..., checkpoint=path)`` or the command line.
    net : HybridBlock, optional
        A model to load the parameters into. Needed for one that was composed of networks of your
        own, which a file cannot rebuild.

    Returns
    -------
    HybridBlock
        The model, on the CPU unless ``net`` is elsewhere, ready to be called.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, one of another version, or damaged; if the model cannot be rebuilt, or ``net`` is of
        another architecture, and is then as it was.

    Examples
    --------
    >>> net, path = gluon_vae.VAE(n_hidden=64), folder / "vae.checkpoint"
    >>> history = gluon_vae.fit(net, gluon_vae.load_mnist().x_train, n_epochs=1, checkpoint=path, progress=False)
    >>> gluon_vae.load(path).config == net.config
    True
    """
    checkpoint = read(path)
    if net is None:
        name, config = checkpoint.meta["model"], checkpoint.meta["config"]
        if name not in MODELS:
            raise ValueError(f"{path} holds a {name}, which only your code can build: build it and give it as net")
        net = MODELS[name](**config)
    check_fit(path, net, checkpoint)
    if not is_initialized(net):
        net.initialize()
    set_parameters(net, checkpoint.parameters)
    return net


def _payload(path: Path) -> bytes:
    magic, _, rest = path.read_bytes().partition(b"\n")
    digest, _, payload = rest.partition(b"\n")
    if not magic.startswith(MAGIC):
        raise ValueError(f"{path} is not a gluon-vae checkpoint")
    if magic != MAGIC + VERSION:
        version = magic.removeprefix(MAGIC).decode(errors="replace")
        raise ValueError(
            f"{path} is a checkpoint of version {version}; this gluon-vae reads version {VERSION.decode()}"
        )
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise ValueError(f"{path} is damaged: its checksum is wrong")
    return payload
