"""Rendering of a clip's frames: a person a frame, drawn from any camera, with occluder or without."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.animation import ClipScript
from inverters.people.expressions import actions_of
from inverters.people.occluders import make_occluder
from inverters.people.params import to_values
from inverters.people.person import Person, make_person
from inverters.people.picture import Extra, draw

_NEAR = 0.1
"""Depth in world units before which a point has no place in the picture."""
_MARGIN = 2
"""Pixels drawn again around an occluder."""


@dataclass(frozen=True)
class Frame:
    """A frame as drawn."""

    image: Tensor
    """[3,H,W] in [0,1]."""
    depth: Tensor
    """[H,W] along the rays in world units."""
    alpha: Tensor
    """[H,W] in [0,1]: share of the pixel that the occluder covers."""

    @property
    def mask(self) -> Tensor:
        """Whether the occluder covers at least half of the pixel, bool [H,W]."""
        return self.alpha >= 0.5


@dataclass(frozen=True)
class Posed:
    """A person at one frame of a clip, and what stands before it."""

    person: Person
    occluder: Extra | None


@torch.no_grad()
def pose(script: ClipScript, t: int, scores: Tensor | None = None, previous: Person | None = None) -> Posed:
    """Make the person of frame t, and the clip's occluder on it.

    Args:
        script: of the clip.
        t: index of the frame.
        scores: [1,P] in place of the clip's own.
        previous: see `make_person`.
    """
    person = make_person(script.scores[t] if scores is None else scores[0], previous=previous)
    if script.occluder is None:
        return Posed(person, None)
    state = {name: value[t : t + 1] for name, value in script.state.items()}
    return Posed(person, make_occluder(script.occluder, person, state))


@torch.no_grad()
def draw_clean(script: ClipScript, t: int, posed: Posed) -> Frame:
    """Draw what `pose` made from the camera of frame t, without the occluder."""
    return _drawn(script, t, posed.person, script.intrinsics[t], script.size, None)


@torch.no_grad()
def draw_occluded(script: ClipScript, t: int, posed: Posed, clean: Frame) -> Frame:
    """Draw it with the occluder over `clean`, of the same camera: only where the occluder may be is drawn."""
    if posed.occluder is None:
        return clean
    box = _box(script, t, posed.occluder)
    if box is None:
        return clean
    top, low, left, right = box
    height, width = script.size
    lens = script.intrinsics[t].double().clone()
    lens[0, :2] *= width / (right - left)
    lens[1, :2] *= height / (low - top)
    lens[0, 2], lens[1, 2] = (
        (float(script.intrinsics[t, 0, 2]) * width - left) / (right - left),
        (float(script.intrinsics[t, 1, 2]) * height - top) / (low - top),
    )
    part = _drawn(script, t, posed.person, lens.float(), (low - top, right - left), posed.occluder)
    image, depth, alpha = clean.image.clone(), clean.depth.clone(), clean.alpha.clone()
    image[:, top:low, left:right] = part.image
    depth[top:low, left:right], alpha[top:low, left:right] = part.depth, part.alpha
    return Frame(image, depth, alpha)


def _drawn(
    script: ClipScript, t: int, person: Person, lens: Tensor, size: tuple[int, int], extra: Extra | None
) -> Frame:
    seen = draw(person, script.cam2world[t], lens, size, extra)
    return Frame((seen.image + 1) / 2, seen.depth, seen.occluder)


def _box(script: ClipScript, t: int, extra: Extra) -> tuple[int, int, int, int] | None:
    """Rows from, to, columns from, to, of the pixels that the occluder may touch; None if there are none."""
    points = torch.cat([m.vertices for m in (*extra.meshes, *extra.glassy)])
    pose = script.cam2world[t].to(points)
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    if not bool((seen[:, 2] > _NEAR).all()):
        return 0, script.size[0], 0, script.size[1]
    image = (seen @ script.intrinsics[t].to(points).mT)[:, :2] / seen[:, 2:]
    (left, top), (right, low) = image.amin(0).tolist(), image.amax(0).tolist()
    height, width = script.size
    rows = max(0, int(top * height) - _MARGIN), min(height, int(low * height) + _MARGIN + 1)
    columns = max(0, int(left * width) - _MARGIN), min(width, int(right * width) + _MARGIN + 1)
    return (*rows, *columns) if rows[0] < rows[1] and columns[0] < columns[1] else None


def blendshapes(scores: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return the strengths [N,len(names)] of face actions by name, of people with these scores [N,P]."""
    actions = actions_of(to_values(scores))
    none = scores.new_zeros(len(scores))
    return torch.stack([actions.get(name, none) for name in names], 1)
