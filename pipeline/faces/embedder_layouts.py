"""Architectures of face recognition networks that are known, recognised by the shapes of their weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from pipeline.faces.mobilefacenet import MobileFaceNet

Shape = tuple[int, ...]

_IR_BLOCKS = {"IR-50": (3, 4, 14, 3), "IR-100": (3, 13, 30, 3)}
"""Residual units at 64, 128, 256 and 512 channels."""


@dataclass(frozen=True)
class Layout:
    """Architecture of a network; RGB levels in 0 to 255 are normalised by mean and deviation."""

    name: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


MOBILEFACENET = Layout("MobileFaceNet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""foamliu/MobileFaceNet: ImageNet's normalisation."""
ARCFACE = Layout("ArcFace", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
"""InsightFace's exports from torch."""
KNOWN = (
    "MobileFaceNet as foamliu's (.onnx, or its state dict as .pt, .pth or .safetensors), "
    "ArcFace IR-50 and IR-100 as InsightFace's (.onnx)"
)


def onnx_layout(data: bytes) -> Layout | None:
    """Recognise the architecture of a serialised ONNX model; None where it is none of the known.

    The model is parsed, not run. A network that normalises its own input is none of the known. Raises
    ValueError for other bytes, ImportError without the package onnx.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.ModelProto.FromString(data).graph
    except DecodeError:
        raise ValueError("it is cut short, or not an ONNX file") from None
    operators = [node.op_type for node in graph.node]
    if not operators:
        raise ValueError("it holds no network")
    if set(operators[: operators.index("Conv") if "Conv" in operators else 0]) - {"Constant", "Identity"}:
        return None
    convolutions, dense = _weight_shapes(graph, "Conv"), _weight_shapes(graph, "Gemm", "MatMul")
    if convolutions == _mobilefacenet_convolutions():
        return MOBILEFACENET
    is_ir = any(convolutions == sorted(_ir_convolutions(blocks)) for blocks in _IR_BLOCKS.values())
    return ARCFACE if is_ir and any(sorted(shape) == [512, 512 * 7 * 7] for shape in dense) else None


def _weight_shapes(graph: Any, *operators: str) -> list[Shape]:
    """Sorted shapes of the stored weights (second inputs) of all nodes of these operators."""
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights = (n.input[1] for n in graph.node if n.op_type in operators and len(n.input) > 1)
    return sorted(stored[name] for name in weights if name in stored)


@cache
def _mobilefacenet_convolutions() -> list[Shape]:
    with torch.device("meta"):
        network = MobileFaceNet()
    return sorted(tuple(value.shape) for value in network.state_dict().values() if value.ndim == 4)


def _ir_convolutions(blocks: tuple[int, ...]) -> list[Shape]:
    """Shapes of the convolutions of ArcFace's improved residual network (Deng et al. 2019, section 3.1)."""
    shapes: list[Shape] = [(64, 3, 3, 3)]
    inputs = 64
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        for k in range(count):
            shapes += [(width, inputs, 3, 3), (width, width, 3, 3)]
            if k == 0:
                shapes.append((width, inputs, 1, 1))
            inputs = width
    return shapes
