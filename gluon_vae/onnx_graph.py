"""Networks as ONNX graphs: what MXNet traces, translated operator by operator.

MXNet's own ``mx.onnx`` fails with onnx 1.19 and newer. A walk over Gluon's layers would miss what functions between
them do, reshaping and slicing. The trace has it all, in few operators.
"""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mxnet import sym

from .arrays import output_shapes

OPSET, IR_VERSION = 13, 8  # of 2020 and 2021: what is exported needs no newer, and most runtimes know them
DTYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
# All that MXNet 1.9.1 has.
ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "softrelu": "Softplus", "softsign": "Softsign", "tanh": "Tanh"}

Inputs = Mapping[str, tuple[str, tuple[int, ...]]]  # dtype, and shape of a row, by name
Attributes = dict[str, Any]


class Unknown(Exception):
    """What has no translation."""


class Graph:
    """The nodes and constants of an ONNX graph under construction; values are known by their names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node; return the name of its output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: Any, name: str = "") -> str:
        """Keep an array; return its name. Whole numbers, which are shapes and places, become int64."""
        name, values = name or f"constant_{len(self.constants)}", np.asarray(values)
        values = values.astype(np.int64 if values.dtype.kind in "iu" else np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def model(
    name: str, outputs: Mapping[str, sym.Symbol], inputs: Inputs, parameters: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """Translate what a network computes.

    Parameters
    ----------
    name : str
        Of the graph.
    outputs : mapping of str to Symbol
        By the names that they get: traced, (batch, columns) each.
    inputs : mapping of str to (dtype, shape)
        By the names of their symbols, the shape without the batch.
    parameters : mapping of str to array
        All those of the network, by the names of their symbols.

    Returns
    -------
    onnx.ModelProto
        With a batch of any size, checked. Numbers are float32.

    Raises
    ------
    ValueError
        If an operator has no translation; names it and its place.
    """
    group = sym.Group(list(outputs.values()))
    graph, names = Graph(), list[str]()
    traced = json.loads(group.tojson())
    for node in traced["nodes"]:
        if node["op"] != "null":
            names.append(_translated(graph, node, [names[place] for place, *_ in node["inputs"]]))
        elif node["name"] in inputs:
            names.append(node["name"])
        else:
            names.append(graph.constant(parameters[node["name"]], node["name"]))
    for output, (place, *_) in zip(outputs, traced["heads"]):
        graph.add("Identity", names[place], output=output)
    given = [_described(name, dtype, shape) for name, (dtype, shape) in inputs.items()]
    shapes = output_shapes(group, {name: (1, *shape) for name, (_, shape) in inputs.items()})
    made = [_described(name, "float32", shape[1:]) for name, shape in zip(outputs, shapes, strict=True)]
    result = helper.make_model(
        helper.make_graph(graph.nodes, name, given, made, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gluon-vae",
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def _described(name: str, dtype: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, DTYPES[dtype], ["batch", *shape])


def _translated(graph: Graph, node: dict[str, Any], inputs: list[str]) -> str:
    """Add to the graph what a node of the trace does."""
    operator = node["op"]
    try:
        if operator not in TRANSLATIONS:
            raise Unknown(f"operator {operator}")
        attributes = {key: _value(text) for key, text in node.get("attrs", {}).items()}
        return TRANSLATIONS[operator](graph, inputs, attributes)
    except Unknown as error:
        raise ValueError(f"net must be made of layers that ONNX has too; {node['name']} is none: {error}") from None


def _value(text: str) -> Any:
    """Read an attribute as MXNet writes it: numbers, tuples and None are Python's, words are themselves."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _activation(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    return graph.add(ACTIVATIONS[attributes["act_type"]], *inputs)


def _dense(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    x, weight, *bias = inputs
    if attributes.get("flatten", True):
        return graph.add("Gemm", graph.add("Flatten", x, axis=1), weight, *bias, transB=1)
    product = graph.add("MatMul", x, graph.add("Transpose", weight, perm=[1, 0]))
    return graph.add("Add", product, *bias) if bias else product


def _leaky(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    if (kind := attributes.get("act_type", "leaky")) != "leaky":
        raise Unknown(f"LeakyReLU with act_type {kind}")
    return graph.add("LeakyRelu", *inputs, alpha=float(attributes.get("slope", 0.25)))


def _one_hot(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    values = [float(attributes.get("off_value", 0)), float(attributes.get("on_value", 1))]
    return graph.add("OneHot", *inputs, graph.constant([attributes["depth"]]), graph.constant(values))


def _reshape(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    shape = attributes["shape"]  # 0 and -1 mean the same to both, what else MXNet has is its own
    if min(shape) < -1 or attributes.get("reverse"):
        raise Unknown(f"Reshape with shape {shape}")
    return graph.add("Reshape", *inputs, graph.constant(shape))


def _slice(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    end = np.iinfo(np.int64).max if attributes["end"] is None else attributes["end"]
    return graph.add("Slice", *inputs, *(graph.constant([i]) for i in (attributes["begin"], end, attributes["axis"])))


def _softmax(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    if attributes.get("temperature") is not None or len(inputs) > 1:
        raise Unknown("softmax with temperature or length")
    return graph.add("Softmax", *inputs, axis=attributes.get("axis", -1))


def _transposed(graph: Graph, inputs: list[str], attributes: Attributes) -> str:
    if attributes.get("target_shape"):
        raise Unknown("Deconvolution with target_shape")
    padding = attributes.get("adj", len(attributes["kernel"]) * (0,))
    return graph.add("ConvTranspose", *inputs, output_padding=padding, **_windows(attributes))


def _windows(attributes: Attributes) -> Attributes:
    """Return what convolutions of both kinds say of their windows."""
    n_axes = len(attributes["kernel"])
    return {
        "kernel_shape": attributes["kernel"],
        "strides": attributes.get("stride", n_axes * (1,)),
        "dilations": attributes.get("dilate", n_axes * (1,)),
        "pads": 2 * attributes.get("pad", n_axes * (0,)),
        "group": attributes.get("num_group", 1),
    }


TRANSLATIONS: dict[str, Callable[[Graph, list[str], Attributes], str]] = {
    "Activation": _activation,
    "Concat": lambda graph, inputs, attributes: graph.add("Concat", *inputs, axis=attributes.get("dim", 1)),
    "Convolution": lambda graph, inputs, attributes: graph.add("Conv", *inputs, **_windows(attributes)),
    "Deconvolution": _transposed,
    "Dropout": lambda graph, inputs, _: graph.add("Identity", *inputs),
    "Flatten": lambda graph, inputs, _: graph.add("Flatten", *inputs, axis=1),
    "FullyConnected": _dense,
    "LeakyReLU": _leaky,
    "Reshape": _reshape,
    "_copy": lambda graph, inputs, _: graph.add("Identity", *inputs),
    "one_hot": _one_hot,
    "slice_axis": _slice,
    "softmax": _softmax,
}
