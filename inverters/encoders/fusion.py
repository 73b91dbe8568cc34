"""Codes of single frames to codes of a clip: one person, with expression and light of each frame.

What a person is, no frame changes: it is the mean over all frames, weighed by what each sees. What frames of
one person differ in lies along few directions of w; that part is each frame's own, smoothed over time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from inverters.base import I64
from inverters.fitting.latents import MOVING
from inverters.generators.card import GeneratorCard
from inverters.people.params import PARAMETERS

_YAW = 0.5
"""Yaw in radians at which a frame counts 1/e of a frontal one."""
_LEAST = 1e-3


def weights_of(cam2world: Tensor, cover: Tensor | None) -> Tensor:
    """Return how much each frame tells of the person [K], with sum one.

    Args:
        cam2world: [K,4,4].
        cover: soft masks [K,h,w] of what is not the face; None: nothing is covered.
    """
    forward = cam2world[:, :3, 2].double().cpu()
    yaw = torch.atan2(forward[:, 0], -forward[:, 2])
    found = torch.exp(-((yaw / _YAW) ** 2)) + _LEAST
    if cover is not None:
        h, w = cover.shape[1:]
        middle = cover[:, h // 4 : h - h // 8, w // 4 : w - w // 4].double().cpu()
        found = found * (1 - middle.mean((1, 2))).clamp_min(_LEAST) ** 2
    return found / found.sum()


def moving_directions(card: GeneratorCard) -> Tensor:
    """Return the directions of w [n,w_dim] in which frames of one person differ; n is 0 if none are known."""
    named = [p.name for p in PARAMETERS if p.group in MOVING and p.name in card.directions]
    found = [card.directions[name].reshape(-1, len(card.w_avg))[0] for name in named]
    return torch.stack(found) if found and card.parameters else torch.zeros(0, len(card.w_avg))


def own_part(difference: Tensor, card: GeneratorCard) -> Tensor:
    """Return the part of differences of codes [...,w_dim] that frames of one person may have.

    It is the projection on `moving_directions` in units of w's deviation; everything where these are unknown.
    """
    directions = moving_directions(card)
    if not len(directions):
        return difference
    spread = card.w_std.double().clamp_min(_LEAST)
    basis = torch.linalg.qr((directions.double() / spread).mT).Q
    flat = difference.double().cpu() / spread
    return ((flat @ basis) @ basis.mT * spread).to(difference)


def smoothed(rows: Tensor, frames: I64, sigma: float) -> Tensor:
    """Return rows [K,...] under a Gaussian over frame numbers [K] of `sigma` frames; unchanged for 0."""
    if sigma < _LEAST or len(rows) < 2:
        return rows
    places = torch.as_tensor(np.asarray(frames, np.float64))
    kernel = torch.exp(-((places[:, None] - places[None]) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum(1, keepdim=True)
    return (kernel @ rows.double().cpu().flatten(1)).reshape(rows.shape).to(rows)


def fused(ws: Tensor, weights: Tensor, frames: I64, card: GeneratorCard, sigma: float) -> Tensor:
    """Return the codes of a clip from those of its frames.

    Args:
        ws: codes [K,num_ws,w_dim] of single frames.
        weights: [K], see `weights_of`.
        frames: numbers [K] of the frames.
        card: of the generator.
        sigma: smoothing of each frame's own part, in frames.
    """
    person = (ws.double().cpu() * weights[:, None, None].cpu()).sum(0).to(ws)
    return person + smoothed(own_part(ws - person, card), frames, sigma)
