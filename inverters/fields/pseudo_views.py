"""Pseudo views: pictures of a frame from other cameras (HFGI3D, Xie et al. 2023).

What the frame shows is warped to the other camera by the depth of a generator tuned to the clip; what it
hides is filled by that generator's render.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.fields.warping import Camera, trusted, warp
from inverters.rendering.cameras import eg3d_sampler
from inverters.rendering.cameras import intrinsics as focal_intrinsics
from inverters.rendering.sampling import Sampling

WHOLLY_SEEN = 0.999
"""Least value of a resampled mask at which a pixel counts as face alone."""


@dataclass(frozen=True)
class PseudoViewSettings:
    """Number and cameras of the pseudo views, and how much of a warped frame is used."""

    frames: int
    """Number of frames, evenly spaced, that get pseudo views; all of a shorter clip."""
    poses: int
    """Number of cameras, on a closed path about the front; the same for each frame."""
    yaw: float
    pitch: float
    centre: float
    """The path in the arguments of EG3D's sampler: pi/2 + yaw sin(t), pi/2 + centre + pitch cos(t)."""
    tolerance: float
    """Greatest difference, in world units, between depths of one surface seen by two cameras."""
    erosion: int
    border: int
    feather: int
    """Sides of the windows of `warping.trusted`, in pixels of a picture 512 wide."""


@dataclass(frozen=True)
class PseudoViews:
    """Each frame seen by each camera."""

    images: Tensor
    """uint8 [F,P,3,S,S]."""
    rows: Tensor
    """[F], rows of the problem."""
    cameras: Camera
    """Of the P poses."""

    def __len__(self) -> int:
        return self.images.shape[0] * self.images.shape[1]

    def view(self, k: int) -> tuple[Tensor, Tensor, Camera]:
        """Return the picture [1,3,S,S] in [-1,1] of view k, its row [1] and its camera."""
        frame, pose = divmod(k, self.images.shape[1])
        image = self.images[frame, pose][None].float() / 127.5 - 1
        cam2world, intrinsics = self.cameras
        return image.to(cam2world.device), self.rows[frame][None], (cam2world[[pose]], intrinsics[[pose]])


def chosen_rows(frames: int, settings: PseudoViewSettings) -> Tensor:
    """Return the rows [F] of the frames of a clip that get pseudo views."""
    return torch.linspace(0, frames - 1, min(settings.frames, frames)).round().long()


def camera_path(generator: Any, settings: PseudoViewSettings, device: torch.device) -> Camera:
    """Return the cameras of all poses: they look at the generator's pivot with its own focal length."""
    config = generator.config
    t = 2 * math.pi * torch.arange(settings.poses) / settings.poses
    horizontal = math.pi / 2 + settings.yaw * torch.sin(t)
    vertical = math.pi / 2 + settings.centre + settings.pitch * torch.cos(t)
    cam2world = eg3d_sampler(horizontal, vertical, config.camera_pivot, config.camera_radius)
    return cam2world.to(device), focal_intrinsics(config.camera_focal, settings.poses).to(device)


@torch.no_grad()
def views_of(
    generator: Any,
    picture: Tensor,
    ws: Tensor,
    camera: Camera,
    path: Camera,
    sampling: Sampling,
    settings: PseudoViewSettings,
) -> Tensor:
    """Return the pseudo views uint8 [P,3,S,S] of one frame, rendered one at a time to bound the memory.

    Args:
        generator: tuned to the clip.
        picture: [1,4,S,S], colours in [-1,1] times the mask, then the mask (1 = face). What the mask hides is
            filled by the render.
        ws: codes [1,num_ws,w_dim] of the frame.
        camera: camera of the frame, N = 1.
        path: cameras of the P poses.
        sampling: samples of the rays, for the depths and the renders.
        settings: tolerance and windows of the warp.
    """
    cam2world, intrinsics = path
    planes = generator.planes(ws)
    depth = generator.render(planes, *camera, sampling=sampling).depth
    found = []
    for k in range(len(cam2world)):
        other = cam2world[[k]], intrinsics[[k]]
        own = generator.synthesis(ws, *other, sampling=sampling, planes=planes)
        warped, visible, inside = warp(picture, depth, camera, own.depth, other, settings.tolerance)
        visible &= warped[:, 3:] >= WHOLLY_SEEN
        share = trusted(visible, inside, settings.erosion, settings.border, settings.feather)
        filled = own.image.clamp(-1, 1).lerp(warped[:, :3], share)
        found.append(((filled + 1) * 127.5).round().clamp(0, 255).byte().cpu())
    return torch.cat(found)
