"""Stitching: weights or codes are tuned for one frame until the border of an edited crop meets the source.

`weights` is the stitching tuning of Tzaban et al. 2022, "Stitch it in Time", section 4.4 (release:
rotemtzaban/STIT); `codes` is the border optimisation of Fruehstueck et al. 2023, "VIVE3D" (release:
`edit_video.py` of afruehstueck/VIVE3D).
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
from inverters.fitting.losses import ImageLoss, multiscale_loss, norms, perceptual_loss
from inverters.fitting.row_adam import DenseAdam
from inverters.generators.tuned import PARTS, trainable_copy


@dataclass(frozen=True)
class StitchSettings:
    """What is tuned, the steps of each frame, and the weights of the losses."""

    steps: int
    """Steps of a frame."""
    rate: float
    """Learning rate."""
    parts: tuple[str, ...] = PARTS
    """Prefixes of the generator's parameters that are tuned; (): the frame's codes are tuned instead."""
    first: int | None = None
    """Steps of a frame that follows no stitched one; None takes `steps`."""
    squared: bool = True
    """Compare pictures by squared error; False: by absolute error."""
    lambda_border: float = 1.0
    """Weight of the border's error against the source."""
    lambda_perceptual: float = 0.0
    """Weight of the border's perceptual distance."""
    lambda_content: float = 0.01
    """Weight of the inside's error against the edited crop."""
    lambda_previous: float = 0.0
    """Weight of the norm of the difference between a code's correction and that of the frame before."""
    net: str = "alex"
    """Network of LPIPS, if its weights are available."""
    stop: float = 0.0
    """A frame is done when its border's weighted losses are at most this."""


_SHORT = ("superresolution.",)
_CODES = StitchSettings(
    # VIVE3D's release, `inset_video`
    steps=100,  # 100 of each later frame
    rate=5e-3,  # Adam 5e-3
    parts=(),  # W+ codes; the generator is fixed
    first=150,  # 150 of the first frame
    squared=False,  # L1
    lambda_content=3.0,  # 3 x L1 to the edited picture
    lambda_border=2.0,  # 2 x (10 x LPIPS-alex + L1) to the source
    lambda_perceptual=20.0,
    lambda_previous=0.15,  # the release takes the last step's, which does not couple frames
    stop=0.2,  # --loss_threshold 0.1 of the border, before its weight of 2
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
"""Settings by what is tuned, and by the name of the inversion's preset; presets without an entry use `paper`.
"""


def stitching_of(moves: str, preset: str) -> StitchSettings:
    """Return the settings for an inversion's preset; `moves` is `weights` or `codes`.

    Raises:
        UnknownNameError: another word for `moves`.
    """
    if moves not in STITCHING:
        raise UnknownNameError(f"unknown way to stitch '{moves}'; known: {', '.join(STITCHING)}")
    return STITCHING[moves].get(preset, STITCHING[moves]["paper"])


class Stitcher:
    """Stitches rows of one inversion one by one; its renderer and the generator are not changed.

    If codes are tuned, a row that follows the previous one begins at its correction.
    """

    def __init__(self, renderer: InversionRenderer, settings: StitchSettings) -> None:
        self.renderer, self.settings = renderer, settings
        self.perceptual: ImageLoss = multiscale_loss
        self.perceptual_name = "none"
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
        """Return one row with edited codes and its border as in the source.

        Args:
            row: the row's index in the inversion.
            cam2world: camera of the row, [1,4,4].
            intrinsics: [1,3,3].
            ws: edited code of the row, [1,num_ws,w_dim].
            edited: edited crop [1,3,S,S] in [-1,1], the target inside.
            source: source crop [1,3,S,S] in [-1,1], the target at the border.
            inside: mask [1,1,S,S], 0 or 1.
            border: mask [1,1,S,S], 0 or 1.

        Returns:
            [1,3,S,S] in [-1,1], the best of all steps.
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
        """Do at most `steps` steps of Adam; return `seen` (picture, code correction) of the best one."""
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
        """Losses of a picture by name; arguments as in `stitch`."""
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
        """Whether the border's losses are low enough; never if another loss replaces LPIPS."""
        if "perceptual" not in found:
            return float(found["border"]) <= self.settings.stop
        is_lpips = self.perceptual_name.startswith("lpips")
        return is_lpips and float(found["border"] + found["perceptual"]) <= self.settings.stop
