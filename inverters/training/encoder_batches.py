"""What a step of an encoder's training sees: pictures, half of them covered, with codes and covers as truth.

Three sources: the stored people (true pictures), people drawn behind occluders, and the generator's own
samples. Onto half of the uncovered ones an occluder is copied from a picture of another person that was seen
from nearly the same side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.training.covered_people import CoveredPeople
from inverters.training.stored_set import StoredPeople, framing

SIZE = 128
"""Side of all pictures in pixels."""
_NEIGHBOURS = 12
"""Views nearest in angle among which the one is drawn that an occluder is copied from."""
_SHARE = 0.5
"""Share of the uncovered pictures that an occluder is copied onto."""


@dataclass(frozen=True)
class Views:
    """Pictures with their truth, before they are framed."""

    image: Tensor
    """[n,3,128,128] in [-1,1]."""
    cover: Tensor
    """[n,1,128,128] in [0,1]."""
    cam2world: Tensor
    """[n,4,4]."""
    zoom: Tensor
    """[n], focal length relative to EG3D's."""
    codes: Tensor
    """[n,P]: scores of a person; or [n,num_ws,w_dim]: a sample's w+."""

    def of(self, rows: Tensor | slice) -> Views:
        """Return some of them."""
        return Views(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> Views:
        """Return them on a device."""
        return Views(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def small(images: Tensor) -> Tensor:
    """Map uint8 pictures [n,3,S,S] to [n,3,128,128] in [-1,1], by area for whole factors."""
    images = images.float() / 127.5 - 1
    if images.shape[-1] % SIZE == 0:
        return F.avg_pool2d(images, images.shape[-1] // SIZE)
    return F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)


def stored_views(stored: StoredPeople, count: int, rng: torch.Generator) -> Views:
    """Draw true pictures of so many stored people."""
    people = torch.randint(len(stored), (count,), generator=rng).tolist()
    views = [[int(torch.randint(stored.views_of(k), (1,), generator=rng))] for k in people]
    return stored_rows(stored, people, views)


def stored_rows(stored: StoredPeople, people: list[int], views: list[list[int]]) -> Views:
    """Return one view of each of these stored people."""
    found = stored.read(people, views, ("image", "cam2world", "zoom", "scores"))
    image = small(found["image"][:, 0])
    cover = torch.zeros(len(people), 1, SIZE, SIZE)
    return Views(image, cover, found["cam2world"][:, 0], found["zoom"][:, 0], found["scores"])


def covered_views(covered: CoveredPeople, rows: Tensor, views: Tensor) -> Views:
    """Return these pictures of covered people, by row and view [n]."""
    t = covered.tensors
    cover = t["cover"][rows, views][:, None].float() / 255
    cameras = t["cam2world"][rows, views], t["zoom"][rows, views]
    return Views(small(t["image"][rows, views]), cover, *cameras, t["scores"][rows])


def angles(cam2world: Tensor) -> Tensor:
    """Return yaw and pitch [n,2] of cameras [n,4,4], from where they look along."""
    forward = cam2world[:, :3, 2]
    return torch.stack([torch.atan2(forward[:, 0], -forward[:, 2]), torch.asin(forward[:, 1])], 1)


def framed(views: Views, rng: torch.Generator, jitter: float = 1.0) -> tuple[Tensor, Tensor]:
    """Bring pictures to EG3D's focal length, shifted by up to 4 % of their side, scaled and rolled.

    Crops of a video are framed by estimated landmarks, so that no two are framed alike.

    Returns:
        Pictures [n,3,128,128] and their covers [n,1,128,128].
    """
    n = len(views.zoom)
    draws = (torch.rand(n, 4, generator=rng) * 2 - 1) * jitter
    scale, roll = views.zoom * (1 + 0.06 * draws[:, 2]), 0.05 * draws[:, 3]
    grid = F.affine_grid(framing(scale, roll, 0.08 * draws[:, :2]), [n, 4, SIZE, SIZE], align_corners=False)
    both = torch.cat([views.image, views.cover], 1)
    both = F.grid_sample(both, grid, padding_mode="border", align_corners=False)
    return both[:, :3], both[:, 3:]


def lay_over(
    image: Tensor, cover: Tensor, cam2world: Tensor, covered: CoveredPeople, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Copy occluders onto some framed pictures [n,3,128,128] of cameras [n,4,4], with colours changed.

    Returns:
        Pictures and covers; most rows are as they were if there are few covered people.
    """
    n, views = len(image), covered.tensors["zoom"].shape[1]
    seen = angles(covered.tensors["cam2world"].flatten(0, 1))
    near = (angles(cam2world)[:, None] - seen[None]).norm(dim=2).topk(min(_NEIGHBOURS, len(seen)), 1, False)
    drawn = near.indices.gather(1, torch.randint(near.indices.shape[1], (n, 1), generator=rng))[:, 0]
    layer = covered_views(covered, drawn // views, drawn % views)
    colour, alpha = framed(layer, rng, jitter=0.6)
    gain = 0.7 + 0.6 * torch.rand(n, 3, 1, 1, generator=rng)
    order = torch.rand(n, 3, generator=rng).argsort(1)
    order = torch.where(torch.rand(n, 1, generator=rng) < 0.3, order, torch.arange(3))
    colour = colour.gather(1, order[:, :, None, None].expand_as(colour))
    colour = ((colour + 1) * gain - 1).clamp(-1, 1)
    alpha = alpha * (torch.rand(n, 1, 1, 1, generator=rng) < _SHARE)
    return image + alpha * (colour - image), torch.maximum(cover, alpha)


def degraded(image: Tensor, rng: torch.Generator) -> Tensor:
    """Change gain and sharpness of pictures [n,3,128,128], and add noise, as cameras do."""
    n = len(image)
    soft = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    blur = torch.rand(n, 1, 1, 1, generator=rng) ** 3
    gain = 1 + 0.06 * (torch.rand(n, 3, 1, 1, generator=rng) * 2 - 1)
    out = ((image + (soft - image) * blur + 1) * gain - 1).clamp(-1, 1)
    return out + 0.02 * torch.randn(out.shape, generator=rng)
