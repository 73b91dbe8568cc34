"""Stored windows of pictures of procedural heads, rendered once and read many times.

Crops estimated from a video are framed differently from the generator's own camera. The focal length
therefore varies from 0.8 to 1.1 times EG3D's (ZOOM). Every second window lies near the face, the others
anywhere in the picture.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inverters.heads.render import render
from inverters.rendering.cameras import default_intrinsics
from inverters.rendering.rays import pixel_centres
from inverters.training.supervision import random_cameras, spread_scores

ZOOM = (0.8, 1.1)
"""Range of the focal length, relative to EG3D's."""

PICTURE_SEED = 2_500_000_000
"""First seed of pictures, apart from those of the point batches."""

_PART = 50
"""Pictures a file, and the most that an interrupted call loses."""


def zoomed_intrinsics(zoom: Tensor) -> Tensor:
    """Return intrinsics [N,3,3] of whole pictures whose focal length is `zoom` [N] times EG3D's."""
    intrinsics = default_intrinsics(len(zoom))
    intrinsics[:, :2, :2] *= zoom[:, None, None]
    return intrinsics


def window_intrinsics(corner: Tensor, side: int, whole: int, zoom: Tensor) -> Tensor:
    """Return the intrinsics [N,3,3] of square windows cut from pictures.

    Args:
        corner: [N,2] = (x, y), top left corners in pixels.
        side: side of a window in pixels.
        whole: side of a picture in pixels.
        zoom: [N], focal lengths of the pictures relative to EG3D's.
    """
    intrinsics = zoomed_intrinsics(zoom)
    intrinsics[:, :2, 2] -= corner / whole
    intrinsics[:, :2] *= whole / side
    return intrinsics


@torch.no_grad()
def make_pictures(
    folder: Path, count: int, seed: int, whole: int = 256, side: int = 160, step: int = 4
) -> None:
    """Render `count` windows into `folder`; files that exist already are kept.

    Each file holds uint8 images [n,3,side,side], scores [n,P], cam2world [n,4,4], zoom [n], and the window's
    corner [n,2] in pixels of the whole picture, a multiple of `step`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    room = (whole - side) // step
    for first in range(0, count, _PART):
        path = folder / f"pictures-{first:06d}.safetensors"
        if path.exists():
            continue
        n = min(_PART, count - first)
        rng = torch.Generator().manual_seed((PICTURE_SEED + seed * 1_000_003 + first) % 2**32)
        scores, cam2world = spread_scores(n, rng), random_cameras(n, rng)
        about_face = room / 2 + torch.randn(n, 2, generator=rng) * room / 5
        anywhere = torch.rand(n, 2, generator=rng) * room
        middle = torch.where(torch.arange(n)[:, None] % 2 == 0, about_face, anywhere)
        corner = (middle.round().clamp(0, room) * step).long()
        zoom = ZOOM[0] * (ZOOM[1] / ZOOM[0]) ** torch.rand(n, generator=rng)
        image = render(scores, cam2world, window_intrinsics(corner, side, whole, zoom), (side, side)).image
        pixels = ((image + 1) * 127.5).round().byte()
        tensors = {"image": pixels, "scores": scores, "cam2world": cam2world, "zoom": zoom, "corner": corner}
        draft = path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in tensors.items()}, draft)
        draft.rename(path)
        print(f"{first + n}/{count} pictures", flush=True)


def load_pictures(folder: Path) -> dict[str, Tensor]:
    """Read all windows that `make_pictures` has written to `folder`; {} if there are none."""
    parts = [load_file(path) for path in sorted(folder.glob("pictures-*.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}


def patch_batch(
    pictures: dict[str, Tensor],
    count: int,
    patch: int,
    rng: torch.Generator,
    *,
    whole: int = 256,
    neural_resolution: int = 64,
) -> dict[str, Tensor]:
    """Draw patches at random from stored windows.

    Args:
        pictures: from `load_pictures`.
        count: number of patches n.
        patch: side p of a patch in pixels of the raw image.
        rng: source of the draws.
        whole: side of the final image in pixels.
        neural_resolution: side of the raw image in pixels.

    Returns:
        patch_scores [n,P]; patch_cam2world [n,4,4] and patch_intrinsics [n,3,3] of the whole pictures;
        patch_uv [n,p*p,2] of the raw pixels; patch_image [n,3,p*up,p*up] in [-1,1], final pixels, `up` of
        them a raw pixel.
    """
    up = whole // neural_resolution
    rows = torch.randint(len(pictures["scores"]), (count,), generator=rng)
    room = pictures["image"].shape[-1] // up - patch
    inner = torch.randint(room + 1, (count, 2), generator=rng)
    size = patch * up
    images = [
        pictures["image"][row, :, y * up : y * up + size, x * up : x * up + size]
        for row, (x, y) in zip(rows.tolist(), inner.tolist(), strict=True)
    ]
    corner = pictures["corner"][rows] / up + inner
    return {
        "patch_scores": pictures["scores"][rows],
        "patch_cam2world": pictures["cam2world"][rows],
        "patch_intrinsics": zoomed_intrinsics(pictures["zoom"][rows]),
        "patch_uv": window_positions(corner, patch, neural_resolution),
        "patch_image": torch.stack(images).float() / 127.5 - 1,
    }


def window_positions(corner: Tensor, side: int, whole: int) -> Tensor:
    """Return where the pixels of windows lie in a picture: [N,side*side,2] in [0,1].

    Args:
        corner: top left corner of each window, [N,2] = (x, y) in pixels.
        side: side of a window in pixels.
        whole: side of the picture in pixels.
    """
    return (pixel_centres((side, side)) * side + corner.unsqueeze(1)) / whole
