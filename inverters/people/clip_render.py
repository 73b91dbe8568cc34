"""Rendering of a clip's frames: make the person of a frame once, draw it from any camera, with and without occluder."""

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
def pose(script: ClipScript, t: int, scores: Tensor | None = None) -> Posed:
    """Make the person of frame t, and the clip's occluder on it.

    Args:
        script: of the clip.
        t: index of the frame.
        scores: [1,P] in place of the clip's own.
    """
    person = make_person(script.scores[t] if scores is None else scores[0])
    if script.occluder is None:
        return Posed(person, None)
    state = {name: value[t : t + 1] for name, value in script.state.items()}
    return Posed(person, make_occluder(script.occluder, person, state))


@torch.no_grad()
def draw_frame(script: ClipScript, t: int, posed: Posed, occluded: bool) -> Frame:
    """Draw what `pose` made from the camera of frame t, with the occluder or without."""
    extra = posed.occluder if occluded else None
    seen = draw(posed.person, script.cam2world[t], script.intrinsics[t], script.size, extra)
    return Frame((seen.image + 1) / 2, seen.depth, seen.occluder)


def blendshapes(scores: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return the strengths [N,len(names)] of face actions by name, of people with these scores [N,P]."""
    actions = actions_of(to_values(scores))
    none = scores.new_zeros(len(scores))
    return torch.stack([actions.get(name, none) for name in names], 1)


__all__ = ["Frame", "Posed", "blendshapes", "draw_frame", "pose"]
