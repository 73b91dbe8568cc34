"""What an ONNX file says of its network: operators and shapes of weights, read without running anything.

Only the fields of onnx.proto3 that tell one layout from another are looked at; a protocol buffer is a row of
(field number and wire type, value) in which unknown fields are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[int, ...]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OPERATOR = 1, 4
_TENSOR_DIMS, _TENSOR_NAME = 1, 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class OnnxGraph:
    """operators in the order of the file; shapes of the weights of its convolutions and dense layers."""

    operators: tuple[str, ...]
    convolutions: tuple[Shape, ...]
    dense: tuple[Shape, ...]


def read_graph(data: bytes) -> OnnxGraph:
    """The graph of an ONNX model; raises ValueError for what is not one, or is cut short."""
    shapes: dict[str, Shape] = {}
    nodes: list[tuple[str, list[str]]] = []
    for number, graph in _fields(memoryview(data)):
        if number != _MODEL_GRAPH or isinstance(graph, int):
            continue
        for part, value in _fields(graph):
            if part == _GRAPH_NODE and not isinstance(value, int):
                nodes.append(_node(value))
            elif part == _GRAPH_INITIALIZER and not isinstance(value, int):
                name, shape = _tensor(value)
                shapes[name] = shape
    if not nodes:
        raise ValueError("it holds no network")

    def weights(*operators: str) -> tuple[Shape, ...]:
        found = (shapes.get(inputs[1]) for name, inputs in nodes if name in operators and len(inputs) > 1)
        return tuple(shape for shape in found if shape is not None)

    return OnnxGraph(tuple(name for name, _ in nodes), weights("Conv"), weights("Gemm", "MatMul"))


def _node(data: memoryview) -> tuple[str, list[str]]:
    """Operator and names of the inputs of one node."""
    operator, inputs = "", []
    for number, value in _fields(data):
        if number == _NODE_INPUT and not isinstance(value, int):
            inputs.append(_text(value))
        elif number == _NODE_OPERATOR and not isinstance(value, int):
            operator = _text(value)
    return operator, inputs


def _tensor(data: memoryview) -> tuple[str, Shape]:
    """Name and shape of one stored tensor."""
    name, shape = "", []
    for number, value in _fields(data):
        if number == _TENSOR_DIMS and isinstance(value, int):
            shape.append(value)
        elif number == _TENSOR_DIMS and not isinstance(value, int):
            at = 0
            while at < len(value):  # several numbers packed into one field
                size, at = _varint(value, at)
                shape.append(size)
        elif number == _TENSOR_NAME and not isinstance(value, int):
            name = _text(value)
    return name, tuple(shape)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a message: an int, or the bytes of anything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("it is not an ONNX file")
        if at + size > len(data):
            raise ValueError("it is cut short, or not an ONNX file")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for k in range(10):
        if at + k >= len(data):
            break
        byte = data[at + k]
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, at + k + 1
    raise ValueError("it is cut short, or not an ONNX file")


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")
