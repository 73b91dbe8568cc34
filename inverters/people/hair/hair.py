"""All hair of a person: geometry first, colours once there is light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.hair.colour import strand_light
from inverters.people.light import Light, display
from inverters.people.parts import Strands

_MOST_OCCLUDERS = 60_000
_GAIN = 1.55


@dataclass(frozen=True)
class Tuft:
    """S hairs of one kind, K points each, and G ways along which their light is computed at L points."""

    points: Tensor
    """[S,K,3]."""
    base: Tensor
    """[S,3] linear colours."""
    lit: Tensor
    """[G,L,3]."""
    ahead: Tensor
    """[G,L,3], unit directions there."""
    facing: Tensor
    """[G,L,3], the way out of the mass."""
    which: Tensor
    """[S], the way of each hair."""
    share: Tensor
    """[S], how much of its way a hair has."""
    root_shade: float
    """Brightness at the root, which lies deep; it rises to a little over 1."""
    radius: Tensor | float
    """[S] or a number, world units."""
    opacity: float
    soft: float
    label: int
    deep: float = 1.0
    """Share of a hair over which its brightness rises."""
    gloss: float = 1.0
    """Strength of highlights."""
    shadows: bool = True
    """Whether it darkens what lies below."""

    def coloured(self, light: Light) -> Strands:
        """Return the hairs with display colours [S,K,3]."""
        steps = self.lit.shape[1]
        body, shine = strand_light(
            light, self.lit.reshape(-1, 3), self.ahead.reshape(-1, 3), self.facing.reshape(-1, 3)
        )
        both = torch.cat([body, shine], 1)
        t = torch.linspace(0, 1, self.points.shape[1], device=self.points.device)
        step = (self.share[:, None] * t * (steps - 1)).round().long().clamp_max(steps - 1)
        at = both[(self.which[:, None] * steps + step).flatten()].reshape(*step.shape, 6)
        risen = (t / self.deep).clamp_max(1)
        fade = (self.root_shade + (1.05 - self.root_shade) * risen)[:, None] * _GAIN
        strength = 5.0 * self.gloss * (0.09 + self.base.mean(1))[:, None, None]
        linear = (at[..., :3] * self.base[:, None] + at[..., 3:] * strength) * fade
        return Strands(
            self.points, display(linear).contiguous(), self.radius, self.opacity, self.soft, self.label
        )


@dataclass(frozen=True)
class Hair:
    """Hair, beard, brows and lashes of a person; geometry only."""

    tufts: Sequence[Tuft]

    def occluders(self) -> Tensor:
        """Points [P,3] that cast shadows, at most 60,000."""
        points = [t.points.reshape(-1, 3) for t in self.tufts if t.shadows and len(t.points)]
        if not points:
            return torch.zeros(0, 3, device=self.tufts[0].points.device if self.tufts else None)
        every = torch.cat(points)
        stride = -(-len(every) // _MOST_OCCLUDERS)
        # A step that has no divisor in common with a hair's points meets all places along hairs.
        stride += stride % 2 == 0
        return every[::stride].contiguous()

    def coloured(self, light: Light) -> list[Strands]:
        """Return what is drawn, in the order of drawing: what lies on the skin before what falls over it."""
        return [t.coloured(light) for t in self.tufts if len(t.points)]
