"""Identity embeddings of faces by a network whose file the user names.

Faces are aligned to 112 x 112 pixels as in ArcFace (Deng et al. 2019): a similarity transform takes five
points of the face to a template. The file's architecture is recognised by the shapes of its weights, and
determines how pixels are normalised.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
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
from pipeline.errors import UserError, shortened
from pipeline.faces.crop_rule import five_points
from pipeline.faces.embedder_layouts import KNOWN, MOBILEFACENET, Layout, onnx_layout
from pipeline.faces.mobilefacenet import MobileFaceNet
from pipeline.video.warp import warp_crop

Floats = npt.NDArray[np.floating[Any]]

SIZE = 112
"""Side in pixels of an aligned face."""
TEMPLATE: F64 = 0.5 + np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""ArcFace's five points (eyes, nose, mouth corners; image left first), with pixel centres at +0.5."""
_BATCH = 16
_MOST_BYTES = 1 << 30


class FaceEmbedder:
    """Face recognition network of a known `layout`."""

    def __init__(self, layout: Layout, run: Callable[[Tensor], Tensor]) -> None:
        """`run` maps normalised faces [n,3,112,112] to embeddings [n,D]."""
        self.layout, self._run = layout, run
        self._mean, self._deviation = (
            torch.tensor(v).reshape(3, 1, 1) for v in (layout.mean, layout.deviation)
        )

    def embed(self, images: Iterable[U8], landmarks: Iterable[Floats]) -> F32:
        """Embed the faces in images uint8 [H,W,3] at landmarks [68,2] (px): [K,D], not normalised."""
        faces = (align_face(image, points) for image, points in zip(images, landmarks, strict=True))
        found = []
        while batch := list(islice(faces, _BATCH)):
            pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float()
            with torch.no_grad():
                found.append(self._run((pixels - self._mean) / self._deviation).numpy())
        return np.concatenate(found).astype(np.float32) if found else np.zeros((0, 1), np.float32)


def align_face(image: U8, landmarks: Floats) -> U8:
    """Align the face at landmarks [68,2] of an image uint8 [H,W,3] to ArcFace's template: [112,112,3]."""
    return warp_crop(image, similarity(five_points(landmarks), TEMPLATE), SIZE)


def similarity(points: Floats, target: Floats) -> F64:
    """Least-squares similarity transform [2,3] from points [N,2] to target [N,2].

    Umeyama 1991; in two dimensions rotation and scale are one complex factor.
    """
    p, q = (np.asarray(v, np.float64) @ np.array([1.0, 1j]) for v in (points, target))
    centred = p - p.mean()
    factor = (centred.conj() * (q - q.mean())).sum() / np.square(np.abs(centred)).sum()
    shift = q.mean() - factor * p.mean()
    a, b = float(factor.real), float(factor.imag)
    return np.array([[a, -b, float(shift.real)], [b, a, float(shift.imag)]])


def load_embedder(path: Path) -> FaceEmbedder:
    """Load a face recognition network; nothing in the file is executed but the operators of an ONNX graph.

    Raises UserError for a damaged file or an unknown architecture, which lists the known ones.
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


def _missing(path: Path, package: str) -> UserError:
    return UserError(
        f"{path}: ONNX files need {package}; pip install 'invid[identity]', or give a state dict"
    )


def _load_mobilefacenet(path: Path) -> Callable[[Tensor], Tensor]:
    network = MobileFaceNet()
    try:
        network.load_state_dict(_read_state(path))
    except RuntimeError:  # other names or shapes
        raise _unknown(path) from None
    return network.eval().requires_grad_(False)


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, at the top level or under `state_dict`; raises UserError."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            # TorchScript is a program with operators that open and write files.
            raise UserError(
                f"{path}: is TorchScript, a program, and is not run; give its state dict or its ONNX export"
            )
        data = read_torch_file(path)
    except (CheckpointError, SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: is damaged, or holds more than a state dict ({shortened(error)}); known are {KNOWN}"
        ) from None
    state = data.get("state_dict", data) if isinstance(data, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _unknown(path)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _is_torchscript(path: Path) -> bool:
    """True for an archive that holds code."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name or name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _load_onnx(path: Path) -> FaceEmbedder:
    """Load an ONNX file whose architecture is known. Raises UserError."""
    if path.stat().st_size > _MOST_BYTES:
        raise UserError(f"{path}: is larger than 1 GiB, which no known network is; known are {KNOWN}")
    data = path.read_bytes()
    try:
        layout = onnx_layout(data)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except ImportError:
        raise _missing(path, "onnx") from None
    if layout is None:
        raise _unknown(path)
    try:
        import onnxruntime
    except ImportError:
        raise _missing(path, "onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        # from bytes, so that the model cannot refer to other files
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of onnxruntime have no other common base
        raise UserError(f"{path}: onnxruntime cannot load it ({error})") from None
    name = session.get_inputs()[0].name

    def run(faces: Tensor) -> Tensor:
        one_by_one = [session.run(None, {name: face[None].numpy()})[0] for face in faces]
        return torch.from_numpy(np.concatenate(one_by_one).reshape(len(faces), -1))

    return FaceEmbedder(layout, run)
