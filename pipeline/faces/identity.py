"""Who a face is, in numbers: embeddings by a network whose file the user names.

Faces are aligned to 112 x 112 pixels as ArcFace (Deng et al. 2019) is trained: a similarity takes five points
of the face to a template. What a network wants of its pixels is known from its layout, and the layout from
the shapes of the weights in the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.torch_file import read_torch_file
from pipeline.clip import F32, F64, U8
from pipeline.errors import UserError
from pipeline.faces.crop_rule import five_points
from pipeline.faces.mobilefacenet import MobileFaceNet
from pipeline.faces.onnx_graph import OnnxGraph, Shape, read_graph
from pipeline.video.warp import warp_crop

Floats = npt.NDArray[np.floating[Any]]

SIZE = 112
"""Side in pixels of an aligned face."""
TEMPLATE: F64 = 0.5 + np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""ArcFace's five points (eyes, nose, mouth corners; image left first), with pixel centres at +0.5."""
_BATCH = 16
_IR_BLOCKS = {"IR-50": (3, 4, 14, 3), "IR-100": (3, 13, 30, 3)}
"""Residual units of ArcFace's networks at 64, 128, 256 and 512 channels."""


@dataclass(frozen=True)
class Layout:
    """A kind of network: its name, and (mean, deviation) by which RGB levels of 0 to 255 are scaled."""

    name: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


MOBILEFACENET = Layout("MobileFaceNet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""foamliu/MobileFaceNet: levels / 255, less ImageNet's mean, divided by its deviation."""
ARCFACE = Layout("ArcFace", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
"""InsightFace's exports from torch."""
KNOWN = (
    "MobileFaceNet as foamliu's (.onnx, or its state dict as .pt, .pth or .safetensors), "
    "ArcFace IR-50 and IR-100 as InsightFace's (.onnx)"
)


class FaceEmbedder:
    """A network that tells faces apart; `layout` says of which kind."""

    def __init__(self, layout: Layout, run: Callable[[Tensor], Tensor]) -> None:
        """`run` takes scaled faces [n,3,112,112] to embeddings [n,D]."""
        self.layout, self._run = layout, run
        self._mean, self._deviation = (
            torch.tensor(v).reshape(3, 1, 1) for v in (layout.mean, layout.deviation)
        )

    def embed(self, images: Iterable[U8], landmarks: Iterable[Floats]) -> F32:
        """Embeddings [K,D], not normalised, of the faces in images uint8 [H,W,3] at landmarks [68,2] px."""
        faces = (align_face(image, points) for image, points in zip(images, landmarks, strict=True))
        found = []
        while batch := list(islice(faces, _BATCH)):
            pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float()
            with torch.no_grad():
                found.append(self._run((pixels - self._mean) / self._deviation).numpy())
        return np.concatenate(found).astype(np.float32) if found else np.zeros((0, 1), np.float32)


def align_face(image: U8, landmarks: Floats) -> U8:
    """The face at landmarks [68,2] of an image uint8 [H,W,3] as ArcFace wants it, uint8 [112,112,3]."""
    return warp_crop(image, similarity(five_points(landmarks), TEMPLATE), SIZE)


def similarity(points: Floats, target: Floats) -> F64:
    """The rotation, scale and shift [2,3] that takes points [N,2] nearest to target [N,2], by least squares.

    Umeyama 1991 in two dimensions, where a similarity is a complex factor.
    """
    p, q = (np.asarray(v, np.float64) @ np.array([1.0, 1j]) for v in (points, target))
    centred = p - p.mean()
    factor = (centred.conj() * (q - q.mean())).sum() / np.square(np.abs(centred)).sum()
    shift = q.mean() - factor * p.mean()
    a, b = float(factor.real), float(factor.imag)
    return np.array([[a, -b, float(shift.real)], [b, a, float(shift.imag)]])


def load_embedder(path: Path) -> FaceEmbedder:
    """The network in a file; nothing in the file is run but, of an ONNX one, its operators.

    Raises UserError, which lists the known layouts where the file's is none of them.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; --identity takes {KNOWN}")
    if suffix == ".onnx":
        return _load_onnx(path)
    if suffix in (".pt", ".pth", ".safetensors"):
        return FaceEmbedder(MOBILEFACENET, _load_mobilefacenet(path))
    raise _unknown(path)


def _unknown(path: Path) -> UserError:
    return UserError(f"{path}: its layout cannot be told; known are {KNOWN}")


def _load_mobilefacenet(path: Path) -> Callable[[Tensor], Tensor]:
    network = MobileFaceNet()
    try:
        network.load_state_dict(_read_state(path))
    except RuntimeError:  # other names or shapes
        raise _unknown(path) from None
    return network.eval().requires_grad_(False)


def _read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a state dict, itself or under `state_dict`; raises UserError."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            # TorchScript is a program, with operators that open and write files: it is not run.
            raise UserError(
                f"{path}: is TorchScript, a program, and is not run; give its state dict or its ONNX export"
            )
        data = read_torch_file(path)
    except (CheckpointError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path}: is damaged, or holds more than a state dict ({reason}); known are {KNOWN}"
        ) from None
    state = data.get("state_dict", data) if isinstance(data, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _unknown(path)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _is_torchscript(path: Path) -> bool:
    """Whether a file is an archive that holds code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name or name.endswith("/constants.pkl") for name in archive.namelist())


def _load_onnx(path: Path) -> FaceEmbedder:
    data = path.read_bytes()
    try:
        layout = layout_of(read_graph(data))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if layout is None:
        raise _unknown(path)
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"{path}: ONNX files need onnxruntime; pip install 'invid[identity]', or give a state dict"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        # from bytes, so that the file cannot name others to be read
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this one
        raise UserError(f"{path}: onnxruntime cannot load it ({error})") from None
    name = session.get_inputs()[0].name

    def run(faces: Tensor) -> Tensor:
        one_by_one = [session.run(None, {name: face[None].numpy()})[0] for face in faces]
        return torch.from_numpy(np.concatenate(one_by_one).reshape(len(faces), -1))

    return FaceEmbedder(layout, run)


def layout_of(graph: OnnxGraph) -> Layout | None:
    """The layout that an ONNX network has, or None; one that scales its own input has none of the known."""
    first = graph.operators.index("Conv") if "Conv" in graph.operators else 0
    if set(graph.operators[:first]) - {"Constant", "Identity"}:
        return None
    shapes = sorted(graph.convolutions)
    if shapes == _mobilefacenet_convolutions():
        return MOBILEFACENET
    if any(shapes == sorted(_ir_convolutions(b)) for b in _IR_BLOCKS.values()) and any(
        sorted(shape) == [512, 512 * 7 * 7] for shape in graph.dense
    ):
        return ARCFACE
    return None


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
