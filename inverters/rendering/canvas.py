"""Canvas and camera of drawn pictures: projection, argument checks, samples averaged into pixels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NEAR = 1e-3
"""Depth in world units before which nothing is drawn."""
LARGEST = 8192
"""Most rows or columns of samples."""
STEPS = 256
"""Steps of a fixed-point position per sample."""
_REACH = 2.0**20
"""Distance from the canvas in samples beyond which a point counts as not projectable."""

Size = int | tuple[int, int]
"""Rows and columns; one number for a square."""


@dataclass
class Canvas:
    """Buffers of one picture at sample resolution, e.g. 512 x 512 for 256 x 256 pixels of 2 x 2 samples."""

    colour: Tensor
    """[H,W,3] float32, in the units of the colours drawn (people are drawn in display values)."""
    depth: Tensor
    """[H,W] float32: distance along the camera's axis in world units, inf where nothing is drawn."""
    label: Tensor
    """[H,W] uint8: label of the nearest surface, 0 where nothing is drawn."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of samples."""
        return self.depth.shape[0], self.depth.shape[1]


@dataclass(frozen=True)
class Camera:
    """A camera in EG3D's convention (`cameras.py`)."""

    cam2world: Tensor
    """[4,4] with OpenCV axes."""
    intrinsics: Tensor
    """[3,3] divided by the image size."""

    def __post_init__(self) -> None:
        if self.cam2world.shape != (4, 4) or self.intrinsics.shape != (3, 3):
            seen = f"{list(self.cam2world.shape)} and {list(self.intrinsics.shape)}"
            raise ValueError(f"a camera has cam2world [4,4] and intrinsics [3,3], not {seen}")


class Screen(NamedTuple):
    """Points on the canvas."""

    x: Tensor
    y: Tensor
    """[...] float32 in samples, or int32 in 1 / STEPS samples so that coverage is exact."""
    inverse_depth: Tensor
    """[...] float32; 0, as x and y, for a point before NEAR, far outside the canvas or not finite."""


def new_canvas(size: Size, background: Tensor) -> Canvas:
    """Return an empty canvas on the background's device.

    Args:
        size: rows and columns of samples, 1 to 8192.
        background: [3] or [H,W,3] float32.

    Raises:
        ValueError: another size, shape or dtype.
    """
    height, width = checked_size(size)
    check("background", background, torch.float32)
    if background.shape not in {(3,), (height, width, 3)}:
        raise ValueError(f"background is {list(background.shape)}, not [3] or [{height},{width},3]")
    colour = background.expand(height, width, 3).clone(memory_format=torch.contiguous_format)
    depth = torch.full((height, width), torch.inf, device=background.device)
    return Canvas(colour, depth, torch.zeros((height, width), dtype=torch.uint8, device=background.device))


def checked_size(size: Size) -> tuple[int, int]:
    """Return `size` as rows and columns. Raises ValueError for one that is not 1 to 8192."""
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
        raise ValueError(f"a canvas has 1 to {LARGEST} rows and columns, not {height} x {width}")
    return height, width


def check(
    name: str,
    tensor: Tensor,
    dtype: torch.dtype,
    shape: Sequence[int] | None = None,
    like: Tensor | None = None,
) -> None:
    """Raise ValueError unless `tensor` has this dtype, shape (-1: any length) and the device of `like`."""
    if tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype}, not {dtype}")
    if shape is not None and (
        tensor.ndim != len(shape) or any(w not in (-1, n) for n, w in zip(tensor.shape, shape, strict=True))
    ):
        wanted = str(list(shape)).replace("-1", "any")
        raise ValueError(f"{name} is {list(tensor.shape)}, not {wanted}")
    if like is not None and tensor.device != like.device:
        raise ValueError(f"{name} is on {tensor.device}, not on {like.device}")


def check_canvas(canvas: Canvas) -> None:
    """Raise ValueError for a canvas whose buffers do not belong together or are not dense."""
    check("canvas.depth", canvas.depth, torch.float32, (-1, -1))
    height, width = checked_size(canvas.size)
    check("canvas.colour", canvas.colour, torch.float32, (height, width, 3), canvas.depth)
    check("canvas.label", canvas.label, torch.uint8, (height, width), canvas.depth)
    if not all(t.is_contiguous() for t in (canvas.colour, canvas.depth, canvas.label)):
        raise ValueError("the buffers of a canvas are contiguous tensors")


def project(camera: Camera, points: Tensor, size: tuple[int, int]) -> Screen:
    """Project points [...,3] to a canvas of `size` (rows, columns)."""
    height, width = size
    rotation = camera.cam2world[:3, :3].double().mT
    scale = torch.tensor([width, height, 1.0], dtype=torch.float64, device=rotation.device)
    matrix = scale[:, None] * camera.intrinsics.to(rotation) @ rotation
    matrix[2] = rotation[2]
    offset = -(matrix @ camera.cam2world[:3, 3].double())
    # Rows of x, y and z: much faster than columns.
    rows = torch.addmm(offset.to(points)[:, None], matrix.to(points), points.reshape(-1, 3).mT)
    inverse = rows[2].reciprocal()
    position = rows[:2] * inverse
    # Comparisons are false for what is not a number.
    good = (rows[2] > NEAR) & (position.abs().amax(0) < _REACH)
    x, y = position.masked_fill_(~good, 0).reshape(2, *points.shape[:-1])
    return Screen(x, y, inverse.masked_fill_(~good, 0).reshape(points.shape[:-1]))


def project_fixed(camera: Camera, points: Tensor, size: tuple[int, int]) -> Screen:
    """Project points [V,3] to a canvas of `size`, in 1 / STEPS samples."""
    x, y, inverse = project(camera, points, size)
    fixed_x, fixed_y = ((v * STEPS).round_().to(torch.int32) for v in (x, y))
    return Screen(fixed_x, fixed_y, inverse)


def focal_samples(camera: Camera, size: tuple[int, int]) -> float:
    """Return the focal length in samples, the geometric mean of both axes."""
    k = camera.intrinsics
    return float((k[0, 0] * size[1] * k[1, 1] * size[0]).double().sqrt())


def resolve(canvas: Canvas, samples: int = 2) -> tuple[Tensor, Tensor]:
    """Return colour [h,w,3], the mean of `samples` x `samples`, and depth [h,w], the nearest of them.

    Raises:
        ValueError: the canvas is not a multiple of `samples`.
    """
    h, w = _pixels(canvas, samples)
    colour = canvas.colour.reshape(h, samples, w, samples, 3).mean((1, 3))
    return colour, canvas.depth.reshape(h, samples, w, samples).amin((1, 3))


def label_alpha(canvas: Canvas, labels: Collection[int], samples: int = 2) -> Tensor:
    """Return the share [h,w] of each pixel's samples that have one of `labels`.

    Raises:
        ValueError: the canvas is not a multiple of `samples`.
    """
    h, w = _pixels(canvas, samples)
    chosen = torch.zeros(256, device=canvas.label.device)
    chosen[list(labels)] = 1
    return chosen[canvas.label.int()].reshape(h, samples, w, samples).mean((1, 3))


def _pixels(canvas: Canvas, samples: int) -> tuple[int, int]:
    height, width = canvas.size
    if samples < 1 or height % samples or width % samples:
        raise ValueError(f"{height} x {width} samples do not divide into pixels of {samples} x {samples}")
    return height // samples, width // samples
