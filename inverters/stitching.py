"""Stitching tuning: the generator moves, for one frame, until the border of an edited crop meets the source
(Tzaban et al. 2022, "Stitch it in Time", section 4.4; the release is rotemtzaban/STIT).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inverters.fitting import backward
from inverters.generators.tuned import PARTS, trainable_copy
from inverters.row_adam import DenseAdam
from inverters.synthesis import InversionRenderer


@dataclass(frozen=True)
class StitchPreset:
    """Steps of each frame, and what they weigh."""

    steps: int
    rate: float
    parts: tuple[str, ...] = PARTS
    """What of the generator moves, by how the names of parameters begin."""
    lambda_content: float = 0.01
    """Weight of the inside, which is to stay, beside the border's."""
    stop: float = 0.0
    """A frame is done when its border's mean squared error is no more than this."""


_SHORT = ("superresolution.",)
STITCHING = {
    "draft": StitchPreset(steps=12, rate=4e-3, parts=_SHORT, lambda_content=1.0, stop=0.002),
    "fast": StitchPreset(steps=30, rate=2e-3, parts=_SHORT, lambda_content=1.0, stop=0.002),
    # STIT's release: num_steps 100, lr 3e-4, content_loss_lambda 0.01, border_loss_threshold 0, all weights
    "paper": StitchPreset(steps=100, rate=3e-4),
}
"""By the name of the inversion's preset; those without a line take `paper`."""


def stitching_of(preset: str) -> StitchPreset:
    """The numbers that go with an inversion's preset."""
    return STITCHING.get(preset, STITCHING["paper"])


def stitched(
    renderer: InversionRenderer,
    row: int,
    cam2world: Tensor,
    intrinsics: Tensor,
    ws: Tensor,
    edited: Tensor,
    source: Tensor,
    inside: Tensor,
    border: Tensor,
    preset: StitchPreset,
) -> Tensor:
    """One row of an inversion with edited codes, its border as in the source.

    Args:
        renderer: of the inversion; neither it nor its generator is changed.
        cam2world [1,4,4], intrinsics [1,3,3], ws [1,num_ws,w_dim]: of the row.
        edited, source: [1,3,S,S] in [-1,1], how the inside and the border are to look.
        inside, border: [1,1,S,S], 0 or 1.
    Returns:
        [1,3,S,S] in [-1,1]; the best of its steps.
    """
    own, parameters = trainable_copy(renderer.generator, preset.parts)
    # Adam works on the copy's own memory.
    tables = {name: DenseAdam(tensor) for name, tensor in parameters.items()}
    moving = renderer.with_generator(own)
    rows = np.array([row])
    edited, source, inside, border = (t.to(renderer.device) for t in (edited, source, inside, border))
    ws = ws.to(renderer.device)
    fixed = None
    if all(name.startswith("superresolution.") for name in parameters):
        fixed = renderer.features(rows, cam2world, intrinsics, ws)[0]
    best, least = edited, torch.inf

    def losses_of(part: slice) -> dict[str, Tensor]:
        features = fixed
        if features is None:
            features = moving.features_with_gradient(rows, cam2world, intrinsics, ws)[0]
        image = own.superresolve(features, ws)
        seen.append(image.detach())
        return {
            "border": _within(image - source, border),
            "content": preset.lambda_content * _within(image - edited, inside),
        }

    for _ in range(preset.steps):
        seen: list[Tensor] = []
        found = backward(1, renderer.device, losses_of)
        total = float(found["border"] + found["content"])
        if total < least:
            best, least = seen[0].clamp(-1, 1), total
        if float(found["border"]) <= preset.stop:
            break
        for name, parameter in parameters.items():
            tables[name].update(parameter, preset.rate)
            parameter.grad = None
    return best


def _within(error: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error [1,3,S,S] where the mask [1,1,S,S] is."""
    return (error * mask).square().sum() / mask.sum().clamp_min(1) / error.shape[1]
