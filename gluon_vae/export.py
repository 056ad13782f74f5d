"""A trained model without MXNet: its encoder and its decoder as ONNX files, for any runtime that reads those."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mxnet import sym
from mxnet.gluon import HybridBlock

from . import checks
from .arrays import to_numpy
from .contract import check_ready
from .storage import replacing

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 13, 8  # of 2020 and 2021: what is exported needs no newer, and most runtimes know them
ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
FILES = ("encoder.onnx", "decoder.onnx")
Inputs = dict[str, tuple[str, tuple[int, ...]]]  # dtypes, and shapes after the batch, by name


def export_onnx(net: HybridBlock, folder: str | Path, *, metadata: Mapping[str, str] | None = None) -> list[Path]:
    """Write a model's encoder and decoder as two ONNX files of operator set 13.

    ``encoder.onnx`` maps ``x``, (batch, n_output), to ``mu``, (batch, n_latent), and with a posterior to ``log_var``;
    ``decoder.onnx`` maps ``z``, (batch, n_latent), to ``output``, (batch, n_output), in [0, 1]. All are float32, the
    batch has any size, and a conditional model takes its labels, int64, as ``y``. Both files say in their metadata
    what they are: the model, its arguments, the latent's layout, and what ``metadata`` adds.

    Parameters
    ----------
    net : HybridBlock
        A model of this package, or one of yours whose encoder and decoder are made of layers that it has.
    folder : path
        Created if missing.
    metadata : mapping of str to str, optional
        More to say of the model: its data, its ELBO.

    Returns
    -------
    list of path
        The files that were written, the encoder first.

    Raises
    ------
    ImportError
        If the package onnx is missing: ``pip install onnx``.
    ValueError
        If an argument is not as described, or a layer has no translation; its operator is named.
    OSError
        If a file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("export_onnx needs the package onnx: pip install 'gluon-vae[export]'") from error
    check_ready(net)
    said = _metadata(net, metadata or {})
    label: Inputs = {"y": ("int64", ())} if getattr(net, "n_classes", None) else {}
    code = ["mu", "log_var"] if _has_posterior(net) else ["mu"]
    models = [
        _model(net.encoder, {"x": ("float32", (net.n_output,)), **label}, code, net.n_latent, said),
        _model(net.decoder, {"z": ("float32", (net.n_latent,)), **label}, ["output"], net.n_output, said),
    ]
    for model in models:  # before anything is written
        onnx.checker.check_model(model, full_check=True)
    paths = [Path(folder, name) for name in FILES]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, model in zip(paths, models):
        with replacing(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    return paths


def _metadata(net: HybridBlock, more: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(more, Mapping) or not all(isinstance(text, str) for item in more.items() for text in item):
        raise ValueError(f"metadata must map str to str, got {checks.shown(more)}")
    latent = "a code, without a distribution"
    if _has_posterior(net):
        latent = "q(z|x) = N(mu, diag exp(log_var)), prior N(0, I)"
    said = {"model": type(net).__name__, "latent": latent, "likelihood": type(net.likelihood).__name__.lower()}
    if hasattr(net, "config"):
        said["arguments"] = json.dumps(net.config, default=str)
    return said | dict(more)


def _has_posterior(net: HybridBlock) -> bool:
    """Tell whether the encoder gives log-variances beside means."""
    label = [sym.var("y")] if getattr(net, "n_classes", None) else []
    shapes = {"x": (1, net.n_output)} | ({"y": (1,)} if label else {})
    (shape,) = net.encoder(sym.var("x"), *label).infer_shape(**shapes)[1]
    return bool(shape[1] == 2 * net.n_latent)


class _Graph:
    """ONNX nodes and constants under construction; values are referred to by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        """Append a node; return the name of its (first) output."""
        from onnx import helper

        outputs = outputs or (f"{operator.lower()}_{len(self.nodes)}",)
        self.nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def constant(self, values: Any, name: str = "") -> str:
        """Keep an array under a name; whole numbers as int64."""
        from onnx import numpy_helper

        name = name or f"constant_{len(self.constants)}"
        values = np.asarray(values, np.int64 if np.asarray(values).dtype.kind == "i" else np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _dense(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    flat = graph.add("Flatten", inputs[0], axis=1) if attributes.get("flatten", True) else inputs[0]
    return graph.add("Gemm", flat, *inputs[1:], transB=1)


def _activation(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    return graph.add(ACTIVATIONS[attributes["act_type"]], *inputs)


def _leaky(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    if attributes.get("act_type", "leaky") != "leaky":
        raise KeyError(attributes["act_type"])
    return graph.add("LeakyRelu", *inputs, alpha=float(attributes.get("slope", 0.25)))


def _reshape(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    if min(attributes["shape"]) < -1 or attributes.get("reverse"):
        raise KeyError("shape")
    return graph.add("Reshape", *inputs, graph.constant(np.array(attributes["shape"])))


def _convolution(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    return graph.add("Conv", *inputs, **_windows(attributes))


def _transposed(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    if attributes.get("target_shape"):
        raise KeyError("target_shape")
    n = len(attributes["kernel"])
    return graph.add("ConvTranspose", *inputs, output_padding=attributes.get("adj", n * (0,)), **_windows(attributes))


def _windows(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that convolutions of both kinds have."""
    n = len(attributes["kernel"])
    return {
        "kernel_shape": attributes["kernel"],
        "strides": attributes.get("stride", n * (1,)),
        "dilations": attributes.get("dilate", n * (1,)),
        "pads": 2 * attributes.get("pad", n * (0,)),
        "group": attributes.get("num_group", 1),
    }


def _slice(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    end = attributes["end"] if attributes["end"] is not None else np.iinfo(np.int64).max
    limits = (graph.constant(np.array([value])) for value in (attributes["begin"], end, attributes["axis"]))
    return graph.add("Slice", *inputs, *limits)


def _one_hot(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    values = [float(attributes.get("off_value", 0)), float(attributes.get("on_value", 1))]
    return graph.add("OneHot", *inputs, graph.constant(np.array([attributes["depth"]])), graph.constant(values))


def _concat(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    return graph.add("Concat", *inputs, axis=attributes.get("dim", 1))


def _flatten(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    return graph.add("Flatten", *inputs, axis=1)


def _same(graph: _Graph, inputs: list[str], attributes: dict[str, Any]) -> str:
    return graph.add("Identity", *inputs)


Translation = Callable[[_Graph, list[str], dict[str, Any]], str]
TRANSLATIONS: dict[str, Translation] = {
    "Activation": _activation,
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _transposed,
    "Dropout": _same,
    "Flatten": _flatten,
    "FullyConnected": _dense,
    "LeakyReLU": _leaky,
    "Reshape": _reshape,
    "_copy": _same,
    "one_hot": _one_hot,
    "slice_axis": _slice,
}


def _model(
    block: HybridBlock,
    inputs: Inputs,
    outputs: list[str],
    width: int,
    said: dict[str, str],
) -> onnx.ModelProto:
    """Translate a network, traced, node by node; its columns are shared equally among the outputs."""
    from onnx import TensorProto, helper

    graph, names = _Graph(), []
    parameters = {parameter.name: parameter for parameter in block.collect_params().values()}
    traced = json.loads(block(*map(sym.var, inputs)).tojson())
    for node in traced["nodes"]:
        name, operator = node["name"], node["op"]
        if operator == "null":
            if name not in inputs:
                graph.constant(to_numpy(parameters[name].list_data()[0]).astype(np.float32), name)
            names.append(name)
            continue
        attributes = {key: _value(text) for key, text in node.get("attrs", {}).items()}
        try:
            given = [names[place] for place, output, _ in node["inputs"] if not _is_second(output, name)]
            names.append(TRANSLATIONS[operator](graph, given, attributes))
        except KeyError as error:
            what = f"{operator} with {error.args[0]}" if operator in TRANSLATIONS else f"operator {operator}"
            raise ValueError(f"net must be made of layers that ONNX has too; {name} is none: {what}") from None
    last = names[traced["heads"][0][0]]
    if len(outputs) == 1:
        graph.add("Identity", last, outputs=(outputs[0],))
    else:
        sizes = graph.constant(np.full(len(outputs), width))
        graph.add("Split", last, sizes, outputs=tuple(outputs), axis=1)
    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    given = [(name, types[dtype], shape) for name, (dtype, shape) in inputs.items()]
    made = [(name, TensorProto.FLOAT, (width,)) for name in outputs]
    ends = [
        [helper.make_tensor_value_info(n, t, ["batch", *shape]) for n, t, shape in some] for some in (given, made)
    ]
    described = helper.make_graph(graph.nodes, block.name, *ends, graph.constants)
    model = helper.make_model(
        described,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gluon-vae",
        producer_version=version("gluon-vae"),
    )
    helper.set_model_props(model, said)
    return model


def _is_second(output: int, name: str) -> bool:
    if output:
        raise KeyError(f"a second output as input of {name}")
    return False


def _value(text: str) -> Any:
    """Read an attribute as MXNet writes it: numbers, tuples and None are Python's, words are themselves."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
