"""Stitching: weights or codes move, for one frame, until the border of an edited crop meets the source.

`weights` is the stitching tuning of Tzaban et al. 2022, "Stitch it in Time", section 4.4 (the release is
rotemtzaban/STIT); `codes` is the border optimisation of Fruehstueck et al. 2023, "VIVE3D" (`edit_video.py` of
afruehstueck/VIVE3D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inverters.errors import UnknownNameError
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.loop import backward
from inverters.fitting.losses import multiscale_loss, norms, perceptual_loss
from inverters.fitting.row_adam import DenseAdam
from inverters.generators.tuned import PARTS, trainable_copy


@dataclass(frozen=True)
class StitchSettings:
    """What moves, its steps in each frame, and what they weigh."""

    steps: int
    rate: float
    parts: tuple[str, ...] = PARTS
    """What of the generator moves, by how the names of parameters begin; with () the frame's codes move."""
    first: int | None = None
    """Steps of a frame that no stitched one comes before; None takes as many as for the others."""
    squared: bool = True
    """Whether pictures are compared by squared error, else by absolute."""
    lambda_border: float = 1.0
    lambda_perceptual: float = 0.0
    """Weight of the perceptual distance of the borders."""
    lambda_content: float = 0.01
    """Weight of the inside, which is to stay, beside the border's."""
    lambda_previous: float = 0.0
    """Weight of the norm of a code's correction less that of the frame before."""
    net: str = "alex"
    """Network of LPIPS, where its weights are to be had."""
    stop: float = 0.0
    """A frame is done when its border's losses, weighed, are no more than this."""


_SHORT = ("superresolution.",)
_CODES = StitchSettings(
    # VIVE3D's release, `inset_video`
    steps=100,  # 100 of each later frame
    rate=5e-3,  # Adam 5e-3
    parts=(),  # W+ codes; the generator rests
    first=150,  # 150 of the first frame
    squared=False,  # L1
    lambda_content=3.0,  # 3 x L1 to the edited picture
    lambda_border=2.0,  # 2 x (10 x LPIPS-alex + L1) to the source
    lambda_perceptual=20.0,
    lambda_previous=0.15,  # there of the last step, which holds no frames together
    stop=0.2,  # --loss_threshold 0.1, of the border before it is doubled
)
STITCHING = {
    "weights": {
        "draft": StitchSettings(steps=12, rate=4e-3, parts=_SHORT, lambda_content=1.0, stop=0.002),
        "fast": StitchSettings(steps=30, rate=2e-3, parts=_SHORT, lambda_content=1.0, stop=0.002),
        # STIT's release: num_steps 100, lr 3e-4, content_loss_lambda 0.01, border_loss_threshold 0 (off), all
        # weights
        "paper": StitchSettings(steps=100, rate=3e-4),
    },
    "codes": {
        "draft": StitchSettings(
            steps=6,
            rate=2e-2,
            parts=(),
            first=16,
            squared=False,
            lambda_content=1.0,
            lambda_border=2.0,
            lambda_previous=2e-3,
            stop=0.04,
        ),
        "fast": StitchSettings(
            steps=20,
            rate=1e-2,
            parts=(),
            first=40,
            squared=False,
            lambda_content=1.0,
            lambda_border=2.0,
            lambda_previous=2e-3,
            stop=0.04,
        ),
        "paper": _CODES,
    },
}
"""By what moves, and by the name of the inversion's preset; those without a line take `paper`."""


def stitching_of(moves: str, preset: str) -> StitchSettings:
    """The numbers that go with an inversion's preset; `moves` is `weights` or `codes`.

    Raises UnknownNameError for anything else.
    """
    if moves not in STITCHING:
        raise UnknownNameError(f"unknown way to stitch '{moves}'; known: {', '.join(STITCHING)}")
    return STITCHING[moves].get(preset, STITCHING[moves]["paper"])


class Stitcher:
    """Stitches rows of one inversion, one by one; neither its renderer nor the generator is changed.

    A row that follows the one before begins at its correction, where codes move.
    """

    def __init__(self, renderer: InversionRenderer, settings: StitchSettings) -> None:
        self.renderer, self.settings = renderer, settings
        self.perceptual, self.perceptual_name = multiscale_loss, "none"
        if settings.lambda_perceptual:
            self.perceptual, self.perceptual_name = perceptual_loss(settings.net, renderer.device)
        self._before: tuple[int, Tensor] | None = None

    def stitch(
        self,
        row: int,
        cam2world: Tensor,
        intrinsics: Tensor,
        ws: Tensor,
        edited: Tensor,
        source: Tensor,
        inside: Tensor,
        border: Tensor,
    ) -> Tensor:
        """One row with edited codes, its border as in the source.

        Args:
            cam2world [1,4,4], intrinsics [1,3,3], ws [1,num_ws,w_dim]: of the row.
            edited, source: [1,3,S,S] in [-1,1], how the inside and the border are to look.
            inside, border: [1,1,S,S], 0 or 1.

        Returns:
            [1,3,S,S] in [-1,1]; the best of its steps.
        """
        p, rows, device = self.settings, np.array([row]), self.renderer.device
        edited, source, inside, border = (t.to(device) for t in (edited, source, inside, border))
        ws = ws.to(device)
        before = self._before[1] if self._before is not None and self._before[0] == row - 1 else None
        own, parameters = trainable_copy(self.renderer.generator, p.parts)
        if not p.parts:
            ws = ws.clone() if before is None else ws + before
            parameters = {"ws": ws.requires_grad_(True)}
        began = ws.detach().clone()
        moving = self.renderer.with_generator(own)
        fixed = None
        if parameters and all(name.startswith("superresolution.") for name in parameters):
            fixed = moving.features(rows, cam2world, intrinsics, ws)[0]
        seen: list[Tensor] = [edited, torch.zeros_like(began)]

        def losses_of(part: slice) -> dict[str, Tensor]:
            features = fixed
            if features is None:
                features = moving.features_with_gradient(rows, cam2world, intrinsics, ws)[0]
            image = own.superresolve(features, ws)
            seen[:] = [image.detach().clamp(-1, 1), ws.detach() - began]
            terms = self._terms(image, edited, source, inside, border)
            if before is not None and p.lambda_previous:
                terms["previous"] = p.lambda_previous * norms(ws - began).mean()
            return terms

        steps = p.steps if before is not None or p.first is None else p.first
        best, moved = self._descend(steps, parameters, losses_of, seen)
        if not p.parts:
            self._before = row, moved if before is None else before + moved
        return best

    def _descend(
        self,
        steps: int,
        parameters: dict[str, Tensor],
        losses_of: Callable[[slice], dict[str, Tensor]],
        seen: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Do at most `steps` steps of Adam; what `seen` (picture, correction of codes) held at the best one."""
        # Adam works on the parameters' own memory.
        tables = {name: DenseAdam(tensor) for name, tensor in parameters.items()}
        (best, moved), least = seen, torch.inf
        for _ in range(steps):
            found = backward(1, self.renderer.device, losses_of)
            total = float(sum(found.values()))
            if total < least:
                (best, moved), least = seen, total
            if self._is_near(found):
                break
            for name, parameter in parameters.items():
                tables[name].update(parameter, self.settings.rate)
                parameter.grad = None
        return best, moved

    def _terms(
        self, image: Tensor, edited: Tensor, source: Tensor, inside: Tensor, border: Tensor
    ) -> dict[str, Tensor]:
        """Losses of a picture by name; arguments as for `stitch`."""
        p = self.settings

        def distance(wanted: Tensor, mask: Tensor) -> Tensor:
            error = (image - wanted) * mask
            error = error.square() if p.squared else error.abs()
            return error.sum() / mask.sum().clamp_min(1) / error.shape[1]

        terms = {
            "border": p.lambda_border * distance(source, border),
            "content": p.lambda_content * distance(edited, inside),
        }
        if p.lambda_perceptual:
            terms["perceptual"] = p.lambda_perceptual * self.perceptual(image * border, source * border)
        return terms

    def _is_near(self, found: dict[str, Tensor]) -> bool:
        """Whether the border is as near as it need be; what LPIPS stands for, no other loss can tell."""
        if "perceptual" not in found:
            return float(found["border"]) <= self.settings.stop
        is_lpips = self.perceptual_name.startswith("lpips")
        return is_lpips and float(found["border"] + found["perceptual"]) <= self.settings.stop
