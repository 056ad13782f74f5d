"""A trained model without MXNet: its networks as ONNX files, for any runtime that reads those."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata as installed
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mxnet import sym
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import output_shapes, to_numpy
from .contract import check_ready, inputs_of, settle_shapes
from .preflight import check_folder
from .storage import replacing

if TYPE_CHECKING:
    from .onnx_graph import Inputs


class Network(NamedTuple):
    """A network on its way to a file."""

    inputs: Inputs
    outputs: dict[str, sym.Symbol]


def export_onnx(net: HybridBlock, folder: str | Path, *, metadata: Mapping[str, str] | None = None) -> list[Path]:
    """Write a model's networks as ONNX files of operator set 13, for runtimes without MXNet.

    ``encoder.onnx`` maps ``x``, (batch, n_output), to ``mu``, (batch, n_latent), and of a VAE to ``log_var``, (batch,
    n_latent), too; ``decoder.onnx`` maps ``z``, (batch, n_latent), to ``output``, (batch, n_output), in [0, 1]. A
    conditional model's take labels, (batch,) int64 from 0 to n_classes - 1, as ``y`` beside. Of a
    ``SemiSupervisedVAE`` there is ``classifier.onnx``, from ``x`` to ``probabilities``, (batch, n_classes). The batch
    is of any size, and all else float32. Every file says in its metadata what it is of: model, arguments, likelihood,
    latent, version, and what ``metadata`` adds. Variances of pixels, and a prior fitted to the codes, stay here.
    See chapter 1.

    Parameters
    ----------
    net : HybridBlock
        A model of this package, or one that keeps the contract with networks of such layers.
    folder : path
        Created if missing. Files of the same names are replaced.
    metadata : mapping of str to str, optional
        More for the metadata: the data, the ELBO.

    Returns
    -------
    list of pathlib.Path
        The files, the encoder first.

    Raises
    ------
    ImportError
        If the package onnx is missing, which the extra 'export' installs.
    ValueError
        If an argument is not as described, the folder cannot be written to, or a layer has no translation; its
        operator is named. Nothing is written then.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> net = gluon_vae.VAE(n_hidden=64)
    >>> net.initialize()
    >>> [path.name for path in gluon_vae.export_onnx(net, folder / "onnx", metadata={"data": "none"})]
    ['encoder.onnx', 'decoder.onnx']
    """
    check_ready(net)
    checks.of_type("folder", folder, str, os.PathLike)
    networks = _networks(net)
    said = _checked(metadata, _facts(net, "log_var" in networks["encoder"].outputs))
    check_onnx()
    from onnx.helper import set_model_props

    from . import onnx_graph

    values = {name: to_numpy(parameter.list_data()[0]) for name, parameter in net.collect_params().items()}
    contents = []
    for name, network in networks.items():
        model = onnx_graph.model(name, network.outputs, network.inputs, values)
        set_model_props(model, said)
        contents.append(model.SerializeToString())
    paths = [Path(folder, name) for name in file_names(net)]
    check_folder(Path(folder), file_names(net))
    for path, content in zip(paths, contents, strict=True):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return paths


def file_names(net: HybridBlock) -> list[str]:
    """Return the names of the files of a model."""
    return [f"{part}.onnx" for part in ("encoder", "decoder", "classifier") if hasattr(net, part)]


def check_onnx() -> None:
    """Find out whether the package onnx is there.

    Raises
    ------
    ImportError
        If it is not; says how to get it.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"ONNX files need the package onnx ({error}): pip install '.[export]' in gluon-vae's folder"
        ) from error


def _networks(net: HybridBlock) -> dict[str, Network]:
    """Trace the networks of a model, by the names of their files."""
    for attribute in ("n_latent", "n_output", "encoder", "decoder"):
        if not hasattr(net, attribute):
            raise ValueError(f"net must have {attribute}, as every model of the family; got {type(net).__name__}")
    is_conditional = getattr(net, "n_classes", None) is not None
    first = np.zeros((1, net.n_output), np.float32), np.zeros(1, np.int64) if is_conditional else None
    settle_shapes(net, *inputs_of(net, *first))
    label: Inputs = {"y": ("int64", ())} if is_conditional else {}
    x: Inputs = {"x": ("float32", (net.n_output,)), **label}
    z: Inputs = {"z": ("float32", (net.n_latent,)), **label}
    code, image = _traced(net, "encoder", x), _traced(net, "decoder", z)
    networks = {"encoder": Network(x, _moments(code, x, net.n_latent)), "decoder": Network(z, {"output": image})}
    if hasattr(net, "classifier"):
        only_x: Inputs = {"x": x["x"]}
        logits = _traced(net, "classifier", only_x)
        networks["classifier"] = Network(only_x, {"probabilities": sym.softmax(logits, axis=1)})
    return networks


def _traced(net: HybridBlock, part: str, inputs: Inputs) -> sym.Symbol:
    """Return what a network of a model computes."""
    try:
        return getattr(net, part)(*map(sym.var, inputs))
    except Exception as error:  # MXNet raises all kinds, and the network may be a user's
        raise ValueError(f"net.{part} must be a network that can be hybridized: {checks.shown(error)}") from error


def _moments(code: sym.Symbol, inputs: Inputs, n_latent: int) -> dict[str, sym.Symbol]:
    """Name the columns of a code: the mean, and the log-variance where there is one."""
    shapes = output_shapes(code, {name: (1, *shape) for name, (_, shape) in inputs.items()})
    names = ("mu", "log_var") if shapes == [(1, 2 * n_latent)] else ("mu",)
    starts = (i * n_latent for i in range(len(names)))
    return {name: sym.slice_axis(code, axis=1, begin=i, end=i + n_latent) for name, i in zip(names, starts)}


def _facts(net: HybridBlock, has_posterior: bool) -> dict[str, str]:
    """Return what the files say of the model."""
    meaning = "a code without a distribution"
    if has_posterior:
        meaning = "q(z|x) = N(mu, diag(exp(log_var))), prior N(0, I)"
    facts = {"model": type(net).__name__, "latent": f"{net.n_latent} dimensions, {meaning}"}
    if hasattr(net, "likelihood"):
        facts["likelihood"] = type(net.likelihood).__name__.lower()
    if hasattr(net, "config"):
        facts["arguments"] = json.dumps(net.config, default=str)
    with suppress(installed.PackageNotFoundError):  # a folder that is imported from without being installed
        facts["version"] = f"gluon-vae {installed.version('gluon-vae')}"
    return facts


def _checked(metadata: Mapping[str, str] | None, facts: dict[str, str]) -> dict[str, str]:
    """Return what the files say, or raise a ``ValueError`` if ``metadata`` is not what may be added."""
    more = {} if metadata is None else metadata
    if not isinstance(more, Mapping) or not all(isinstance(text, str) for item in more.items() for text in item):
        raise ValueError(f"metadata must map str to str, got {checks.shown(more)}")
    if taken := facts.keys() & more.keys():
        raise ValueError(f"metadata must leave {', '.join(sorted(taken))} to the model, got {checks.shown(more)}")
    return facts | dict(more)
