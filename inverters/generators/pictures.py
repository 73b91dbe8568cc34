"""A stored set of true pictures of procedural heads: windows about the face, rendered once, read many
times."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inverters.generators.supervision import random_cameras, spread_scores
from inverters.heads.render import render
from inverters.rendering.cameras import default_intrinsics

_PART = 50
"""Pictures a file: what a stopped call loses at most."""


def window_intrinsics(corner: Tensor, side: int, whole: int) -> Tensor:
    """Intrinsics [N,3,3] of a window of `side` pixels, its corner [N,2] = (x, y), in a picture of `whole`."""
    intrinsics = default_intrinsics(len(corner))
    intrinsics[:, :2, 2] -= corner / whole
    intrinsics[:, :2] *= whole / side
    return intrinsics


@torch.no_grad()
def make_pictures(
    folder: Path, count: int, seed: int, whole: int = 256, side: int = 160, step: int = 4
) -> None:
    """Render `count` windows into `folder`, going on from an earlier call.

    Each file holds uint8 images [n,3,side,side], scores [n,P], cam2world [n,4,4] and the window's corner
    [n,2] in pixels of the whole picture, a multiple of `step`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    room = (whole - side) // step
    for first in range(0, count, _PART):
        path = folder / f"pictures-{first:06d}.safetensors"
        if path.exists():
            continue
        n = min(_PART, count - first)
        rng = torch.Generator().manual_seed((2_500_000_000 + seed * 1_000_003 + first) % 2**32)
        scores, cam2world = spread_scores(n, rng), random_cameras(n, rng)
        middle = room / 2 + torch.randn(n, 2, generator=rng) * room / 5
        corner = (middle.round().clamp(0, room) * step).long()
        image = render(scores, cam2world, window_intrinsics(corner, side, whole), (side, side)).image
        pixels = ((image + 1) * 127.5).round().byte()
        tensors = {"image": pixels, "scores": scores, "cam2world": cam2world, "corner": corner}
        draft = path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in tensors.items()}, draft)
        draft.rename(path)
        print(f"{first + n}/{count} pictures", flush=True)


def load_pictures(folder: Path) -> dict[str, Tensor]:
    """All pictures that `make_pictures` has written to `folder`."""
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
    """`count` patches of `patch` low-resolution pixels a side, from pictures drawn with `rng`.

    Returns patch_scores [n,P], patch_cam2world [n,4,4], patch_uv [n,p*p,2] of the low-resolution rays, and
    patch_image [n,3,p*up,p*up] in [-1,1] at full resolution.
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
    axis = torch.arange(patch) + 0.5
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    corner = (pictures["corner"][rows] / up + inner).unsqueeze(1)
    return {
        "patch_scores": pictures["scores"][rows],
        "patch_cam2world": pictures["cam2world"][rows],
        "patch_uv": (torch.stack([u, v], -1).reshape(1, -1, 2) + corner) / neural_resolution,
        "patch_image": torch.stack(images).float() / 127.5 - 1,
    }
