"""Landmark model `3ddfa`: 3DDFA_V2 (Guo et al. 2020), 68 landmarks of a morphable face model.

Its files are the user's own; the basis is licensed for research only.
"""

from __future__ import annotations

import io
import pickle
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import DAMAGE, PlainUnpickler
from inverters.generators.small_files import open_regular
from inverters.generators.torch_file import read_torch_file
from inverters.generators.unpickle import Function
from pipeline.clip import F32, F64, U8
from pipeline.errors import UserError, shortened
from pipeline.faces.landmark_indices import IBUG_POINTS
from pipeline.faces.landmark_model import FaceDetection, Floats, LandmarkModel, box_of, no_mesh, square_window

_INPUT = 120
_MOST_SCALING = 1 << 16
_BLOCKS = (
    *(("dw2_1", 2, 1), ("dw2_2", 4, 2), ("dw3_1", 4, 1), ("dw3_2", 8, 2), ("dw4_1", 8, 1), ("dw4_2", 16, 2)),
    *((f"dw5_{k}", 16, 1) for k in range(1, 6)),
    *(("dw5_6", 32, 2), ("dw6", 32, 1)),
)
"""Name, channels / 16 and stride of the blocks of MobileNet V1 at half width (Howard et al. 2017)."""

_FILES = {
    "network": "mb05_120x120.pth",
    "scaling": "param_mean_std_62d_120x120.pkl",
    "mean": "u_base.npy",
    "shape": "w_shp_base.npy",
    "expression": "w_exp_base.npy",
}


class _Separable(nn.Module):
    """Depthwise 3x3, then pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn_dw = nn.BatchNorm2d(inputs)
        self.conv_sep = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N,inputs,h,w] -> [N,outputs,h/stride,w/stride]."""
        x = torch.relu(self.bn_dw(self.conv_dw(x)))
        return torch.relu(self.bn_sep(self.conv_sep(x)))


class MobileNetHalf(nn.Module):
    """MobileNet V1 at half width: images [N,3,120,120] to [N,62] = pose 12, shape 40, expression 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        width = 16
        for name, units, stride in _BLOCKS:
            self.add_module(name, _Separable(width, 16 * units, stride))
            width = 16 * units
        self.fc_param = nn.Linear(width, 62)

    def forward(self, x: Tensor) -> Tensor:
        """BGR, (level - 127.5) / 128, [N,3,120,120] -> [N,62]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        for name, _, _ in _BLOCKS:
            x = self.get_submodule(name)(x)
        return self.fc_param(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class TddfaLandmarks:
    """3DDFA_V2's 68 landmarks in the faces that MediaPipe detects."""

    name = "3ddfa"

    def __init__(self, folder: str | Path, finder: LandmarkModel | None = None) -> None:
        """Load the network, the scaling of its output and the 68-point rows of its basis from `folder`.

        finder: detects the faces; None takes MediaPipe. Nothing in a file is executed. Raises UserError for
        a missing, damaged or unexpected file.
        """
        files = {key: Path(folder) / name for key, name in _FILES.items()}
        missing = [path.name for path in files.values() if not path.is_file()]
        if missing:
            raise UserError(
                f"3DDFA_V2 needs {', '.join(missing)} in {folder}; see docs/formats.md or use mediapipe"
            )
        try:
            self._network = _load_network(files["network"])
            self._mean, self._std = _load_scaling(files["scaling"])
            self._base = _load_array(files["mean"], (3 * IBUG_POINTS,))
            self._shape = _load_array(files["shape"], (3 * IBUG_POINTS, 40))
            self._expression = _load_array(files["expression"], (3 * IBUG_POINTS, 10))
        except (
            CheckpointError,
            OSError,
            SyntaxError,
            tokenize.TokenError,
            zipfile.BadZipFile,
            *DAMAGE,
        ) as error:
            raise UserError(
                f"a 3DDFA_V2 file in {folder} is damaged or of another kind: {shortened(error)}"
            ) from error
        if finder is None:
            from pipeline.faces.mediapipe_mesh import MediaPipeMesh

            finder = MediaPipeMesh()
        self._finder = finder

    def close(self) -> None:
        """Free the face detector."""
        self._finder.close()

    def detect(self, frame: U8, hint: Floats | None = None) -> list[FaceDetection]:
        """Detect faces in `frame` (uint8 [H,W,3] RGB), the largest first; with `hint`, the nearest one."""
        out = []
        for face in self._finder.detect(frame, hint):
            points = self._landmarks(frame, *_region(face.landmarks68))
            # second pass on the region of 3DDFA_V2's own landmarks, as its tracker does
            points = self._landmarks(frame, *_region(points))
            out.append(FaceDetection(points, no_mesh(), box_of(points), face.score))
        return out

    def _landmarks(self, frame: U8, center: F64, side: float) -> F32:
        """68 points [68,2] in source pixels of the face in a square region."""
        window, corner = square_window(frame, center, side)
        image = torch.from_numpy(window[..., ::-1].copy()).permute(2, 0, 1)[None].float()
        image = torch.nn.functional.interpolate(
            image, size=(_INPUT, _INPUT), mode="bilinear", align_corners=False, antialias=True
        )
        with torch.no_grad():
            numbers = self._network((image - 127.5) / 128)[0].numpy().astype(np.float64)
        numbers = numbers * self._std + self._mean
        pose = numbers[:12].reshape(3, 4)
        flat = self._base + self._shape @ numbers[12:52] + self._expression @ numbers[52:62]
        points = flat.reshape(IBUG_POINTS, 3) @ pose[:, :3].T + pose[:, 3]
        # the network's pixel coordinates start at 1 and its y points up
        image_points = np.stack([points[:, 0] - 1, _INPUT - points[:, 1]], axis=1) + 0.5
        return np.asarray(image_points * (window.shape[0] / _INPUT) + corner, dtype=np.float32)


def _region(points: Floats) -> tuple[F64, float]:
    """Centre and side of 3DDFA_V2's region around landmarks: the diagonal of their square box."""
    box = box_of(points).astype(np.float64)
    return (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max() * np.sqrt(2))


def _load_network(path: Path) -> MobileNetHalf:
    data = read_torch_file(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no state dict")
    state = data.get("state_dict", data)
    state = {k.removeprefix("module."): v for k, v in state.items() if "fc_lm" not in k}
    network = MobileNetHalf()
    network.load_state_dict(state)
    return network.eval()


class _PlainArrays(PlainUnpickler):
    """Unpickler of numpy arrays of numbers; refuses every other name."""

    _ALLOWED = ("_reconstruct", "ndarray", "dtype")
    stateful = (np.ndarray, np.dtype)

    def find_class(self, module: str, name: str) -> Any:
        """Resolve the three names that a pickled array needs."""
        root, _, rest = module.partition(".")
        if (
            root != "numpy"
            or rest not in ("", "core.multiarray", "_core.multiarray")
            or name not in self._ALLOWED
        ):
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of plain numbers does")
        if name == "_reconstruct":
            return Function(_empty_array)
        return np.ndarray if name == "ndarray" else Function(_number_type)


def _empty_array(_kind: Any, _shape: Any, _code: Any) -> npt.NDArray[Any]:
    return np.ndarray((0,), dtype="b")


def _number_type(code: str, *_: Any) -> np.dtype[Any]:
    kind = np.dtype(code)
    if kind.hasobject:
        raise pickle.UnpicklingError("it holds Python objects, not numbers")
    return kind


def _load_array(path: Path, shape: tuple[int, ...]) -> F64:
    """The numbers in a .npy file. Raises ValueError, or what numpy raises for a damaged one."""
    with open_regular(path) as file:
        found = np.asarray(np.load(file, allow_pickle=False), np.float64)
    if found.size != np.prod(shape) or not np.isfinite(found).all():
        raise ValueError(f"{path.name} has shape {found.shape}; {shape} finite numbers are needed")
    return found.reshape(shape)


def _load_scaling(path: Path) -> tuple[F64, F64]:
    """Mean and standard deviation [62] of the network's output."""
    if path.stat().st_size > _MOST_SCALING:
        raise ValueError(f"{path.name} has more than {_MOST_SCALING} bytes")
    data = _PlainArrays(io.BytesIO(path.read_bytes())).load()
    mean, std = (np.asarray(data[key], dtype=np.float64).ravel() for key in ("mean", "std"))
    if mean.shape != (62,) or std.shape != (62,) or not np.isfinite([mean, std]).all():
        raise ValueError(
            f"{path.name} has {mean.size} and {std.size} numbers, 62 and 62 finite ones are needed"
        )
    return mean, std
