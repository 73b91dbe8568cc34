"""Targets of an inversion, by row: crops at the generator's raw and final size, masks, and rays."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.base import CropSource, InversionProblem
from inverters.fitting.pose import refine_cameras
from inverters.rendering.cameras import PIVOT
from inverters.rendering.rays import pixel_centres, project, rays_at

PASSING = 0.05
"""Share of the picture by which the cover of a face changes along a clip where it comes and goes."""
_LOOKS = 64
NEAR = 0.03
"""Standard deviation, in image widths, of pixels drawn about a landmark: an eye is about a tenth wide."""


class Targets:
    """Rows of a problem as tensors.

    Targets of raw size are kept once read (3 bytes a pixel); crops are read on demand.
    """

    def __init__(self, problem: InversionProblem, resolution: int, device: torch.device) -> None:
        self.problem, self.resolution, self.device = problem, resolution, device
        self.cam2world = problem.cam2world.to(device=device, dtype=torch.float32)
        self.intrinsics = problem.intrinsics.to(device=device, dtype=torch.float32)
        self.pivot = torch.tensor(PIVOT, device=device)
        count = len(problem.frames)
        self._raw = torch.zeros(count, 3, resolution, resolution, dtype=torch.uint8)
        self._keep = torch.full((count, resolution, resolution), 255, dtype=torch.uint8)
        self._known = torch.zeros(count, dtype=torch.bool)
        self._centres = pixel_centres((resolution, resolution), device=device)

    def __len__(self) -> int:
        return len(self.problem.frames)

    def image(self, rows: Tensor, size: int | None = None) -> Tensor:
        """Return the crops of these rows [n,3,S,S] in [-1,1], resampled to `size` if that is given."""
        images = _read(self.problem.crops, rows).permute(0, 3, 1, 2).float() / 127.5 - 1
        return resized(images, size or images.shape[-1]).to(self.device)

    def raw(self, rows: Tensor) -> Tensor:
        """Return the targets of the neural rendering [n,3,h,h] in [-1,1]."""
        self._fill(rows)
        return self._raw[rows].to(self.device).float() / 127.5 - 1

    def keep(self, rows: Tensor) -> Tensor:
        """Return the masks at raw size [n,h,h]: 1 on the face, 0 on the occluder; ones without masks."""
        self._fill(rows)
        return self._keep[rows].to(self.device).float() / 255

    def keep_image(self, rows: Tensor, size: int) -> Tensor:
        """Return the masks at another size, resampled from the given ones: [n,1,size,size], as `keep`."""
        if self.problem.occluder_masks is None:
            return torch.ones(len(rows), 1, size, size, device=self.device)
        return (self._masks(self.problem.occluder_masks, rows, size) / 255).to(self.device)

    def cover_passes(self) -> bool:
        """Whether what covers the face comes and goes: the covered share changes by more than PASSING.

        A mask or sunglasses cover about the same in all frames, a hand or a glass does not. At most 64 frames
        are looked at. False without masks.
        """
        masks, count = self.problem.occluder_masks, len(self)
        if masks is None:
            return False
        rows = torch.linspace(0, count - 1, min(count, _LOOKS)).round().long()
        kept = torch.cat([_read(masks, row).float().mean()[None] for row in rows.split(1)]) / 255
        return float(kept.max() - kept.min()) > PASSING

    def refined(self, pose: Tensor) -> dict[str, Tensor]:
        """Return cam2world [K,4,4] and intrinsics [K,3,3] of all rows, corrected by pose [1 or K,7]."""
        refined = refine_cameras(self.cam2world, self.intrinsics, pose, self.pivot)
        return dict(zip(("cam2world", "intrinsics"), refined, strict=True))

    def rays(self, rows: Tensor, pixels: Tensor, pose: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return origins and unit directions [n,R,3] of pixels of the raw image.

        Args:
            rows: [n], rows of the problem.
            pixels: [n,R], indices of pixels, counted row by row.
            pose: a correction of the cameras [7] or [1 or n,7] (see `fitting.pose`), about `pivot`.
        """
        cameras = self.cam2world[rows], self.intrinsics[rows]
        if pose is not None:
            cameras = refine_cameras(*cameras, pose, self.pivot)
        return rays_at(*cameras, self._centres[pixels])

    def pixels_near(self, rows: Tensor, points: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Draw pixels [n,count] of the raw image near the projections of world points [L,3].

        Each lies about one projection, drawn at random, with standard deviation NEAR in image widths.
        """
        chosen = points[torch.randint(len(points), (len(rows), count), generator=rng)]
        seen = project(chosen.to(self.device), self.cam2world[rows], self.intrinsics[rows])
        seen = seen + NEAR * torch.randn(seen.shape, generator=rng).to(seen)
        u, v = (seen * self.resolution).long().clamp(0, self.resolution - 1).unbind(-1)
        return v * self.resolution + u

    def near(self, rows: Tensor, points: Tensor, reach: float, size: int) -> Tensor:
        """Return a mask [n,1,size,size], 0 or 1, of the pixels near the projections of world points.

        The distance is measured between pixels of the raw image; the mask is enlarged to `size`.

        Args:
            rows: [n], rows of the problem.
            points: [L,3], projected by the problem's cameras.
            reach: greatest distance in image widths.
            size: side of the mask in pixels.
        """
        seen = project(points.to(self.device), self.cam2world[rows], self.intrinsics[rows])
        apart = torch.stack([torch.cdist(self._centres, own).amin(1) for own in seen])
        small = (apart < reach).float().reshape(len(rows), 1, self.resolution, self.resolution)
        return F.interpolate(small, size=(size, size))

    def _masks(self, masks: CropSource, rows: Tensor, size: int) -> Tensor:
        found = _read(masks, rows).float()
        return resized(found.reshape(len(rows), 1, *found.shape[1:3]), size).clamp(0, 255)

    def _fill(self, rows: Tensor) -> None:
        missing = rows[~self._known[rows]]
        if not len(missing):
            return
        small = self.image(missing, self.resolution).cpu()
        self._raw[missing] = ((small.clamp(-1, 1) + 1) * 127.5).round().byte()
        if self.problem.occluder_masks is not None:
            masks = self._masks(self.problem.occluder_masks, missing, self.resolution)
            self._keep[missing] = masks[:, 0].round().byte()
        self._known[missing] = True


def resized(images: Tensor, size: int) -> Tensor:
    """Resample images [n,C,S,S]: by area means for whole factors, else bilinear with antialiasing."""
    have = images.shape[-1]
    if have == size:
        return images
    if have % size == 0:
        return F.avg_pool2d(images, have // size)
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def _read(source: CropSource, rows: Tensor) -> Tensor:
    """Rows of an array-like source; distinct, in any order."""
    return torch.from_numpy(np.ascontiguousarray(source[rows.cpu().numpy()]))


def frames_of_step(step: int, per_step: int, count: int, seed: int) -> Tensor:
    """Return the rows [min(per_step, count)], all distinct, that step `step` visits, in shuffled epochs.

    They depend on the arguments alone, so that a resumed run visits the same rows.
    """
    per_step = min(per_step, count)
    per_epoch = -(-count // per_step)
    epoch, place = divmod(step, per_epoch)
    rng = torch.Generator().manual_seed((seed * 1_000_003 + epoch * 7919 + 17) % (1 << 62))
    order = torch.randperm(count, generator=rng)
    start = min(place * per_step, count - per_step)  # the last step of an epoch is filled up
    return order[start : start + per_step]


def random_pixels(n: int, rays: int, resolution: int, rng: torch.Generator) -> Tensor:
    """Draw pixels [n,R] uniformly; all of them in order if `rays` is 0 or at least their number."""
    total = resolution * resolution
    if rays <= 0 or rays >= total:
        return torch.arange(total).expand(n, -1)
    return torch.randint(total, (n, rays), generator=rng)


def patch_pixels(corner: Tensor, side: int, size: int) -> Tensor:
    """Return the pixels [1,side*side] of a square whose top left pixel is `corner` (row, column).

    Pixels are counted row by row in an image of `size` x `size`.
    """
    span = torch.arange(side)
    return ((corner[0] + span)[:, None] * size + corner[1] + span).reshape(1, -1)


def at_pixels(images: Tensor, pixels: Tensor) -> Tensor:
    """Return the values [n,R,C] of images [n,C,h,w] (or [n,R] of [n,h,w]) at pixels [n,R]."""
    if images.ndim == 3:
        return images.flatten(1).gather(1, pixels)
    flat = images.flatten(2)
    return flat.gather(2, pixels[:, None].expand(-1, flat.shape[1], -1)).mT
