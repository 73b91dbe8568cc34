"""Pseudo views: what frames would look like from other cameras (HFGI3D, Xie et al. 2023).

What a frame shows is warped there by the depth of a generator tuned to it; what it hides is the generator's
own render.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.fields.warping import Camera, trusted, warp
from inverters.fitting.targets import Targets
from inverters.rendering.cameras import eg3d_sampler
from inverters.rendering.cameras import intrinsics as focal_intrinsics
from inverters.rendering.sampling import Sampling

WHOLLY_SEEN = 0.999
"""Least value of a given mask, as it is resampled, of a pixel that is the face's alone."""


@dataclass(frozen=True)
class PseudoViewPreset:
    """Which views there are, and how much of them is the frame's."""

    frames: int
    """So many frames of the clip, evenly spaced, are seen from elsewhere; all where there are fewer."""
    poses: int
    """Cameras on a closed path about the front, the same for each frame."""
    yaw: float
    pitch: float
    centre: float
    """The path in the arguments of EG3D's sampler: pi/2 + yaw sin(t), pi/2 + centre + pitch cos(t)."""
    tolerance: float
    """Two depths of one surface, seen by two cameras, differ by no more, in world units."""
    erosion: int
    border: int
    feather: int
    """Sides of windows in pixels of a picture 512 wide (see `warping.trusted`)."""


@dataclass(frozen=True)
class PseudoViews:
    """Every frame from every camera: images uint8 [F,P,3,S,S]; rows [F] of the problem; cameras of the P
    poses.
    """

    images: Tensor
    rows: Tensor
    cameras: Camera

    def __len__(self) -> int:
        return self.images.shape[0] * self.images.shape[1]

    def view(self, k: int) -> tuple[Tensor, Tensor, Camera]:
        """The picture [1,3,S,S] in [-1,1] of view k, its row [1] and its camera."""
        frame, pose = divmod(k, self.images.shape[1])
        image = self.images[frame, pose][None].float() / 127.5 - 1
        cam2world, intrinsics = self.cameras
        return image.to(cam2world.device), self.rows[frame][None], (cam2world[[pose]], intrinsics[[pose]])


def chosen_rows(frames: int, preset: PseudoViewPreset) -> Tensor:
    """Rows [F] of the frames of a clip that get pseudo views."""
    return torch.linspace(0, frames - 1, min(preset.frames, frames)).round().long()


def camera_path(generator: Any, preset: PseudoViewPreset, device: torch.device) -> Camera:
    """The cameras of all poses, looking at the generator's pivot with its own focal length."""
    config = generator.config
    t = 2 * math.pi * torch.arange(preset.poses) / preset.poses
    horizontal = math.pi / 2 + preset.yaw * torch.sin(t)
    vertical = math.pi / 2 + preset.centre + preset.pitch * torch.cos(t)
    cam2world = eg3d_sampler(horizontal, vertical, config.camera_pivot, config.camera_radius)
    return cam2world.to(device), focal_intrinsics(config.camera_focal, preset.poses).to(device)


@torch.no_grad()
def rendered_views(
    generator: Any, targets: Targets, ws: Tensor, sampling: Sampling, preset: PseudoViewPreset
) -> Tensor:
    """The pictures of all pseudo views, uint8 [F,P,3,S,S], by a generator tuned to the frames.

    What a given mask hides counts as hidden. One view at a time, so that memory is that of one render.

    Args:
        ws: codes [K,num_ws,w_dim] of all rows.
    """
    size = generator.config.img_resolution
    cam2world, intrinsics = camera_path(generator, preset, targets.device)
    found = []
    for row in chosen_rows(len(targets), preset):
        at = row[None]
        camera = targets.cam2world[at], targets.intrinsics[at]
        planes = generator.planes(ws[at])
        depth = generator.render(planes, *camera, sampling=sampling).depth
        keep = targets.keep_image(at, size)
        picture = torch.cat([targets.image(at, size) * keep, keep], dim=1)
        for k in range(preset.poses):
            other = cam2world[[k]], intrinsics[[k]]
            own = generator.synthesis(ws[at], *other, sampling=sampling, planes=planes)
            warped, visible, inside = warp(picture, depth, camera, own.depth, other, preset.tolerance)
            visible &= warped[:, 3:] >= WHOLLY_SEEN
            share = trusted(visible, inside, preset.erosion, preset.border, preset.feather)
            filled = own.image.clamp(-1, 1).lerp(warped[:, :3], share)
            found.append(((filled + 1) * 127.5).round().clamp(0, 255).byte().cpu())
    return torch.cat(found).reshape(-1, preset.poses, 3, size, size)
