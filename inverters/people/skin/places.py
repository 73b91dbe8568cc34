"""Places of the face in the base mesh's coordinates, and static masks of skin by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body
from inverters.people.noise import layered, noise
from inverters.people.ramps import rise


def spot(c: Tensor, centre: tuple[float, float, float], size: tuple[float, float, float]) -> Tensor:
    """A Gaussian [n] about a point and its mirror image, at points [n,3]; sizes are deviations."""
    mirrored = torch.cat([c[:, :1].abs(), c[:, 1:]], 1)
    offset = (mirrored - c.new_tensor(centre)) / c.new_tensor(size)
    return torch.exp(-0.5 * offset.square().sum(1))


def curve(
    c: Tensor, start: tuple[float, float], end: tuple[float, float], sag: float | Tensor, width: float
) -> Tensor:
    """A groove [n] along an arc from `start` to `end` (x, y) and its mirror image, on the front of the head.

    Args:
        c: points [n,3].
        start: first end; negative x crosses the middle.
        end: other end.
        sag: distance of the arc's middle from the straight line, to the left of its direction.
        width: of the groove, world units.
    """
    x = c[:, 0].abs() if start[0] >= 0 else c[:, 0]
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    ux, uy = dx / length, dy / length
    px, py = x - start[0], c[:, 1] - start[1]
    along = (px * ux + py * uy) / length
    inside = along.clamp(0, 1)
    across = px * -uy + py * ux - sag * 4 * inside * (1 - inside)
    beyond = (along - inside) * length
    distance2 = across.square() + beyond.square()
    taper = 0.35 + 0.65 * (4 * inside * (1 - inside)).clamp(0, 1).sqrt()
    groove: Tensor = taper * torch.exp(-distance2 / width**2) * rise(c[:, 2], 0.0, 0.05)
    return groove


@dataclass(frozen=True)
class Places:
    """Static masks [V2] in [0,1] and noise [V2] (deviation about 0.5) at the vertices of the finer level."""

    lips: Tensor
    lower_lip: Tensor
    lids: Tensor
    ears: Tensor
    cavity: Tensor
    lash_line: Tensor
    under_eye: Tensor
    socket: Tensor
    cheek: Tensor
    nose: Tensor
    wings: Tensor
    chin: Tensor
    inner_corner: Tensor
    forehead: Tensor
    neck: Tensor
    beard: Tensor
    brow: Tensor
    oily: Tensor
    mouth_corner: Tensor
    nostril: Tensor
    broad: Tensor
    blotch: Tensor
    mottle: Tensor
    fine: Tensor
    pore: Tensor
    vein: Tensor


@cache
def places(mesh: Body) -> Places:
    """Return the static masks of a mesh's skin; made once a mesh."""
    level, c = mesh.level2, mesh.level2.canonical
    y, z = c[:, 1], c[:, 2]
    mask = level.mask
    ragged = noise(c, 90, 40)
    lips = rise(mask("lips") + 0.05 * ragged, 0.15, 0.75)
    return Places(
        lips=lips,
        lower_lip=lips * rise(y, -0.118, -0.126),
        lids=torch.maximum(mask("eyelids"), spot(c, (0.072, 0.049, 0.178), (0.022, 0.006, 0.02))),
        ears=mask("ears"),
        cavity=rise(mask("inside_mouth"), 0.3, 0.7),
        lash_line=_lash_line(c),
        under_eye=spot(c, (0.066, 0.004, 0.17), (0.026, 0.009, 0.05)),
        socket=spot(c, (0.072, 0.058, 0.17), (0.030, 0.010, 0.04)),
        cheek=spot(c, (0.088, -0.035, 0.15), (0.032, 0.027, 0.06)),
        nose=spot(c, (0.0, -0.042, 0.25), (0.026, 0.017, 0.04)),
        wings=spot(c, (0.032, -0.055, 0.19), (0.011, 0.013, 0.03)),
        chin=spot(c, (0.0, -0.205, 0.19), (0.030, 0.018, 0.05)),
        inner_corner=spot(c, (0.041, 0.030, 0.175), (0.007, 0.006, 0.03)),
        forehead=spot(c, (0.0, 0.150, 0.18), (0.075, 0.035, 0.10)),
        neck=rise(y + 0.9 * (z - 0.06).clamp(max=0.06), -0.195, -0.245) * (1 - mask("face")),
        beard=_beard(c, lips),
        brow=_brow(c),
        oily=_oily(c),
        nostril=(2.0 * spot(c, (0.0185, -0.0640, 0.196), (0.0068, 0.0055, 0.012))).clamp(0, 1),
        mouth_corner=spot(c, (0.0600, -0.1215, 0.19), (0.0045, 0.0045, 0.02)),
        broad=layered(c, 7, 2, 1),
        blotch=layered(c, 24, 3, 4),
        mottle=layered(c, 60, 2, 7),
        fine=noise(c, 130, 8),
        pore=noise(c, 210, 10),
        vein=(1 - layered(c, 20, 2, 15).abs() * 3).clamp_min(0) ** 2,
    )


def _lash_line(c: Tensor) -> Tensor:
    """The edges of the lids, where the lashes grow: near the eyeball and in front of it."""
    side = torch.tensor([0.0714, 0.035, 0.15], device=c.device)
    offset = torch.cat([c[:, :1].abs(), c[:, 1:]], 1) - side
    distance = offset.norm(dim=1)
    return rise(distance, 0.0392, 0.0362) * rise(offset[:, 2], 0.005, 0.018)


def _beard(c: Tensor, lips: Tensor) -> Tensor:
    """Where a beard grows: cheeks below a line from the ear, chin, upper lip, upper neck."""
    x, y, z = c[:, 0].abs(), c[:, 1], c[:, 2]
    edge = 0.012 * noise(c, 25, 30)
    jaw = rise(y + edge - 0.62 * (x - 0.112), -0.028, -0.095) * rise(z, -0.045, -0.005)
    moustache = (1.8 * spot(c, (0.0, -0.090, 0.215), (0.038, 0.011, 0.05))).clamp(0, 1)
    bare = 1 - 0.4 * spot(c, (0.030, -0.158, 0.20), (0.012, 0.007, 0.04))
    smooth = 1 - spot(c, (0.075, -0.070, 0.17), (0.020, 0.022, 0.06))
    jaw = jaw * bare * smooth
    return torch.maximum(jaw, moustache) * (1 - lips) * rise(y + edge, -0.305, -0.225)


def _brow(c: Tensor) -> Tensor:
    x, y, z = c[:, 0].abs(), c[:, 1], c[:, 2]
    arch = 0.079 + 0.010 * torch.sin(((x - 0.022) / 0.09).clamp(0, 1) * 2.5) - 0.008 * rise(x, 0.09, 0.125)
    half = 0.0085 * (0.35 + 0.65 * rise(x, 0.016, 0.045)) * (1 - 0.7 * rise(x, 0.065, 0.122))
    ends = rise(x, 0.012, 0.026) * rise(x, 0.126, 0.110)
    return torch.exp(-(((y - arch) / half) ** 2)) * ends * rise(z, 0.04, 0.08)


def _oily(c: Tensor) -> Tensor:
    """Forehead, nose, chin and the upper cheeks shine more; the rest is matt."""
    zones = 0.45 * spot(c, (0.0, -0.010, 0.24), (0.022, 0.05, 0.06))
    zones = zones + 0.30 * spot(c, (0.0, 0.150, 0.20), (0.065, 0.040, 0.10))
    zones = zones + 0.22 * spot(c, (0.095, -0.010, 0.15), (0.025, 0.022, 0.05))
    zones = zones + 0.18 * spot(c, (0.0, -0.200, 0.20), (0.025, 0.020, 0.05))
    return 0.5 + zones + 0.10 * noise(c, 34, 33)
