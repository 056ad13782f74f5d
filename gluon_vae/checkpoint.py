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


def parameters_of(net: HybridBlock) -> dict[str, np.ndarray]:
    """Return a model's parameters by their place in the model."""
    return {name: p.list_data()[0].asnumpy() for name, p in net._collect_params_with_prefix().items()}


def set_parameters(net: HybridBlock, values: dict[str, np.ndarray], where: str) -> None:
    """Set all parameters of a model, or none of them if names or shapes do not fit."""
    parameters = net._collect_params_with_prefix()
    if set(values) != set(parameters):
        different = ", ".join(sorted(set(values) ^ set(parameters)))
        raise ValueError(f"{where} holds the parameters of another architecture: they differ in {different}")
    for name, value in values.items():
        if value.shape != parameters[name].shape:
            raise ValueError(
                f"{where} holds the parameters of another architecture: {name} has shape {value.shape} "
                f"in the file and {parameters[name].shape} in the model"
            )
    for name, value in values.items():
        parameters[name].set_data(nd.array(value, dtype=value.dtype))


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
    FileNotFoundError, ValueError
        As ``read`` does; and if the model cannot be rebuilt, or ``net`` is of another architecture.
    """
    checkpoint = read(path)
    if net is None:
        name, config = checkpoint.meta["model"], checkpoint.meta["config"]
        if name not in MODELS or config is None:
            raise ValueError(f"{path} holds a {name}, which only your code can build: build it and give it as net")
        net = MODELS[name](**config)
    if not is_initialized(net):
        net.initialize()
    set_parameters(net, checkpoint.parameters, str(path))
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
